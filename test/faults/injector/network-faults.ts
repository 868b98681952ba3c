import type { FaultyProxy, NetworkFault } from '../../support/faulty-proxy.ts';
import { seeded } from '../../support/seeded.ts';
import { LEASE_MS } from '../load/queues.ts';
import type { Fault } from './fault.ts';

type Hop = 'clients' | 'store';

const HOPS: Record<Hop, string> = { clients: 'between clients and brokers', store: 'between brokers and Redis' };

function onNetwork(hop: Hop, fault: Exclude<NetworkFault, 'none'>, title: string, holdMs: number): Fault {
  return {
    name: `${hop}-${fault}`,
    title: `${title} ${HOPS[hop]}`,
    homes: ['proxied'],
    holdMs,
    silences: hop === 'clients',
    flawless: false,
    async inject({ home, pick }) {
      const proxies: readonly FaultyProxy[] = home.network?.[hop] ?? [];
      if (proxies.length === 0) throw new Error(`the network of home ${home.name} cannot fail`);
      for (const proxy of proxies) proxy.become(fault, seeded(pick(2 ** 31)));
      return {
        what: `${fault} ${HOPS[hop]}`,
        heal: async () => {
          for (const proxy of proxies) proxy.become('none');
        },
      };
    },
  };
}

const SHORT_MS = 2000;
/** Longer than a lease: tasks that are held go to others. */
const LONG_MS = LEASE_MS + 800;

/** Each kind of fault on each hop, on all connections of it at once. */
export const networkFaults: readonly Fault[] = (['clients', 'store'] as const).flatMap((hop) => [
  onNetwork(hop, 'lose-replies', 'One reply in ten lost', SHORT_MS),
  onNetwork(hop, 'reset', 'All connections reset, and one piece in twenty later', SHORT_MS),
  onNetwork(hop, 'black-hole', 'Nothing arrives for longer than a lease, and then all of it does,', LONG_MS),
  onNetwork(hop, 'trickle', 'A few bytes at a time', SHORT_MS),
  onNetwork(hop, 'delay', 'Every piece late by 20 to 200 ms', SHORT_MS),
]);
