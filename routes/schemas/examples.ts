/** Values that the API's documentation shows, and that are checked against the schemas. */

const ID = '0_01jz8k3v7q0c5x9m2t4w6y8a1b';
const TOKEN = 'q1yTn5b0Vd8mC3x7Zr2K9w';

const summary = {
  id: ID,
  queue: 'emails',
  type: 'welcome',
  state: 'ready',
  priority: 4,
  tags: ['eu'],
  metadata: { tenant: 'acme' },
  groupKey: null,
  uniqueKey: null,
  attempt: 0,
  maxAttempts: 5,
  deliveries: 0,
  createdAt: '2030-01-31T09:30:00.000Z',
  runAt: '2030-01-31T09:30:00.000Z',
  expiresAt: null,
  finishedAt: null,
  lease: null,
  progress: null,
  lastError: null,
  cancelRequested: false,
  trace: null,
} as const;

const whole = { ...summary, payload: { to: 'ada@example.org' }, checkpoint: null, result: null } as const;

const leased = {
  ...whole,
  state: 'leased',
  attempt: 1,
  deliveries: 1,
  lease: {
    token: TOKEN,
    fence: 1,
    expiresAt: '2030-01-31T09:30:30.000Z',
    remainingMs: 30_000,
    workerId: 'w-1',
  },
} as const;

const completed = {
  ...whole,
  state: 'completed',
  attempt: 1,
  deliveries: 1,
  finishedAt: '2030-01-31T09:30:02.500Z',
  result: { messageId: 'm-17' },
} as const;

const queue = {
  name: 'emails',
  paused: false,
  createdAt: '2030-01-31T09:00:00.000Z',
  counts: { scheduled: 2, ready: 17, blocked: 0, leased: 3, completed: 120, dead: 1, cancelled: 0, expired: 0 },
  backlog: 20,
  waiters: 0,
  why: null,
  oldestReadyAgeMs: 840,
  nextRunAt: '2030-01-31T09:31:00.000Z',
  config: {
    leaseMs: 60_000,
    maxAttempts: 5,
    backoff: { type: 'exponential', baseMs: 1000, maxMs: 3_600_000, jitter: 0.2 },
    maxConcurrency: null,
    rateLimit: null,
    maxBacklog: null,
    groups: { maxConcurrency: 1, ordering: 'strict' },
    retention: { completedMs: 600_000, completedMax: 10_000, deadMs: 2_592_000_000 },
  },
  settings: { leaseMs: 60_000 },
  totals: { enqueued: 143, leased: 131, acked: 120, nacked: 6, released: 1, expired: 0, dead: 1 },
} as const;

const settled = { id: ID, state: 'completed', attempt: 1, late: false, replayed: false } as const;

const operation = {
  id: ID,
  kind: 'redrive',
  queue: 'emails',
  to: null,
  state: 'running',
  progress: { done: 1000, total: 25_000 },
  matched: 1000,
  moved: 1000,
  createdAt: '2030-01-31T09:30:00.000Z',
  finishedAt: null,
} as const;

export const EXAMPLES = {
  id: ID,
  token: TOKEN,
  newTask: {
    queue: 'emails',
    type: 'welcome',
    payload: { to: 'ada@example.org' },
    tags: ['eu'],
    metadata: { tenant: 'acme' },
  },
  summary,
  whole,
  leased,
  completed,
  cancelled: { ...whole, state: 'cancelled', finishedAt: '2030-01-31T09:30:02.500Z' },
  queue,
  operation,
  settled,
} as const;
