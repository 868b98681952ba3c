/** Where an item stands in a {@link Fifo}. */
export interface Place<Item> {
  readonly item: Item;
  readonly line: Fifo<Item>;
  before: Place<Item> | null;
  after: Place<Item> | null;
  left: boolean;
}

/**
 * A line in the order of entering, which may be left at any place.
 *
 * A `Set` keeps the same order, but costs much where thousands of items pass through: it moves to a new table again and
 * again, an old table still refers to its last items and to its successor, and once one of them has grown old, V8's young
 * collections keep the chain of all that follow, items included.
 */
export class Fifo<Item> {
  #first: Place<Item> | null = null;
  #last: Place<Item> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The item that came first of those that are here. */
  get first(): Item | undefined {
    return this.#first?.item;
  }

  /** Puts the item at the end. Its place is what {@link leave} needs. */
  enter(item: Item): Place<Item> {
    const place: Place<Item> = { item, line: this, before: this.#last, after: null, left: false };
    if (this.#last === null) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    this.#size++;
    return place;
  }

  /** Takes an item out; false when it has left before. */
  leave(place: Place<Item>): boolean {
    if (place.left) return false;
    const { before, after } = place;
    if (before === null) this.#first = after;
    else before.after = after;
    if (after === null) this.#last = before;
    else after.before = before;
    place.before = null;
    place.after = null;
    place.left = true;
    this.#size--;
    return true;
  }

  /** Takes the first out. */
  shift(): Item | undefined {
    const first = this.#first;
    if (first === null) return undefined;
    this.leave(first);
    return first.item;
  }

  /** In order. The line must not change meanwhile. */
  *[Symbol.iterator](): Generator<Item, void> {
    for (let place = this.#first; place !== null; place = place.after) yield place.item;
  }
}
