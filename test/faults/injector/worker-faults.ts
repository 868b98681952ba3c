import { LEASE_MS } from '../load/queues.ts';
import type { Fault } from './fault.ts';

/** SIGKILL of a worker with all it holds; another one takes its place. */
export const workerKill: Fault = {
  name: 'worker-kill',
  title: 'SIGKILL of a worker',
  homes: ['embedded', 'redis'],
  holdMs: 100,
  silences: false,
  flawless: false,
  onlyWorkers: true,
  async inject({ load: { pool }, pick }) {
    const place = pick(pool.size);
    const name = await pool.kill(place);
    return { what: `worker ${name} is killed`, whom: name, heal: () => pool.replace(place) };
  },
};

/** SIGSTOP of a worker for longer than a lease: it goes on with leases that it has lost. */
export const workerFreeze: Fault = {
  name: 'worker-freeze',
  title: 'SIGSTOP of a worker for longer than a lease',
  homes: ['embedded', 'redis'],
  holdMs: LEASE_MS + 400,
  silences: true,
  flawless: false,
  onlyWorkers: true,
  async inject({ load: { pool }, pick }) {
    const place = pick(pool.size);
    const name = pool.signal(place, 'SIGSTOP');
    return {
      what: `worker ${name} stands still`,
      whom: name,
      heal: async () => {
        pool.signal(place, 'SIGCONT');
      },
    };
  },
};
