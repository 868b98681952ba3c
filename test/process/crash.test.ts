import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

const TASKS = 10_000;
const PRODUCERS = 32;
const QUEUE = 'crash';

/** Enqueues one task per request until all are sent or the broker is gone. */
class Producers {
  /** Payloads answered 201, by task id. */
  readonly acknowledged = new Map<string, number>();
  readonly unexpected: unknown[] = [];
  #next = 0;
  #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: PRODUCERS }, () => this.#produce()));
  }

  async #produce(): Promise<void> {
    while (this.#next < TASKS) {
      const payload = this.#next++;
      let reply: Response;
      let text: string;
      try {
        reply = await fetch(`${this.#url}/tasks`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ queue: QUEUE, payload }),
        });
        text = await reply.text();
      } catch {
        // The broker has gone: whether this one was stored is unknown.
        return;
      }
      if (reply.status === 201) this.acknowledged.set(JSON.parse(text).id, payload);
      else if (reply.status !== 503) this.unexpected.push({ status: reply.status, text });
    }
  }
}

async function stored(url: string): Promise<Map<string, number>> {
  const tasks = new Map<string, number>();
  let cursor: string | null = null;
  do {
    const query = new URLSearchParams({ queue: QUEUE, limit: '100', view: 'full' });
    if (cursor !== null) query.set('cursor', cursor);
    const reply = await fetch(`${url}/tasks?${query.toString()}`);
    assert.equal(reply.status, 200, reply.ok ? '' : await reply.text());
    const page = (await reply.json()) as { tasks: { id: string; payload: number }[]; nextCursor: string | null };
    for (const { id, payload } of page.tasks) tasks.set(id, payload);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return tasks;
}

async function crash(lessor: LessorProcess, kill: () => void | Promise<void>): Promise<Map<string, number>> {
  const producers = new Producers(lessor.url);
  const done = producers.run();
  await until(() => producers.acknowledged.size > TASKS / 4, { timeoutMs: 60_000, what: 'a quarter is stored' });
  await kill();
  await done;
  assert.deepEqual(producers.unexpected, []);
  assert.ok(producers.acknowledged.size < TASKS, 'the kill came in the middle');
  return producers.acknowledged;
}

/** Every acknowledged task is there with its payload, and nothing that nobody sent. */
function assertKept(acknowledged: ReadonlyMap<string, number>, kept: ReadonlyMap<string, number>): void {
  const lost = [...acknowledged].filter(([id, payload]) => kept.get(id) !== payload);
  assert.deepEqual(lost, []);
  assert.equal(new Set(kept.values()).size, kept.size, 'no payload was stored twice');
  assert.ok(kept.size - acknowledged.size <= PRODUCERS, 'at most the requests under way are extra');
}

describe('every task that was answered 201 survives', () => {
  it('SIGKILL of a broker with the embedded store', async () => {
    const folder = temporaryFolder();
    const first = await startLessor({ dir: folder.dir });
    const acknowledged = await crash(first, () => first.signal('SIGKILL'));
    assert.equal((await first.ended).signal, 'SIGKILL');
    const second = await startLessor({ dir: folder.dir });
    assertKept(acknowledged, await stored(second.url));
    await second.stop();
    folder.remove();
  });

  it('SIGKILL of a broker on Redis', async () => {
    const folder = temporaryFolder();
    const redis = await startRedis({ appendonly: true });
    const env = { LESSOR_STORE: redis.url };
    const first = await startLessor({ dir: folder.dir, env });
    const acknowledged = await crash(first, () => first.signal('SIGKILL'));
    await first.ended;
    const second = await startLessor({ dir: folder.dir, env });
    assertKept(acknowledged, await stored(second.url));
    await second.stop();
    await redis.stop();
    folder.remove();
  });

  it('SIGKILL of a Redis that syncs its append-only file at every write', async () => {
    const folder = temporaryFolder();
    const redis = await startRedis({ appendonly: true });
    const lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: redis.url } });
    assert.match(lessor.stderr, /durability always: /);
    const acknowledged = await crash(lessor, () => redis.kill());
    await redis.restart();
    await until(async () => (await fetch(`${lessor.url}/readyz`)).status === 200, {
      what: 'the broker is ready again',
    });
    assertKept(acknowledged, await stored(lessor.url));
    await lessor.stop();
    await redis.stop();
    folder.remove();
  });
});
