import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { slotOfKey } from '../../src/store/redis/slots.ts';
import { plainTask } from '../support/plain-task.ts';
import { admin } from '../support/redis-admin.ts';
import { HttpLoad } from '../support/http-load.ts';
import { type RedisCluster, startCluster } from '../support/redis-cluster.ts';
import { type RedisSentinel, startSentinel } from '../support/redis-sentinel.ts';
import type { RedisServer } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { WriteProbe } from '../support/write-probe.ts';
import { type LessorProcess, runLessor, startLessor, temporaryFolder } from './lessor-process.ts';

/** Well within the time for which a broker waits for a primary to be there again. */
const PATIENT_MS = 1300;

interface Ready {
  status: number;
  /** What is wrong with the store, '' when nothing is. */
  trouble: string;
}

async function readiness({ url }: LessorProcess): Promise<Ready> {
  const reply = await fetch(`${url}/readyz?verbose`);
  const { checks } = (await reply.json()) as { checks: { name: string; ok: boolean; detail: string }[] };
  return { status: reply.status, trouble: checks.find(({ ok }) => !ok)?.detail ?? '' };
}

/** A doctor finds a store sound, finds what is broken by hand on each server, and mends it. */
async function mends(lessor: LessorProcess, dir: string, url: string, servers: readonly RedisServer[]): Promise<void> {
  const doctor = async (...flags: string[]): Promise<{ code: number | null; broken: string[] }> => {
    const { code, stdout, stderr } = await runLessor({
      ...{ dir, env: { LESSOR_STORE: url }, args: ['doctor', '--json', ...flags] },
    });
    assert.equal(stderr, '');
    const { findings } = JSON.parse(stdout) as { findings: { fault: string; queue: string; subject: string }[] };
    return { code, broken: findings.map(({ fault, queue, subject }) => `${fault} ${queue} ${subject}`).sort() };
  };
  const names = Array.from({ length: 30 }, (_, number) => `broken-${number}`);
  const post = (): Promise<Response> =>
    fetch(`${lessor.url}/tasks/batch`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ tasks: names.map((queue) => ({ queue })) }),
    });
  // A pressure of a test before, in which new tasks are refused, ends some seconds after its cause.
  await until(async () => (await post()).status === 201, { what: 'new tasks are taken' });
  assert.deepEqual(await doctor(), { code: 0, broken: [] });
  for (const { port } of servers) {
    const records = await admin(port, (redis) => redis.keys('lessor:{*}:q:broken-*'));
    assert.ok(records.length > 0, `${port} has none of the queues`);
    for (const record of records) await admin(port, (redis) => redis.hincrby(record, 'ready', 1));
  }
  const broken = names.map((queue) => `counter ${queue} ready`).sort();
  assert.deepEqual(await doctor(), { code: 2, broken });
  assert.deepEqual(await doctor('--mend'), { code: 2, broken });
  assert.deepEqual(await doctor(), { code: 0, broken: [] });
}

