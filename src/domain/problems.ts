/** One entry of the closed error catalogue. */
export interface ProblemKind {
  status: number;
  title: string;
  /** Whether the same request may succeed later. */
  retryable: boolean;
  /** What it means and what to do, for the page at `/problems/<code>`. */
  help: string;
}

const kind = (status: number, title: string, help: string, retryable = false): ProblemKind => ({
  status,
  title,
  retryable,
  help,
});

/** Every error the broker answers with. Codes are part of the API: they are added to, never renamed. */
export const PROBLEMS = {
  malformed_request: kind(
    400,
    'Malformed request',
    'The request could not be read as HTTP or as JSON. Look for truncated JSON, a stray comma or a wrong Content-Length.',
  ),
  unauthenticated: kind(
    401,
    'Unauthenticated',
    'The request carries no API key, or not a valid one. Send "Authorization: Bearer <id>.<secret>".',
  ),
  forbidden: kind(403, 'Forbidden', 'The API key is valid, but is not granted this action on this queue.'),
  task_not_found: kind(
    404,
    'Task not found',
    'No such task. It was deleted or purged, its retention has passed, or the id is mistyped. A worker drops the task.',
  ),
  queue_not_found: kind(
    404,
    'Queue not found',
    'No such queue. A queue is made by its first task or by PUT /queues/:queue. Leasing from it is fine all the same.',
  ),
  operation_not_found: kind(404, 'Operation not found', 'No such operation, or it ended long ago.'),
  route_not_found: kind(404, 'Route not found', 'Nothing is served at this path. GET /docs lists what is.'),
  method_not_allowed: kind(
    405,
    'Method not allowed',
    'The path exists, but not with this method. The Allow header lists those it has.',
  ),
  lease_lost: kind(
    409,
    'Lease lost',
    'The token is not that of the latest grant: the lease ran out and another worker was granted the task, or the task was redriven, or an earlier try of the same nack or release has given it back already. Drop the work; what it wrote must be guarded by the fence.',
  ),
  already_settled: kind(
    409,
    'Already settled',
    'The task has already been settled in another way, or has ended. Nothing was changed.',
  ),
  task_cancelled: kind(409, 'Task cancelled', 'The task was cancelled. Stop working on it; nothing was changed.'),
  task_active: kind(
    409,
    'Task active',
    'Only a task that has ended can be deleted. Cancel it first, with "force" if a worker holds it.',
  ),
  not_redrivable: kind(409, 'Not redrivable', 'Only dead, cancelled and expired tasks can be redriven.'),
  unique_conflict: kind(
    409,
    'Unique conflict',
    'Another task of the queue holds the unique key. Wait for its end or cancel it; to be answered with it instead, post with "onConflict": "return".',
  ),
  queue_not_empty: kind(
    409,
    'Queue not empty',
    'The queue still holds waiting, leased or dead tasks. Purge it, or delete it with force=true.',
  ),
  payload_too_large: kind(
    413,
    'Payload too large',
    'The body or one of its fields is larger than GET /limits allows. Store the data elsewhere and send a reference.',
  ),
  unsupported_media_type: kind(415, 'Unsupported media type', 'Send the body as "Content-Type: application/json".'),
  validation_failed: kind(
    422,
    'Validation failed',
    'The request is well-formed, but not valid. "errors" names each fault by JSON pointer. Nothing was changed.',
  ),
  idempotency_key_reused: kind(
    422,
    'Idempotency key reused',
    'The Idempotency-Key was used within 24 hours for this queue with another body. Use a new key for a new task.',
  ),
  queue_full: kind(
    429,
    'Queue full',
    'The queue holds as many tasks that wait or are leased as its maxBacklog allows. Nothing was stored: try again after Retry-After seconds.',
    true,
  ),
  rate_limited: kind(429, 'Rate limited', 'Too many requests. Try again after Retry-After seconds.', true),
  too_many_waiters: kind(
    429,
    'Too many waiters',
    'This broker holds as many long-polls as it may (LESSOR_MAX_WAITERS). Try again, or poll another replica.',
    true,
  ),
  internal_error: kind(
    500,
    'Internal error',
    'A fault of the broker. The outcome is unknown; the log has the details under the request id. Try again with the same Idempotency-Key or token.',
    true,
  ),
  store_unavailable: kind(
    503,
    'Store unavailable',
    'The storage did not answer, and the outcome is unknown; or no new tasks are taken for the moment, because the storage or the broker is short of room. Try again after Retry-After seconds, with the same Idempotency-Key or token, and nothing happens twice.',
    true,
  ),
  shutting_down: kind(503, 'Shutting down', 'This broker is stopping. Try again, or ask another replica.', true),
  store_full: kind(
    507,
    'Store full',
    'The storage has no room. Nothing was changed, but that what a purge or the deletion of a queue has deleted so far stays deleted. Reads go on; leases and acks do on Redis, and on a full disk as far as there is room for them, since each is written too. Free some room and try again.',
    true,
  ),
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof PROBLEMS;

export const PROBLEM_CODES = Object.keys(PROBLEMS) as ProblemCode[];

export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(PROBLEMS, code);
}
