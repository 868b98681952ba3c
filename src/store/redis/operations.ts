import type {
  CreateOperationOutcome,
  DeadCount,
  DeadQuery,
  NewOperation,
  OperationRecord,
  OperationStep,
  OperationStepped,
  Stamped,
} from '../store.ts';
import { decodeMove, type Move, Moves } from './moves.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { operationRecord } from './operation-record.ts';
import * as replies from './replies.ts';
import { MAX_ITEMS, operation, type Shards } from './shards.ts';

/** Long operations, each on the shard of its queue. */
export class RedisOperations {
  readonly #shards: Shards;
  readonly #moves: Moves;

  /** @param newTaskId mints an id for a queue */
  constructor(shards: Shards, newTaskId: (queue: string) => string) {
    this.#shards = shards;
    this.#moves = new Moves(shards, newTaskId);
  }

  async countDead({ queue, filter, position, limit }: DeadQuery): Promise<DeadCount> {
    const [at = '', id = ''] = decodeCursor('finished', 'oldest', position);
    const upto = (filter.diedBefore ?? Number.MAX_SAFE_INTEGER) - 1;
    const args = [
      queue,
      filter.type ?? '',
      encodeErrorCode(filter.errorCode),
      upto,
      at,
      id,
      Math.min(limit, MAX_ITEMS),
    ];
    const { result } = await this.#shards.ask('count-dead', this.#shards.keys.shardOfQueue(queue), args);
    const [matched, seen, ...last] = replies.list(result);
    const reached = last.map(replies.text);
    return {
      matched: replies.number(matched),
      seen: replies.number(seen),
      next: encodeCursor('finished', 'oldest', reached.every((part) => part !== '') ? reached : []),
    };
  }

  create(operations: readonly NewOperation[]): Promise<Stamped<CreateOperationOutcome>> {
    return this.#shards.byQueue(this.#create, operations, ({ queue }) => queue);
  }

  readonly #create = operation<NewOperation, CreateOperationOutcome>((part, operations) =>
    this.#shards.askEach('create-operation', part, operations.flatMap(encodeOperation), createdOperation),
  );

  get(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#shards.byId(this.#get, ids, (id) => id, null);
  }

  readonly #get = operation<string, OperationRecord | null>((part, ids) =>
    this.#shards.askEach('operations', part, ids, operationRecord),
  );

  async step(steps: readonly OperationStep[]): Promise<Stamped<OperationStepped | null>> {
    const { now, dueAt, results } = await this.#shards.byId(this.#step, steps, ({ id }) => id, null);
    const after: Awaited<ReturnType<Moves['run']>>[] = [];
    for (const [index, result] of results.entries()) {
      after.push(await this.#moves.run(result, steps[index]?.ids ?? []));
    }
    // A step ends with its last script, which says when the next one can come.
    return { now: after.at(-1)?.now ?? now, dueAt, results: after.map((ended) => ended && ended.stepped) };
  }

  // What a step has done is noted with it: one whose reply was lost is followed by the next.
  readonly #step = operation<OperationStep, Move | null>(
    (part, steps) =>
      this.#shards.askEach(
        'step-operation',
        part,
        steps.flatMap(({ id, limit }) => [id, limit]),
        decodeMove,
      ),
    // Each looks at as many tasks, whatever its limit.
    { weightOf: () => MAX_ITEMS },
  );

  async cancel(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    const { now, dueAt, results } = await this.#shards.byId(this.#cancel, ids, (id) => id, null);
    const ended: (OperationRecord | null)[] = [];
    for (const result of results) ended.push((await this.#moves.run(result, []))?.stepped.operation ?? null);
    return { now, dueAt, results: ended };
  }

  readonly #cancel = operation<string, Move | null>((part, ids) =>
    this.#shards.askEach('cancel-operation', part, ids, decodeMove),
  );

  async forget(ids: readonly string[]): Promise<Stamped<boolean>> {
    const first = await this.#shards.byId(this.#forget, ids, (id) => id, 'unknown');
    const open = ids.filter((_, index) => first.results[index] === 'open');
    if (open.length === 0) return { ...first, results: first.results.map((result) => result === 'forgotten') };
    await this.cancel(open);
    await this.#shards.byId(this.#forget, open, (id) => id, 'unknown');
    return { ...first, results: first.results.map((result) => result !== 'unknown') };
  }

  readonly #forget = operation<string, 'forgotten' | 'open' | 'unknown'>((part, ids) =>
    this.#shards.askEach('forget-operation', part, ids, (reply) =>
      reply === 2 ? 'open' : reply === 1 ? 'forgotten' : 'unknown',
    ),
  );

  async running(): Promise<readonly OperationRecord[]> {
    const since = performance.now();
    const shards = Array.from({ length: this.#shards.keys.shards }, (_, shard) => shard);
    const replied = await Promise.allSettled(
      shards.map((shard) => this.#shards.askEach('operations', { shard, since }, [], operationRecord)),
    );
    const answered = replied.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const failed = replied.find((one) => one.status === 'rejected');
    if (failed && answered.length === 0) throw failed.reason;
    return answered.flatMap(({ results }) => results.filter((found) => found !== null));
  }
}

/** What create-operation.lua wants to know of one operation. */
function encodeOperation({ id, queue, to, filter, max, ratePerSec }: NewOperation): (string | number)[] {
  const { type, errorCode, diedBefore } = filter;
  const any = type === null && errorCode === null && diedBefore === null;
  return [
    ...[
      id,
      queue,
      to === null || to === queue ? '' : to,
      type ?? '',
      encodeErrorCode(errorCode),
      diedBefore === null ? '' : diedBefore - 1,
    ],
    ...[max ?? '', ratePerSec ?? '', any ? '1' : ''],
  ];
}

/** As record_error keeps it. */
function encodeErrorCode(code: string | null): string {
  return code === null ? '' : `+${code}`;
}

function createdOperation(reply: unknown): CreateOperationOutcome {
  if (reply === 'queue_not_found' || reply === 'too_many') return reply;
  const created = operationRecord(reply);
  if (created === null) throw new replies.UnexpectedReply('an outcome', reply);
  return created;
}
