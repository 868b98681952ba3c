/**
 * A worker as a process of its own, so that it can be killed: node worker-process.ts '{"name", "seed", "urls", "history", "loops", "most"}'.
 * Writes each call before it is made and each result before anything follows from it. A line on stdin makes it hurry, the end of stdin stops it.
 */
import { HistoryWriter } from '../history/history-writer.ts';
import { LessorClient } from './lessor-client.ts';
import { Worker } from './worker.ts';

interface Orders {
  name: string;
  seed: number;
  urls: readonly string[];
  history: string;
  loops: number;
  most: number;
}

const orders: Orders = JSON.parse(process.argv[2] ?? '{}');
const history = new HistoryWriter(orders.name, orders.history, { eachAtOnce: true });
const clients: LessorClient[] = [];
const workers = Array.from({ length: orders.loops }, (_, loop) => {
  const name = `${orders.name}.${loop}`;
  const client = new LessorClient({ urls: () => orders.urls, history, name, turn: loop });
  clients.push(client);
  return new Worker({ client, name, seed: orders.seed, most: orders.most });
});
for (const worker of workers) worker.start();
process.stdin.on('data', () => {
  for (const worker of workers) worker.hurry();
});
process.stdin.on('end', () => {
  void Promise.all(workers.map((worker) => worker.stop())).then(() => {
    history.close();
    process.exit(0);
  });
});
process.stdout.write('working\n');
