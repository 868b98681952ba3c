import type { DeadFilter, OperationState } from '../../src/domain/operation.ts';
import type * as port from '../../src/store/store.ts';
import type { ModelTask } from './model-task.ts';

const DAY_MS = 86_400_000;
const MOST_KEPT = 1000;
const MOST_RUNNING = 100;
const STEP_BYTES = 1_048_576;

interface ModelOperation {
  readonly asked: port.NewOperation;
  readonly createdAt: number;
  state: OperationState;
  finishedAt: number | null;
  nextAt: number;
  /** The last task that was looked at: when it died, and its number. */
  behind: [number, number];
  seen: number;
  total: number;
  matched: number;
  moved: number;
}

/** What the model's operations work on. */
interface World {
  clock: () => number;
  hasQueue: (name: string) => boolean;
  /** In the order in which they died. */
  dead: (queue: string) => ModelTask[];
  redrive: (task: ModelTask) => boolean;
  /** Stores it in another queue under that id, and deletes it. */
  move: (task: ModelTask, to: string, id: string) => 'moved' | 'unique_conflict' | 'queue_full';
}

/** Redrives of many in the plainest words: a task at a time, by looking at all of them. */
export class ModelOperations {
  readonly #world: World;
  readonly #operations = new Map<string, ModelOperation>();

  constructor(world: World) {
    this.#world = world;
  }

  countDead({ queue, filter, position, limit }: port.DeadQuery): port.DeadCount {
    const start = Number(position ?? 0);
    const all = this.#world.dead(queue).filter(({ finishedAt }) => isBefore(finishedAt, filter.diedBefore));
    const seen = all.slice(start, start + limit);
    const matched = seen.filter((task) => isMeant(task, filter)).length;
    return { matched, seen: seen.length, next: seen.length < limit ? null : String(start + limit) };
  }

  create(asked: port.NewOperation): port.CreateOperationOutcome {
    const stored = this.get(asked.id);
    if (stored) return stored;
    if (!this.#world.hasQueue(asked.queue)) return 'queue_not_found';
    if (this.running().length >= MOST_RUNNING) return 'too_many';
    const now = this.#world.clock();
    const { type, errorCode, diedBefore } = asked.filter;
    const dead = this.#world.dead(asked.queue).length;
    const unfiltered = type === null && errorCode === null && diedBefore === null;
    const operation: ModelOperation = {
      ...{ asked, createdAt: now, state: 'running', finishedAt: null, nextAt: now, behind: [-1, 0] },
      ...{ seen: 0, total: unfiltered ? Math.min(dead, asked.max ?? dead) : dead, matched: 0, moved: 0 },
    };
    this.#operations.set(asked.id, operation);
    return recordOf(operation);
  }

  get(id: string): port.OperationRecord | null {
    const found = this.#find(id);
    return found && recordOf(found);
  }

  running(): port.OperationRecord[] {
    return [...this.#operations.values()].filter(({ state }) => state === 'running').map(recordOf);
  }

  step({ id, limit, ids }: port.OperationStep): port.OperationStepped | null {
    const found = this.#find(id);
    if (!found) return null;
    const due = found.state === 'running' && found.nextAt <= this.#world.clock();
    const full = due && this.#advance(found, limit, ids);
    return { operation: recordOf(found), nextAt: found.state === 'running' ? found.nextAt : null, full };
  }

  /** Answers whether there was no room for the next one. */
  #advance(operation: ModelOperation, limit: number, ids: readonly string[]): boolean {
    const { filter, queue, to, max, ratePerSec } = operation.asked;
    const elsewhere = to !== null && to !== queue;
    let dealt = 0;
    let bytes = 0;
    let full = false;
    const { seen: first, behind: start } = operation;
    let undo = (): unknown => Object.assign(operation, { seen: first, behind: start });
    let moved = 0;
    let looked = 0;
    const left = this.#world
      .dead(queue)
      .filter(({ finishedAt, seq }) => comesAfter([finishedAt ?? 0, seq], operation.behind))
      .filter(({ finishedAt }) => isBefore(finishedAt, filter.diedBefore) && (finishedAt ?? 0) <= operation.createdAt);
    for (const task of left.slice(0, 128)) {
      if ((elsewhere ? dealt : moved) === limit || operation.matched === max) break;
      if (elsewhere && isMeant(task, filter)) {
        bytes += Buffer.byteLength(task.asked.payload);
        if (dealt > 0 && bytes > STEP_BYTES) break;
        const outcome = this.#world.move(task, to, ids[dealt] ?? '');
        full = outcome === 'queue_full';
        if (full) break;
        if (outcome === 'moved') moved += 1;
        dealt += 1;
      }
      looked += 1;
      operation.seen += 1;
      operation.behind = [task.finishedAt ?? 0, task.seq];
      if (!isMeant(task, filter)) continue;
      operation.matched += 1;
      if (!elsewhere && this.#world.redrive(task)) moved += 1;
      const { seen, behind } = operation;
      undo = () => Object.assign(operation, { seen, behind });
    }
    // What was looked at behind the last one that was dealt with is looked at again.
    if (full) undo();
    operation.moved += moved;
    operation.total = Math.max(operation.total, operation.seen);
    const now = this.#world.clock();
    const pause = ratePerSec === null ? 0 : Math.ceil((moved * 1000) / ratePerSec);
    operation.nextAt = now + (full ? Math.max(pause, 1000) : pause);
    if (full) return true;
    if (operation.matched === max || (looked === left.length && left.length < 128)) {
      operation.total = operation.seen;
      this.#end(operation, 'completed');
    }
    return false;
  }

  cancel(id: string): port.OperationRecord | null {
    const found = this.#find(id);
    if (found?.state === 'running') this.#end(found, 'cancelled');
    return found && recordOf(found);
  }

  forget(id: string): boolean {
    return this.#operations.delete(id);
  }

  #end(operation: ModelOperation, state: OperationState): void {
    operation.state = state;
    operation.finishedAt = this.#world.clock();
    const ended = [...this.#operations.values()].filter(({ finishedAt }) => finishedAt !== null);
    const oldest = ended.sort(
      (a, b) => (a.finishedAt ?? 0) - (b.finishedAt ?? 0) || (a.asked.id < b.asked.id ? -1 : 1),
    );
    for (const { asked } of oldest.slice(0, Math.max(0, ended.length - MOST_KEPT))) this.#operations.delete(asked.id);
  }

  #find(id: string): ModelOperation | null {
    const found = this.#operations.get(id);
    if (!found || (found.finishedAt !== null && found.finishedAt + DAY_MS <= this.#world.clock())) return null;
    return found;
  }
}

function isMeant({ asked, lastError }: ModelTask, { type, errorCode }: DeadFilter): boolean {
  return (type === null || asked.type === type) && (errorCode === null || lastError?.code === errorCode);
}

function isBefore(finishedAt: number | null, time: number | null): boolean {
  return time === null || (finishedAt ?? 0) < time;
}

function comesAfter([at, seq]: [number, number], [otherAt, otherSeq]: [number, number]): boolean {
  return at > otherAt || (at === otherAt && seq > otherSeq);
}

function recordOf(operation: ModelOperation): port.OperationRecord {
  const { asked, createdAt, state, finishedAt, seen, total, matched, moved } = operation;
  const { id, queue, to, ratePerSec } = asked;
  return {
    id,
    queue,
    to: to === queue ? null : to,
    state,
    createdAt,
    finishedAt,
    ratePerSec,
    seen,
    total,
    matched,
    moved,
  };
}
