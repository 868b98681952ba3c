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
import { decodeCursor, encodeCursor } from './cursor.ts';
import * as replies from './replies.ts';
import { MAX_ITEMS, operation, type Shards } from './shards.ts';

/** Long operations, each on the shard of its queue. */
export class RedisOperations {
  readonly #shards: Shards;

  constructor(shards: Shards) {
    this.#shards = shards;
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

  readonly #create = operation<NewOperation, CreateOperationOutcome>((shard, operations) =>
    this.#shards.askEach('create-operation', shard, operations.flatMap(encodeOperation), createdOperation),
  );

  get(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#shards.byId(this.#get, ids, (id) => id, null);
  }

  readonly #get = operation<string, OperationRecord | null>((shard, ids) =>
    this.#shards.askEach('operations', shard, ids, replies.operationRecord),
  );

  step(steps: readonly OperationStep[]): Promise<Stamped<OperationStepped | null>> {
    return this.#shards.byId(this.#step, steps, ({ id }) => id, null);
  }

  // What a step has done is noted with it: one whose reply was lost is followed by the next.
  readonly #step = operation<OperationStep, OperationStepped | null>(
    (shard, steps) =>
      this.#shards.askEach(
        'step-operation',
        shard,
        steps.flatMap(({ id, limit }) => [id, limit]),
        operationStepped,
      ),
    // Each looks at as many tasks, whatever its limit.
    { weightOf: () => MAX_ITEMS },
  );

  cancel(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#shards.byId(this.#cancel, ids, (id) => id, null);
  }

  readonly #cancel = operation<string, OperationRecord | null>((shard, ids) =>
    this.#shards.askEach('cancel-operation', shard, ids, replies.operationRecord),
  );

  forget(ids: readonly string[]): Promise<Stamped<boolean>> {
    return this.#shards.byId(this.#forget, ids, (id) => id, false);
  }

  readonly #forget = operation<string, boolean>((shard, ids) =>
    this.#shards.askEach('forget-operation', shard, ids, (reply) => reply === 1),
  );

  async running(): Promise<readonly OperationRecord[]> {
    const shards = Array.from({ length: this.#shards.keys.shards }, (_, shard) => shard);
    const replied = await Promise.all(
      shards.map((shard) => this.#shards.askEach('operations', shard, [], replies.operationRecord)),
    );
    return replied.flatMap(({ results }) => results.filter((found) => found !== null));
  }
}

/** What create-operation.lua wants to know of one operation. */
function encodeOperation({ id, queue, filter, max, ratePerSec }: NewOperation): (string | number)[] {
  const { type, errorCode, diedBefore } = filter;
  const any = type === null && errorCode === null && diedBefore === null;
  return [
    ...[id, queue, type ?? '', encodeErrorCode(errorCode), diedBefore === null ? '' : diedBefore - 1],
    ...[max ?? '', ratePerSec ?? '', any ? '1' : ''],
  ];
}

/** As record_error keeps it. */
function encodeErrorCode(code: string | null): string {
  return code === null ? '' : `+${code}`;
}

function createdOperation(reply: unknown): CreateOperationOutcome {
  if (reply === 'created' || reply === 'queue_not_found' || reply === 'too_many') return reply;
  throw new replies.UnexpectedReply('an outcome', reply);
}

/** What step-operation.lua answers for one operation. */
function operationStepped(reply: unknown): OperationStepped | null {
  if (reply === '') return null;
  const [view, nextAt] = replies.list(reply);
  const operation = replies.operationRecord(view);
  if (operation === null) throw new replies.UnexpectedReply('an operation', reply);
  return { operation, nextAt: replies.maybeNumber(nextAt) };
}
