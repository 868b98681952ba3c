import { LEASE_MS } from '../load/queues.ts';
import type { Fault, Scene } from './fault.ts';

const anyBroker = ({ home, pick }: Scene) => {
  const broker = home.brokers[pick(home.brokers.length)];
  if (!broker) throw new Error(`home ${home.name} has no broker`);
  return broker;
};

/** SIGKILL of a broker, which is started again. */
export const brokerKill: Fault = {
  name: 'broker-kill',
  title: 'SIGKILL of a broker (on Redis: of one of three)',
  homes: ['embedded', 'redis', 'sentinel', 'cluster'],
  holdMs: 300,
  silences: false,
  flawless: false,
  async inject(scene) {
    const broker = anyBroker(scene);
    await broker.kill();
    return { what: `${broker.name} is killed`, heal: () => broker.start() };
  },
};

/** SIGSTOP of a broker for longer than a lease. What it had read and not done is done afterwards. */
export const brokerFreeze: Fault = {
  name: 'broker-freeze',
  title: 'SIGSTOP of a broker for longer than a lease',
  homes: ['embedded', 'redis'],
  holdMs: LEASE_MS + 400,
  silences: true,
  flawless: false,
  async inject(scene) {
    const broker = anyBroker(scene);
    broker.signal('SIGSTOP');
    return { what: `${broker.name} stands still`, whom: broker.url, heal: async () => broker.signal('SIGCONT') };
  },
};
