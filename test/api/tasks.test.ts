import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ApiApp, assertInvalid, assertProblem, onEveryStore, type Reply } from './api-app.ts';

/** The path of a Link header's next page. */
function nextOf(reply: Reply): string | null {
  const link = reply.headers['link'];
  if (link === undefined) return null;
  return /^<([^>]+)>; rel="next"$/.exec(String(link))?.[1] ?? assert.fail(`not a link: ${String(link)}`);
}

/** Follows the links from a first page; every task met. */
async function allPages(app: ApiApp, path: string): Promise<Reply['body'][]> {
  const tasks: Reply['body'][] = [];
  for (let next: string | null = path; next !== null; ) {
    const reply: Reply = await app.get(next);
    assert.equal(reply.status, 200, reply.text);
    tasks.push(...reply.body.tasks);
    next = nextOf(reply);
    assert.equal(next === null, reply.body.nextCursor === null);
  }
  return tasks;
}

describe('GET /tasks/:id', () => {
  onEveryStore((app) => {
    test('shows the whole task, without its token', async () => {
      const held = await app().leased({ payload: { a: 1 } });
      const { body, headers, text } = await app().get(`/tasks/${held.id}`);
      assert.equal(headers['cache-control'], 'no-store');
      assert.deepEqual(Object.keys(body).sort(), Object.keys(held.task).sort());
      assert.deepEqual(body.payload, { a: 1 });
      assert.deepEqual(Object.keys(body.lease).sort(), ['expiresAt', 'remainingMs', 'workerId']);
      assert.ok(!text.includes(held.token));
    });

    test('an unknown id of whatever shape is task_not_found', async () => {
      for (const id of ['nope', '0', '%20', 'a%2Fb', '%F0%9F%98%80', '..%2f..', 'x'.repeat(500), '__proto__']) {
        const reply = await app().get(`/tasks/${id}`);
        assertProblem(reply, 404, 'task_not_found');
        assert.equal(reply.body.instance, `/tasks/${id}`);
      }
    });

    test('an ETag that still holds answers 304, though time passes for the lease', async () => {
      const { id, token } = await app().leased({ leaseMs: 60_000 });
      const first = await app().get(`/tasks/${id}`);
      const etag = String(first.headers.etag);
      assert.match(etag, /^W\/"[\w-]+"$/);
      await app().advance(5000);
      const same = await app().get(`/tasks/${id}`);
      assert.ok(same.body.lease.remainingMs < first.body.lease.remainingMs);
      assert.equal(same.headers.etag, etag);
      for (const header of [etag, `"other", ${etag}`, etag.slice(2), '*']) {
        const reply = await app().get(`/tasks/${id}`, { 'if-none-match': header });
        assert.equal(reply.status, 304, header);
        assert.equal(reply.text, '');
        assert.equal(reply.headers.etag, etag);
      }
      assert.equal((await app().get(`/tasks/${id}`, { 'if-none-match': '"other"' })).status, 200);
      await app().post(`/tasks/${id}/ack`, { leaseToken: token });
      assert.equal((await app().get(`/tasks/${id}`, { 'if-none-match': etag })).status, 200);
    });

    test('HEAD answers what GET would, without the body', async () => {
      const { id } = await app().enqueue({});
      const got = await app().get(`/tasks/${id}`);
      const reply = await app().call('HEAD', `/tasks/${id}`);
      assert.equal(reply.status, 200);
      assert.equal(reply.text, '');
      assert.equal(reply.headers.etag, got.headers.etag);
      assert.equal(reply.headers['content-length'], got.headers['content-length']);
    });

    test('takes no query parameter but waitMs, of 0 to 60000', async () => {
      const { id } = await app().enqueue({});
      assertInvalid(await app().get(`/tasks/${id}?wait=1`), '/wait');
      assertInvalid(await app().get(`/tasks/${id}?view=full`), '/view');
      for (const waitMs of ['60001', '-1', '', '1e3', '1&waitMs=1']) {
        assertInvalid(await app().get(`/tasks/${id}?waitMs=${waitMs}`), '/waitMs');
      }
      assert.equal((await app().get(`/tasks/${id}?waitMs=0`)).status, 200);
    });
  });
});

