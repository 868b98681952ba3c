import { isTerminal, type TaskRecord } from '../../domain/task.ts';
import type { ListQuery, TaskPage } from '../store.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import * as replies from './replies.ts';
import type { Shards } from './shards.ts';

/** Of one call for a part of a page: tasks shown, tasks looked at, and bytes after which it ends. */
const LIST_ITEMS = 64;
const LIST_BUDGET = 128;
const LIST_BYTES = 1_048_576;
/** Calls for one page at most, and bytes after which it ends. */
const LIST_STEPS = 80;
const PAGE_BYTES = 8_388_608;

/**
 * A page, put together in small steps, so that nobody else waits for long.
 * @throws InvalidCursor when the cursor is not one of such a list
 */
export async function list(shards: Shards, query: ListQuery): Promise<TaskPage> {
  const { queue, state, limit, order = 'oldest' } = query;
  const shard = shards.keys.shardOfQueue(queue);
  const by = state !== null && isTerminal(state) ? 'finished' : 'created';
  const wanted = filters(query);
  let position: readonly unknown[] = decodeCursor(by, order, query.cursor);
  const tasks: TaskRecord[] = [];
  let bytes = 0;
  for (let step = 1; ; step++) {
    const from = by === 'finished' ? [position[0] ?? '', position[1] ?? ''] : [position[0] ?? ''];
    const most = Math.min(limit - tasks.length, LIST_ITEMS);
    const args = [queue, order, ...from.map(String), state ?? '', ...wanted, most, LIST_BUDGET, LIST_BYTES];
    const { now, result } = await shards.ask(`list-${by}`, shard, args);
    const [reached, views] = replies.list(result);
    const found = replies.list(views).map(replies.taskRecord);
    tasks.push(...found);
    for (const { payload } of found) bytes += payload.length;
    position = replies.list(reached);
    const full = tasks.length >= limit || bytes >= PAGE_BYTES;
    if (position.length === 0 || full || step === LIST_STEPS) {
      return { now, tasks, next: encodeCursor(by, order, position) };
    }
  }
}

/** What page.lua compares a task with. */
function filters({ type, tag, errorCode, createdAfter, createdBefore }: ListQuery): (string | number)[] {
  return [
    type ?? '',
    typeof tag === 'string' ? replies.asciiJson(tag) : '',
    typeof errorCode === 'string' ? `+${errorCode}` : '',
    createdAfter ?? '',
    createdBefore ?? '',
  ];
}
