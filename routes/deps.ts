import type { Broker } from '../src/broker/broker.ts';
import type { Durability } from '../src/store/store.ts';

/** What routes work with. */
export interface Deps {
  broker: Broker;
  version: string;
  readiness: () => Promise<Readiness>;
}

/** Whether this process should be sent requests. */
export interface Readiness {
  ready: boolean;
  checks: readonly ReadinessCheck[];
  /** The effective level, as read from the store; null while the store does not answer. */
  durability: Durability | null;
}

/** One thing that has to be so for requests to be served. */
export interface ReadinessCheck {
  /** `shutdown` is the one that fails while the process drains. */
  name: 'shutdown' | 'store';
  ok: boolean;
  /** For anybody who asks: never text from the store. */
  detail: string;
}