describe('GET /tasks', () => {
  onEveryStore((app) => {
    test('follows pages by their links, which keep the query', async () => {
      const queue = app().newQueue();
      const tasks = Array.from({ length: 25 }, (_, index) => ({ queue, type: index % 5 === 0 ? 'rare' : 'usual' }));
      const posted = await app().post('/tasks/batch', { tasks });
      const ids = posted.body.tasks.map((task) => task.id);
      const paged = await allPages(app(), `/tasks?limit=4&queue=${queue}`);
      assert.deepEqual(
        paged.map((task) => task.id),
        ids,
      );
      const first = await app().get(`/tasks?queue=${queue}&limit=4&state=ready&view=full`);
      const next = new URL(nextOf(first) ?? '', app().url).searchParams;
      assert.equal(next.get('queue'), queue);
      assert.equal(next.get('view'), 'full');
      assert.equal(next.get('state'), 'ready');
      assert.equal(next.get('cursor'), first.body.nextCursor);
      const rare = await allPages(app(), `/tasks?queue=${queue}&type=rare&limit=3`);
      assert.equal(rare.length, 5);
    });

    test('filters by state, and shows payloads only with view=full', async () => {
      const held = await app().leased({ payload: 'large' });
      await app().enqueue({ queue: held.queue, payload: 'large', delayMs: 1000 });
      const leased = await app().get(`/tasks?queue=${held.queue}&state=leased`);
      assert.deepEqual(
        leased.body.tasks.map((task) => task.id),
        [held.id],
      );
      for (const large of ['payload', 'result', 'checkpoint']) assert.ok(!(large in leased.body.tasks[0]));
      assert.ok(!leased.text.includes(held.token));
      const full = await app().get(`/tasks?queue=${held.queue}&view=full`);
      for (const task of full.body.tasks) assert.equal(task.payload, 'large');
    });

    test('filters by tag, error code and time of creation, and lists the newest first', async () => {
      const dead = await app().leased({ tags: ['vip', 'ß, b'] });
      const error = { code: 'E_RATE: later & more' };
      await app().post(`/tasks/${dead.id}/nack`, { leaseToken: dead.token, error, retryable: false });
      const other = await app().enqueue({ queue: dead.queue, tags: ['b'] });
      const idsOf = async (query: Record<string, string>): Promise<string[]> => {
        const wanted = new URLSearchParams({ queue: dead.queue, limit: '1', ...query });
        const paged = await allPages(app(), `/tasks?${wanted.toString()}`);
        return paged.map((task) => task.id);
      };
      assert.deepEqual(await idsOf({ order: 'oldest' }), [dead.id, other.id]);
      assert.deepEqual(await idsOf({ order: 'newest' }), [other.id, dead.id]);
      assert.deepEqual(await idsOf({ tag: 'ß, b' }), [dead.id]);
      assert.deepEqual(await idsOf({ tag: 'b' }), [other.id]);
      assert.deepEqual(await idsOf({ errorCode: error.code }), [dead.id]);
      assert.deepEqual(await idsOf({ errorCode: error.code, state: 'dead', order: 'newest', tag: 'vip' }), [dead.id]);
      const { createdAt } = (await app().get(`/tasks/${dead.id}`)).body;
      assert.ok((await idsOf({ createdAfter: createdAt })).includes(dead.id));
      assert.deepEqual(await idsOf({ createdBefore: createdAt }), []);
      assert.deepEqual(await idsOf({ createdAfter: '2100-01-01T00:00:00+02:00' }), []);
      const second = await app().get(`/tasks?queue=${dead.queue}&order=newest&limit=1`);
      const cursor = String(second.body.nextCursor);
      assertInvalid(await app().get(`/tasks?queue=${dead.queue}&order=oldest&cursor=${cursor}`), '/cursor');
    });

    test('lists the default queue when none is named, and nothing of one that does not exist', async () => {
      const { id } = await app().enqueue({});
      const tasks = await allPages(app(), '/tasks?limit=1000');
      assert.ok(tasks.some((task) => task.id === id));
      const none = await app().get(`/tasks?queue=${app().newQueue()}`);
      assert.deepEqual(none.body, { tasks: [], nextCursor: null });
    });

    test('refuses bad queries', async () => {
      const bad: Record<string, string> = {
        'state=done': '/state',
        'state=ready&state=dead': '/state',
        'type=': '/type',
        'limit=0': '/limit',
        'limit=1001': '/limit',
        'limit=ten': '/limit',
        'view=all': '/view',
        'view=full&limit=101': '/limit',
        'cursor=': '/cursor',
        'cursor=nonsense': '/cursor',
        'cursor=%F0%9F%98%80': '/cursor',
        'queue=a&queue=b': '/queue',
        'page=2': '/page',
        'tag=': '/tag',
        'errorCode=': '/errorCode',
        'createdAfter=yesterday': '/createdAfter',
        'createdBefore=1700000000': '/createdBefore',
        'createdAfter=2030-01-01T00:00:00Z&createdBefore=2030-01-01T00:00:00Z': '/createdBefore',
        'order=fifo': '/order',
      };
      for (const [query, pointer] of Object.entries(bad)) {
        assertInvalid(await app().get(`/tasks?${query.includes('queue') ? '' : 'queue=x&'}${query}`), pointer);
      }
    });
  });
});

