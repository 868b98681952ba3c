import { setImmediate as turn } from 'node:timers/promises';
import type { Store } from '../../src/store/store.ts';
import { until } from '../support/until.ts';

type Method =
  | 'enqueue'
  | 'lease'
  | 'recall'
  | 'settle'
  | 'get'
  | 'createOperations'
  | 'stepOperations'
  | 'forgetOperations'
  | 'runningOperations'
  | 'purge'
  | 'dropQueue';

/** Calls that are kept from going on. */
export interface Hold {
  /** How many wait here. */
  readonly held: number;
  /** Lets them go on, and those that come later pass. */
  release(): void;
  /** Has them fail with this, while those that come later pass. */
  fail(error: Error): void;
}

interface Gate {
  /** Before the store has done its work, or after. */
  where: 'call' | 'reply';
  opened: Promise<void>;
  held: number;
}

interface Numbers {
  calls: number;
  /** In the arrays that were handed over. */
  items: number;
  replies: number;
}

/** A real store, of which a test sees how often it is called, and may hold back its replies or have it fail. */
export class WatchedStore {
  /** The same store, to be handed to the broker. */
  readonly store: Store;
  readonly #numbers = new Map<string, Numbers>();
  readonly #gates = new Map<string, Gate>();
  readonly #failures = new Map<string, Error>();

  constructor(store: Store) {
    this.store = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function' || typeof name !== 'string') return value;
        return (...args: unknown[]): unknown => {
          const [items] = args;
          if (Array.isArray(items)) this.#numbersOf(name).items += items.length;
          return this.#passOn(name, () => value.apply(target, args) as unknown);
        };
      },
    });
  }

  /** How often a method was called. */
  calls(method: Method): number {
    return this.#numbersOf(method).calls;
  }

  /** For how many items, in all of its calls. */
  items(method: Method): number {
    return this.#numbersOf(method).items;
  }

  /** How many of its calls have been answered. */
  replies(method: Method): number {
    return this.#numbersOf(method).replies;
  }

  /** No call is under way, and none follows at once from the last one's reply. */
  async quiet(): Promise<void> {
    do {
      await until(() => this.#idle, { what: 'no call to the store is under way' });
      await turn();
    } while (!this.#idle);
  }

  get #idle(): boolean {
    return [...this.#numbers.values()].every(({ calls, replies }) => calls === replies);
  }

  /** From now on calls wait before they reach the store, or their replies before they reach the caller. */
  hold(where: 'call' | 'reply', method: Method): Hold {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => {});
    const gate: Gate = { where, opened: promise, held: 0 };
    this.#gates.set(method, gate);
    const open = (end: () => void): void => {
      if (this.#gates.get(method) === gate) this.#gates.delete(method);
      end();
    };
    return {
      get held() {
        return gate.held;
      },
      release: () => open(resolve),
      fail: (error) => open(() => reject(error)),
    };
  }

  /** From now on calls fail with this and reach no store; null ends that. */
  fail(method: Method, error: Error | null): void {
    if (error === null) this.#failures.delete(method);
    else this.#failures.set(method, error);
  }

  #numbersOf(method: string): Numbers {
    let numbers = this.#numbers.get(method);
    if (!numbers) {
      numbers = { calls: 0, items: 0, replies: 0 };
      this.#numbers.set(method, numbers);
    }
    return numbers;
  }

  #passOn(method: string, call: () => unknown): unknown {
    const failure = this.#failures.get(method);
    if (failure !== undefined) return this.#observed(method, undefined, () => Promise.reject(failure));
    const gate = this.#gates.get(method);
    if (gate?.where === 'call') return this.#observed(method, gate, call);
    const result = call();
    return result instanceof Promise ? this.#observed(method, gate, () => result) : result;
  }

  async #observed(method: string, gate: Gate | undefined, call: () => unknown): Promise<unknown> {
    const numbers = this.#numbersOf(method);
    numbers.calls++;
    try {
      if (gate?.where === 'call') await pass(gate);
      const reply = await call();
      if (gate?.where === 'reply') await pass(gate);
      return reply;
    } finally {
      numbers.replies++;
    }
  }
}

function pass(gate: Gate): Promise<void> {
  gate.held++;
  return gate.opened;
}
