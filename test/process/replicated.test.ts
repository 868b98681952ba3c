import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type RedisPair, startRedisPair } from '../support/redis-pair.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

interface Readiness {
  status: number;
  body: { durability: string; detail?: string };
}

describe('a broker whose answers replicas confirm', () => {
  const folder = temporaryFolder();
  let pair: RedisPair;
  let lessor: LessorProcess;

  before(async () => {
    pair = await startRedisPair();
    const env = { LESSOR_STORE: pair.primary.url, LESSOR_DURABILITY: 'replicated:1' };
    lessor = await startLessor({ dir: folder.dir, env });
  });

  after(async () => {
    await lessor.stop();
    await pair.stop();
    folder.remove();
  });

  async function readiness(): Promise<Readiness> {
    const reply = await fetch(`${lessor.url}/readyz?verbose`);
    return { status: reply.status, body: (await reply.json()) as Readiness['body'] };
  }

  function post(): Promise<Response> {
    const headers = { 'content-type': 'application/json', 'idempotency-key': 'one' };
    return fetch(`${lessor.url}/tasks`, { method: 'POST', headers, body: '{}' });
  }

  it('says so at its start and when it is asked', async () => {
    assert.match(lessor.stderr, /durability replicated:1: held by 1 of 1 connected replicas before it is answered/);
    const { status, body } = await readiness();
    assert.equal(status, 200);
    assert.equal(body.durability, 'replicated:1');
  });

  it('is not ready while they do not, says why, answers 503 to what would be stored, and recovers by itself', async () => {
    pair.link.swallow();
    const refused = await post();
    assert.equal(refused.status, 503);
    assert.equal(((await refused.json()) as { code: string }).code, 'store_unavailable');
    const { status, body } = await readiness();
    assert.equal(status, 503);
    assert.equal(body.durability, 'none');
    assert.match(body.detail ?? '', /^replicated:1 does not hold: 0 of 1 replicas/);
    await until(() => /was \\"replicated:1\\" and is \\"none\\" now/.test(lessor.stdout), { what: 'it is logged' });

    pair.link.restore();
    await until(async () => (await readiness()).status === 200, { what: 'ready again' });
    assert.equal((await readiness()).body.durability, 'replicated:1');
    // What was refused had been stored all the same.
    const repeated = await post();
    assert.equal(repeated.status, 200);
    assert.equal(repeated.headers.get('idempotency-replayed'), 'true');
    const told = [...lessor.stdout.matchAll(/was \\"([^"\\]+)\\" and is \\"([^"\\]+)\\" now/g)];
    for (const [index, [line, was]] of told.entries()) assert.equal(was, told[index - 1]?.[2] ?? 'replicated:1', line);
  });

  it('starts without them, is not ready, says why, and becomes ready when they come', async () => {
    await pair.onReplica.replicaof('NO', 'ONE');
    const env = { LESSOR_STORE: pair.primary.url, LESSOR_DURABILITY: 'replicated:1' };
    const early = await startLessor({ dir: folder.dir, env });
    try {
      assert.match(early.stderr, /durability none: replicated:1 does not hold: 0 of 1 replicas are connected; /);
      assert.match(early.stdout, /"level":"warn".*not ready: replicated:1 does not hold/);
      assert.equal((await fetch(`${early.url}/readyz`)).status, 503);
      await pair.onReplica.replicaof('127.0.0.1', pair.link.port);
      await until(async () => (await fetch(`${early.url}/readyz`)).status === 200, { what: 'ready' });
    } finally {
      await early.stop();
    }
  });
});
