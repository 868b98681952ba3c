/** Sets of queues of which it is known whose turn it is. One that is forgotten begins anew, as after a start. */
const MAX_SETS = 256;

interface Served {
  readonly queue: string;
  /** Tasks granted in turn, and what the queue let pass while it had none. */
  tasks: number;
}

/** Whose turn it is among the queues that fair calls name together. */
export class Turn {
  /** Of those that were served alike, the one whose last time is longest ago comes first. */
  #queues: Served[];

  constructor(queues: readonly string[]) {
    this.#queues = queues.map((queue) => ({ queue, tasks: 0 }));
  }

  /** The queues, the one that has been granted the least first. */
  get order(): readonly string[] {
    return this.#queues.toSorted((a, b) => a.tasks - b.tasks).map(({ queue }) => queue);
  }

  /** A queue is about to be asked for so many tasks: calls that come meanwhile begin with another one. */
  asks(queue: string, tasks: number): void {
    const served = this.#queues.find((one) => one.queue === queue);
    if (!served) return;
    served.tasks += tasks;
    this.#queues = [...this.#queues.filter((one) => one !== served), served];
  }

  /** It granted so many of those. One that had no more saves up no turns: it is as if it had been served like the others. */
  got(queue: string, asked: number, granted: number): void {
    const served = this.#queues.find((one) => one.queue === queue);
    if (!served) return;
    served.tasks += granted - asked;
    if (granted < asked) served.tasks = Math.max(...this.#queues.map(({ tasks }) => tasks));
  }
}

/** The turns of all sets of queues that are in use. Of a bounded number of sets: the ones used last. */
export class QueueTurns {
  readonly #turns = new Map<string, Turn>();

  /** The same for every order in which the queues are named. */
  of(queues: readonly string[]): Turn {
    const key = queues.toSorted().join(',');
    const turn = this.#turns.get(key) ?? new Turn(queues);
    this.#turns.delete(key);
    this.#turns.set(key, turn);
    if (this.#turns.size > MAX_SETS) {
      for (const oldest of this.#turns.keys()) {
        this.#turns.delete(oldest);
        break;
      }
    }
    return turn;
  }
}