describe('a broker on a cluster', () => {
  const folder = temporaryFolder();
  let cluster: RedisCluster;
  let lessor: LessorProcess;

  before(async () => {
    cluster = await startCluster();
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: cluster.url } });
  });

  after(async () => {
    await lessor.stop();
    await cluster.stop();
    folder.remove();
  });

  const refusal = async (url: string): Promise<string> => {
    const { code, stderr } = await runLessor({ dir: folder.dir, env: { LESSOR_STORE: url } });
    assert.equal(code, 1);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
    return stderr;
  };

  test('goes on through a planned failover under load', async (t) => {
    const load = new HttpLoad([lessor.port]);
    try {
      await load.start();
      await load.flows(100);
      const [first] = await cluster.primaries();
      const slots = 16_384 / 3;
      const key = [...Array(100).keys()].map((number) => `probe-${number}`).find((name) => slotOfKey(name) < slots);
      assert.ok(first && key);
      const probe = new WriteProbe(
        cluster.nodes.map(({ port }) => port),
        key,
      );
      let away = 0;
      try {
        await cluster.failOver(first);
      } finally {
        away = await probe.stop();
      }
      await load.flows(100);
      t.diagnostic(`${await load.finish()}; its slots took no write for ${Math.round(away)} ms`);
      // Two servers that are held up by others take longer over it than a broker has patience for.
      assert.ok(load.unavailable === 0 || away > PATIENT_MS, `no write for ${away} ms`);
    } finally {
      load.close();
    }
  });

  test('is not ready while a primary would throw tasks away, and names it', async () => {
    const [, second] = await cluster.primaries();
    assert.ok(second);
    const policy = (value: string) => admin(second.port, (redis) => redis.config('SET', 'maxmemory-policy', value));
    await policy('allkeys-lru');
    const { status, trouble } = await readiness(lessor);
    assert.equal(status, 503);
    assert.match(trouble, new RegExp(`127.0.0.1:${second.port}.*allkeys-lru.*noeviction`));
    await until(() => lessor.stdout.includes('allkeys-lru'), { what: 'the log says so' });
    assert.match(await refusal(cluster.url), /allkeys-lru/);
    await policy('noeviction');
    assert.deepEqual(await readiness(lessor), { status: 200, trouble: '' });
  });

  test('is not ready while a primary does not answer, names it with its shards, and is again when a replica has taken over', async () => {
    const [first] = await cluster.primaries();
    const seen: string[] = [];
    let done = false;
    const watching = until(
      async () => {
        const { trouble } = await readiness(lessor);
        if (trouble !== '') seen.push(trouble);
        return done;
      },
      { timeoutMs: 30_000 },
    );
    const old = await cluster.crash(first);
    await until(async () => (await readiness(lessor)).status === 200, { what: 'it is ready', timeoutMs: 5000 });
    done = true;
    await watching;
    assert.ok(
      seen.some((trouble) => trouble.includes(`127.0.0.1:${old.port}, the primary of shards `)),
      seen.join('\n'),
    );
    await old.restart();
    await cluster.settled();
  });

  test('works on a store that the doctor finds sound, and mends on every node', async () => {
    await mends(lessor, folder.dir, cluster.url, await cluster.primaries());
  });

  test('does not start by a URL as if one of its nodes were all there is', async () => {
    const [node] = cluster.nodes;
    const line = await refusal(`redis://127.0.0.1:${node?.port}`);
    assert.match(line, /redis\+cluster:\/\//);
  });
});

describe('a broker behind Sentinels', () => {
  const folder = temporaryFolder();
  let sentinel: RedisSentinel;
  let lessor: LessorProcess;

  before(async () => {
    sentinel = await startSentinel();
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: sentinel.url } });
  });

  after(async () => {
    await lessor.stop();
    await sentinel.stop();
    folder.remove();
  });

  test('goes on through a planned failover under load, and hears of tasks of others afterwards', async (t) => {
    const [hearer, teller] = [0, 1].map(
      () => new RedisStore({ url: sentinel.url, prefix: 'other', shards: 4, durability: 'default' }),
    );
    assert.ok(hearer && teller);
    await Promise.all([hearer.open(), teller.open()]);
    let wakes = 0;
    hearer.wakes.onReady(() => wakes++);
    hearer.wakes.watch('q');
    await until(() => wakes >= 1, { what: 'it has subscribed' });
    const load = new HttpLoad([lessor.port]);
    try {
      await load.start();
      await load.flows(100);
      await sentinel.failOver();
      await load.flows(100);
      t.diagnostic(await load.finish());
      await until(() => wakes > 1, { what: 'it has subscribed again' });
      wakes = 0;
      await teller.enqueue([{ queue: 'q', tasks: [plainTask(teller.newTaskId('q'))] }]);
      await until(() => wakes > 0, { what: 'it hears of a task' });
    } finally {
      load.close();
      await Promise.all([hearer.close(), teller.close()]);
    }
    assert.deepEqual(await readiness(lessor), { status: 200, trouble: '' });
  });

  test('works on a store that the doctor finds sound, and mends', async () => {
    await mends(lessor, folder.dir, sentinel.url, [await sentinel.primary()]);
  });

  test('does not start when no Sentinel answers, when none knows the primary, or when the servers are no cluster', async () => {
    for (const [url, words] of [
      [sentinel.url.replace('/main', '/other'), /no Sentinel at .* knows a primary "other" \(ERR No such master/],
      ['redis+sentinel://127.0.0.1:1/main', /no Sentinel at 127\.0\.0\.1:1 knows a primary "main" \(.*ECONNREFUSED/],
      [sentinel.url.replace(/sentinel:(.*)\/main/, 'cluster:$1'), /cluster/i],
    ] as const) {
      const { code, stderr } = await runLessor({ dir: folder.dir, env: { LESSOR_STORE: url } });
      assert.equal(code, 1);
      assert.equal(stderr.trim().split('\n').length, 1, stderr);
      assert.match(stderr, words);
    }
  });
});
