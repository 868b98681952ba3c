import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { ANYWHERE, describeCores } from '../process/cores.ts';
import { makeFolder } from '../process/folder.ts';
import { startLessor } from '../servers/lessor.ts';
import { inTurn, median } from '../statistics.ts';

export const start: Figure = { id: 's11', title: 'From start to listening, embedded', run };

async function run(bench: Bench): Promise<Row[]> {
  const tasks = bench.dose(1_000_000, 50_000);
  await using folder = await makeFolder('s11');
  const full = `sqlite:${folder.path}/full.db`;
  const empty = `sqlite:${folder.path}/empty.db`;
  bench.progress(`storing ${tasks} tasks`);
  {
    await using load = await startLoad();
    await using broker = await startLessor({ store: full, durability: 'normal' });
    await load.call('seed', { port: broker.port, tasks });
  }

  /** CPU of the starts that are held to the target: what others do here does not change it much. */
  const cpu: number[] = [];
  async function startMs(store: string, env: Record<string, string> = {}, cpuOf: number[] = []): Promise<number> {
    await using broker = await startLessor({ store, env });
    cpuOf.push(broker.startCpuMs);
    return broker.startMs;
  }

  bench.progress('starting');
  await startMs(empty);
  const samples = await inTurn(bench.dose(9, 3), {
    full: () => startMs(full, {}, cpu),
    empty: () => startMs(empty),
    first: () => startMs(full, { NODE_DISABLE_COMPILE_CACHE: '1' }),
  });
  bench.condition(
    `from starting the process (node src/main.ts) until it says that it listens; ${tasks} tasks waiting in the file`,
  );
  bench.condition('with the compiled code that an earlier start has kept, except where the table says otherwise');
  bench.condition(describeCores(ANYWHERE));
  return [
    {
      what: `existing file with ${tasks} tasks`,
      unit: 'ms',
      measured: median(samples.full),
      target: { is: '<=', value: 500 },
      samples: { ms: samples.full },
    },
    { what: 'CPU of that', unit: 'ms', measured: median(cpu), target: null, samples: { ms: cpu } },
    {
      what: 'existing file without tasks',
      unit: 'ms',
      measured: median(samples.empty),
      target: null,
      samples: { ms: samples.empty },
    },
    {
      what: `existing file with ${tasks} tasks, the first start after installing`,
      unit: 'ms',
      measured: median(samples.first),
      target: null,
      samples: { ms: samples.first },
    },
  ];
}
