import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { RunningBroker } from './running-broker.ts';

/** A process in which nothing is left but polls and waits for the end of a task, each for a minute. */
const store = new SqliteStore({ path: ':memory:', durability: 'full' });
await store.open();
// As where others write too, so that it is asked now and then although no word came.
Reflect.defineProperty(store, 'shared', { value: true });
const at = new RunningBroker(store);
await at.park(3, 'q');
await at.park(3, ['q', 'other'], { requestId: 'r' });
const [task] = await at.enqueue('elsewhere');
void at.broker.finishedTask(task?.id ?? '', 60_000, new AbortController().signal);
await at.quiet();
process.stdout.write('parked\n');
