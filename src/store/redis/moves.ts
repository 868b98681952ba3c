import { type OperationStepped, StoreError } from '../store.ts';
import { encodeAgain } from './arguments.ts';
import { operationRecord } from './operation-record.ts';
import * as replies from './replies.ts';
import type { Shards } from './shards.ts';

/** A task on its way: its body, and fields and values of what was said of it. */
interface Parked {
  body: string;
  told: readonly string[];
}

/** What has to be done on the shard of another queue before an operation goes on (lua/includes/moving.lua). */
type Errand =
  | { what: 'deliver'; to: string; batch: number; mark: string; givenAt: number; tasks: readonly Parked[] }
  | { what: 'decline'; to: string; batch: number; mark: string; tasks: number }
  | { what: 'close'; to: string };

/** An operation after a script on its own shard, and the time of that script. */
export interface Move {
  now: number;
  stepped: OperationStepped;
  errand: Errand | null;
}

/** A batch that is to be delivered leaves its receipt to be closed; nothing comes after that. */
const MAX_ERRANDS = 2;

/**
 * Takes tasks of operations to queues that may live on other shards. Each call it makes may be lost, be sent twice or come late: what has
 * been done is known to the shards, and the next step goes on with whatever was left.
 */
export class Moves {
  readonly #shards: Shards;
  readonly #newTaskId: (queue: string) => string;

  /** @param newTaskId mints an id for a queue */
  constructor(shards: Shards, newTaskId: (queue: string) => string) {
    this.#shards = shards;
    this.#newTaskId = newTaskId;
  }

  /**
   * Does what an operation waits for. Answers it as of the last script on its own shard.
   * @param ids of what comes into the other queue; a batch that another process has claimed may need more
   */
  async run(move: Move | null, ids: readonly string[]): Promise<{ now: number; stepped: OperationStepped } | null> {
    let last = move;
    let full = false;
    for (let errands = 0; last?.errand && errands < MAX_ERRANDS; errands++) {
      const { errand } = last;
      // Ids are for one batch: another one that has been claimed meanwhile is left to the next step.
      if (errand.what === 'deliver' && errands > 0) break;
      last = await this.#do(last.stepped.operation.id, errand, ids);
      full ||= last?.stepped.full ?? false;
    }
    return last && { now: last.now, stepped: { ...last.stepped, full } };
  }

  async #do(id: string, errand: Errand, ids: readonly string[]): Promise<Move | null> {
    if (errand.what === 'close') {
      await this.#shards.ask('close-receipt', this.#shards.keys.shardOfQueue(errand.to), [id]);
      return this.#ask('end-operation', id, []);
    }
    const outcomes = errand.what === 'deliver' ? await this.#deliver(id, errand, ids) : await this.#decline(id, errand);
    return this.#ask('take-receipt', id, [errand.batch, errand.mark, outcomes]);
  }

  /** What became of each task of a batch; see receive.lua. */
  async #deliver(
    id: string,
    { to, batch, mark, givenAt, tasks }: Extract<Errand, { what: 'deliver' }>,
    ids: readonly string[],
  ): Promise<string> {
    const args = [id, batch, mark, givenAt, to];
    for (const [index, { body, told }] of tasks.entries()) {
      args.push(...encodeAgain(ids[index] ?? this.#newTaskId(to), to, body), told.length, ...told);
    }
    try {
      const { result } = await this.#shards.ask('receive', this.#shards.keys.shardOfQueue(to), args);
      return replies.text(result);
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== 'full') throw error;
      // They must not stay on their way for as long as there is no memory for them.
      return this.#decline(id, { to, batch, mark, tasks: tasks.length });
    }
  }

  async #decline(
    id: string,
    { to, batch, mark, tasks }: { to: string; batch: number; mark: string; tasks: number },
  ): Promise<string> {
    const shard = this.#shards.keys.shardOfQueue(to);
    return replies.text((await this.#shards.ask('decline', shard, [id, batch, mark, tasks])).result);
  }

  async #ask(
    name: 'end-operation' | 'take-receipt',
    id: string,
    args: readonly (string | number)[],
  ): Promise<Move | null> {
    const shard = this.#shards.shardOfId(id);
    if (shard === null) return null;
    const { now, result } = await this.#shards.ask(name, shard, [id, ...args]);
    return decodeMove(result, 0, now);
  }
}

/** What a script answers for one operation; see moving.stepped. */
export function decodeMove(reply: unknown, _index: number, now: number): Move | null {
  if (reply === '') return null;
  const [view, nextAt, full, errand] = replies.list(reply);
  const operation = operationRecord(view);
  if (operation === null) throw new replies.UnexpectedReply('an operation', reply);
  const stepped = { operation, nextAt: replies.maybeNumber(nextAt), full: full === '1' };
  return { now, stepped, errand: decodeErrand(errand) };
}

function decodeErrand(reply: unknown): Errand | null {
  if (reply === '') return null;
  const [what, queue, batch, mark, detail, ...parked] = replies.list(reply);
  const to = replies.text(queue);
  switch (what) {
    case 'close':
      return { what, to };
    case 'decline':
      return { what, to, batch: replies.number(batch), mark: replies.text(mark), tasks: replies.number(detail) };
    case 'deliver':
      return {
        ...{ what, to, batch: replies.number(batch), mark: replies.text(mark), givenAt: replies.number(detail) },
        tasks: parkedTasks(parked),
      };
    default:
      throw new replies.UnexpectedReply('an errand', reply);
  }
}

/** A body, and what was said, by turns. */
function parkedTasks(parts: readonly unknown[]): Parked[] {
  const tasks: Parked[] = [];
  for (let at = 0; at < parts.length; at += 2) {
    tasks.push({ body: replies.text(parts[at]), told: replies.list(parts[at + 1]).map(replies.text) });
  }
  return tasks;
}