describe('changing tasks', () => {
  onEveryStore((app) => {
    test('cancel answers 200 with the whole task when nobody holds it, also the second time', async () => {
      const { id } = await app().enqueue({ queue: app().newQueue(), payload: 1 });
      for (let time = 0; time < 2; time++) {
        const reply = await app().post(`/tasks/${id}/cancel`, { reason: 'withdrawn' });
        assert.equal(reply.status, 200);
        assert.equal(reply.body.state, 'cancelled');
        assert.equal(reply.body.payload, 1);
        assert.equal(reply.body.lastError.message, 'withdrawn');
      }
    });

    test('cancel takes no body too; a leased task is only asked, unless by force', async () => {
      const held = await app().leased();
      const asked = await app().post(`/tasks/${held.id}/cancel`);
      assert.equal(asked.status, 202);
      assert.equal(asked.body.state, 'leased');
      assert.equal(asked.body.cancelRequested, true);
      const forced = await app().post(`/tasks/${held.id}/cancel`, { force: true });
      assert.equal(forced.status, 200);
      assert.equal(forced.body.state, 'cancelled');
    });

    test('cancel of an ended task is already_settled', async () => {
      const held = await app().leased();
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.token });
      assertProblem(await app().post(`/tasks/${held.id}/cancel`), 409, 'already_settled');
    });

    test('redrive sends dead, cancelled and expired tasks back, and nothing else', async () => {
      const dead = await app().leased();
      assertProblem(await app().post(`/tasks/${dead.id}/redrive`), 409, 'not_redrivable');
      await app().post(`/tasks/${dead.id}/nack`, { leaseToken: dead.token, retryable: false });
      const expired = await app().enqueue({ queue: app().newQueue(), ttlMs: 1000 });
      await app().advance(1001);
      const cancelled = await app().enqueue({ queue: app().newQueue() });
      await app().post(`/tasks/${cancelled.id}/cancel`);
      for (const { id } of [dead, expired, cancelled]) {
        const reply = await app().post(`/tasks/${id}/redrive`, {});
        assert.equal(reply.status, 200, reply.text);
        assert.equal(reply.body.state, 'ready');
        assert.equal(reply.body.attempt, 0);
        assert.equal(reply.body.expiresAt, null);
      }
    });

    test('delete removes what has ended and refuses what has not', async () => {
      const held = await app().leased();
      assertProblem(await app().call('DELETE', `/tasks/${held.id}`), 409, 'task_active');
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.token });
      const reply = await app().call('DELETE', `/tasks/${held.id}`);
      assert.equal(reply.status, 204);
      assert.equal(reply.text, '');
      assertProblem(await app().get(`/tasks/${held.id}`), 404, 'task_not_found');
      assertProblem(await app().call('DELETE', `/tasks/${held.id}`), 404, 'task_not_found');
    });

    test('deleting a task frees its idempotency key', async () => {
      const task = { queue: app().newQueue() };
      const first = await app().post('/tasks', task, { 'idempotency-key': 'k' });
      await app().post(`/tasks/${first.body.id}/cancel`);
      await app().call('DELETE', `/tasks/${first.body.id}`);
      const second = await app().post('/tasks', task, { 'idempotency-key': 'k' });
      assert.equal(second.status, 201);
      assert.notEqual(second.body.id, first.body.id);
    });

    test('unknown tasks are task_not_found', async () => {
      for (const path of ['/tasks/nope/cancel', '/tasks/nope/redrive']) {
        assertProblem(await app().post(path), 404, 'task_not_found');
      }
      assertProblem(await app().call('DELETE', '/tasks/nope'), 404, 'task_not_found');
    });

    test('bodies are checked', async () => {
      const { id } = await app().enqueue({ queue: app().newQueue() });
      assertInvalid(await app().post(`/tasks/${id}/cancel`, { resaon: 'typo' }), '/resaon');
      assertInvalid(await app().post(`/tasks/${id}/cancel`, { force: 'yes', reason: '' }), '/force', '/reason');
      assertInvalid(await app().post(`/tasks/${id}/redrive`, { force: true }), '/force');
      assertInvalid(await app().call('DELETE', `/tasks/${id}`, { body: { force: true } }), '/force');
      assertInvalid(await app().call('DELETE', `/tasks/${id}?force=true`), '/force');
      assert.equal((await app().get(`/tasks/${id}`)).body.state, 'ready');
    });
  });
});
