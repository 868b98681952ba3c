import { ModelStore } from '../model/model-store.ts';
import { CLOCK_START, type OpenStore, type StoreHarness } from './store-harness.ts';

/** The reference model as a store, so that the contract itself can be checked against it. */
export function modelHarness(): StoreHarness {
  return {
    name: 'model',
    async open(): Promise<OpenStore> {
      let time = CLOCK_START;
      const store = new ModelStore({ clock: () => time });
      return {
        store,
        now: () => time,
        async advance(ms) {
          time += ms;
        },
        async reopen() {},
        async stored() {
          return store.stored();
        },
        async findings() {
          return [];
        },
        async close() {},
      };
    },
    async stop() {},
  };
}
