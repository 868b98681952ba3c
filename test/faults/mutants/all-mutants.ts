import type { Mutant } from './mutant.ts';

/** Every deliberate bug. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'pop-without-record',
    title: 'a lease takes a task out of its line and does not record until when',
    home: 'redis',
    faults: ['worker-kill', 'worker-kill', 'worker-freeze'],
    breaks: ['no loss'],
    edits: [
      {
        file: 'src/store/redis/lua/lease.lua',
        find: "    call('ZADD', BASE .. 'x:' .. queue.name, unpack(leases))\n",
        replace: '',
      },
      {
        file: 'src/store/redis/lua/includes/moves.lua',
        find: '  set_deadline(queue, task, deadline)\n  if not task.gk then return nil end\n',
        replace: "  put(task, 'ex', deadline)\n  if not task.gk then return nil end\n",
      },
    ],
  },
  {
    name: 'no-token-check',
    title: 'any token settles a task',
    home: 'embedded',
    faults: ['worker-freeze', 'worker-freeze'],
    breaks: ['fencing'],
    edits: [
      {
        file: 'src/domain/transitions.ts',
        find: "  if (task.token !== token) return 'superseded';\n",
        replace: '',
      },
    ],
  },
  {
    name: 'host-clock',
    title: 'leases and sweeps go by the clock of the broker instead of that of the store',
    home: 'redis',
    faults: ['clock-ahead'],
    breaks: ['justified repeats'],
    edits: [
      {
        file: 'src/store/redis/shards.ts',
        find: 'const sent = [...args, this.#origin];',
        replace: 'const sent = [...args, `${this.#origin}@${Date.now()}`];',
      },
      {
        file: 'src/store/redis/lua/includes/core.lua',
        find: '  NOW = clock(keys[1])\n',
        replace: "  local host\n  ORIGIN, host = string.match(ORIGIN, '^(.-)@(%d+)$')\n  NOW = tonumber(host)\n",
      },
    ],
  },
  {
    name: 'deaf-reaper',
    title: 'the reaper goes by the first deadline and ignores heartbeats',
    home: 'redis',
    faults: ['worker-freeze', 'worker-freeze'],
    breaks: ['justified repeats'],
    edits: [
      {
        file: 'src/store/redis/lua/settle.lua',
        find: '    set_deadline(queue, task, deadline)\n',
        replace: "    put(task, 'ex', deadline)\n",
      },
    ],
  },
  {
    name: 'late-reaper',
    title: 'the reaper comes ten seconds after what is due',
    home: 'embedded',
    faults: ['worker-freeze', 'worker-freeze'],
    breaks: ['time'],
    edits: [
      {
        file: 'src/broker/reaper.ts',
        find: '      Math.min(Math.max(0, at - this.#clock.now()), MAX_TIMER_MS),\n',
        replace: '      10_000 + Math.min(Math.max(0, at - this.#clock.now()), MAX_TIMER_MS - 10_000),\n',
      },
    ],
  },
  {
    name: 'answer-before-commit',
    title: 'a broker answers before it commits',
    home: 'embedded',
    faults: ['broker-kill', 'broker-kill'],
    breaks: ['no loss', 'fencing'],
    edits: [
      {
        file: 'src/store/sqlite/data.ts',
        find: '    this.#begin();\n',
        replace: '    if (!this.#db.isTransaction) this.#begin();\n',
      },
      {
        file: 'src/store/sqlite/data.ts',
        find: '    this.#commit();\n',
        replace: '    if (Date.now() % 1000 < 40) this.#commit();\n',
      },
    ],
  },
  {
    name: 'default-client',
    title: 'the Redis client as it comes: it queues while it is not connected, waits without end and sends again',
    home: 'redis',
    faults: ['redis-outage'],
    breaks: ['liveness'],
    edits: [
      {
        file: 'src/store/redis/link.ts',
        find: '    maxRetriesPerRequest: 0,\n    enableOfflineQueue: false,\n    autoResendUnfulfilledCommands: false,\n',
        replace: '',
      },
      {
        file: 'src/store/redis/link.ts',
        find: '    commandTimeout: COMMAND_TIMEOUT_MS,\n',
        replace: '',
      },
      {
        file: 'src/store/redis/link.ts',
        find: '    retryStrategy: () => null,\n',
        replace: '',
      },
    ],
  },
];
