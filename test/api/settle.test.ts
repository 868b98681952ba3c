import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ApiApp, assertInvalid, assertProblem, many, onEveryStore, type Reply } from './api-app.ts';

const VERBS = ['ack', 'nack', 'release', 'heartbeat'] as const;
type Verb = (typeof VERBS)[number];
type Held = { id: string; token: string; queue: string };

const LEASE_MS = 10_000;

function settle(app: ApiApp, verb: Verb, { id, token }: Held, more: object = {}): Promise<Reply> {
  return app.post(`/tasks/${id}/${verb}`, { leaseToken: token, ...more });
}

async function stateOf(app: ApiApp, { id }: Held): Promise<string> {
  return (await app.get(`/tasks/${id}`)).body.state;
}

/** What a reply amounts to: a refusal's code, or the state with `late` and `replayed`. */
function gist(reply: Reply): string {
  if (reply.status !== 200) {
    assertProblem(reply, reply.status, reply.body.code);
    assert.equal(reply.body.retryable, false, 'every 4xx is final');
    return `${reply.status} ${reply.body.code}`;
  }
  const { state, late, replayed } = reply.body;
  return [state, ...(late ? ['late'] : []), ...(replayed ? ['replayed'] : [])].join(' ');
}

/** Ways in which a lease has run out: found by the reaper before the worker calls, or by the call itself. */
const LAPSES: Record<string, (app: ApiApp) => Promise<void>> = {
  'after the reaper': (app) => app.advance(LEASE_MS + 1),
  'before the reaper': (app) => app.advanceUnswept(LEASE_MS + 1),
};

describe('settling', () => {
  onEveryStore((app) => {
    const task = { leaseMs: LEASE_MS, backoff: { type: 'fixed', baseMs: 1000, jitter: 0 } };

    async function check(held: Held, verb: Verb, expected: string, more: object = {}): Promise<void> {
      assert.equal(gist(await settle(app(), verb, held, more)), expected, verb);
    }

    /** The four verbs, each on a task of its own that `arrange` has brought into the case. */
    function row(name: string, arrange: (held: Held, verb: Verb) => Promise<Held>, cells: Record<Verb, string>): void {
      for (const verb of VERBS) {
        test(`${name}: ${verb} answers ${cells[verb]}`, async () => {
          const held = await arrange(await app().leased(task), verb);
          await check(held, verb, cells[verb]);
        });
      }
    }

    row('leased', async (held) => held, {
      ack: 'completed',
      nack: 'scheduled',
      release: 'ready',
      heartbeat: 'leased',
    });

    for (const [when, lapse] of Object.entries(LAPSES)) {
      const lapsed = async (held: Held): Promise<Held> => {
        await lapse(app());
        return held;
      };
      row(`run out, not granted again, ${when}`, lapsed, {
        ack: 'completed late',
        nack: 'ready late',
        release: '409 lease_lost',
        heartbeat: 'leased late',
      });

      const lastAttempt = async (): Promise<Held> => lapsed(await app().leased({ ...task, maxAttempts: 1 }));
      row(`dead only because the lease ran out, ${when}`, lastAttempt, {
        ack: 'completed late',
        nack: 'dead late',
        release: '409 already_settled',
        heartbeat: '409 lease_lost',
      });

      const pastTtl = async (): Promise<Held> => lapsed(await app().leased({ ...task, ttlMs: LEASE_MS / 2 }));
      row(`expired only because the lease ran out, ${when}`, pastTtl, {
        ack: 'completed late',
        nack: 'expired late',
        release: '409 already_settled',
        heartbeat: '409 lease_lost',
      });
    }

    const regranted = async (held: Held): Promise<Held> => {
      await app().advance(LEASE_MS + 1);
      const [again] = await app().lease(held.queue);
      assert.equal(again.id, held.id);
      return held;
    };
    const lost = '409 lease_lost';
    row('granted to somebody else', regranted, { ack: lost, nack: lost, release: lost, heartbeat: lost });

    const madeUp = async (held: Held): Promise<Held> => ({ ...held, token: 'made-up' });
    row('a token that never was', madeUp, { ack: lost, nack: lost, release: lost, heartbeat: lost });

    const redriven = async (held: Held): Promise<Held> => {
      await settle(app(), 'nack', held, { retryable: false });
      assert.equal((await app().post(`/tasks/${held.id}/redrive`)).status, 200);
      return held;
    };
    row('redriven', redriven, { ack: lost, nack: lost, release: lost, heartbeat: lost });

    const cancelled = async (held: Held): Promise<Held> => {
      assert.equal((await app().post(`/tasks/${held.id}/cancel`, { force: true })).status, 200);
      return held;
    };
    const gone = '409 task_cancelled';
    row('cancelled', cancelled, { ack: gone, nack: gone, release: gone, heartbeat: gone });

    const unknown = async (held: Held): Promise<Held> => ({ ...held, id: `${held.id}x` });
    const missing = '404 task_not_found';
    row('unknown', unknown, { ack: missing, nack: missing, release: missing, heartbeat: missing });

    const deleted = async (held: Held): Promise<Held> => {
      await settle(app(), 'ack', held);
      assert.equal((await app().call('DELETE', `/tasks/${held.id}`)).status, 204);
      return held;
    };
    row('deleted', deleted, { ack: missing, nack: missing, release: missing, heartbeat: missing });

    const repeated = async (held: Held, verb: Verb): Promise<Held> => {
      await settle(app(), verb, held);
      return held;
    };
    row('settled by the same verb', repeated, {
      ack: 'completed replayed',
      nack: 'scheduled replayed',
      release: 'ready replayed',
      heartbeat: 'leased',
    });

    for (const first of ['ack', 'nack', 'release'] as const) {
      for (const second of VERBS.filter((verb) => verb !== first)) {
        test(`settled by ${first}: ${second} is refused and changes nothing`, async () => {
          const held = await app().leased(task);
          await settle(app(), first, held);
          const state = await stateOf(app(), held);
          await check(held, second, '409 already_settled');
          assert.equal(await stateOf(app(), held), state);
        });
      }
    }

    test('a repeated verb gets its first outcome, whatever else the body says and wherever the task is now', async () => {
      const held = await app().leased(task);
      const first = await settle(app(), 'nack', held, { delayMs: 0 });
      assert.equal(first.body.state, 'ready');
      const [again] = await app().lease(held.queue);
      await settle(app(), 'ack', { ...held, token: again.lease.token });
      await check(held, 'nack', '409 lease_lost');

      const other = await app().leased(task);
      await settle(app(), 'ack', other, { result: 1 });
      await check(other, 'ack', 'completed replayed', { result: 2 });
      assert.equal((await app().get(`/tasks/${other.id}`)).body.result, 1);
    });

    test('a late nack records its error, ignores its delay, and is counted once', async () => {
      const held = await app().leased(task);
      await app().advance(LEASE_MS + 1);
      const reply = await settle(app(), 'nack', held, {
        delayMs: 60_000,
        error: { code: 'smtp_421', message: 'later' },
      });
      assert.equal(gist(reply), 'ready late');
      const { body } = await app().get(`/tasks/${held.id}`);
      assert.equal(body.lastError.code, 'smtp_421');
      assert.equal(body.lastError.message, 'later');
      assert.equal(body.attempt, 1);
      const again = await app().leased(task);
      await app().advance(LEASE_MS + 1);
      assert.equal(gist(await settle(app(), 'nack', again, { retryable: false })), 'dead late');
    });

    test('an ack keeps its result, and answers id, state, attempt, late, replayed and what it leased next', async () => {
      const held = await app().leased(task);
      const reply = await settle(app(), 'ack', held, { result: { n: 1 } });
      const settled = { id: held.id, state: 'completed', attempt: 1, late: false, replayed: false };
      assert.deepEqual(reply.body, { ...settled, next: [] });
      const { body } = await app().get(`/tasks/${held.id}`);
      assert.deepEqual(body.result, { n: 1 });
      assert.notEqual(body.finishedAt, null);
      assert.equal(body.lease, null);
    });

    test('a nack answers when the task runs next, and a delay of its own replaces the backoff', async () => {
      const held = await app().leased(task);
      const { body } = await settle(app(), 'nack', held, {
        error: { code: 'e', message: 'm', details: { a: [] } },
        delayMs: 5000,
      });
      assert.equal(body.state, 'scheduled');
      assert.equal(body.attempt, 1);
      const shown = (await app().get(`/tasks/${held.id}`)).body;
      assert.equal(shown.runAt, body.runAt);
      assert.deepEqual(shown.lastError, {
        code: 'e',
        message: 'm',
        details: { a: [] },
        attempt: 1,
        at: shown.lastError.at,
      });
      assert.equal(Date.parse(body.runAt) - Date.parse(shown.lastError.at), 5000);
    });

    test('a nack that is not retryable kills, and so does the last attempt', async () => {
      const held = await app().leased(task);
      assert.equal((await settle(app(), 'nack', held, { retryable: false })).body.state, 'dead');
      const last = await app().leased({ ...task, maxAttempts: 1 });
      assert.equal((await settle(app(), 'nack', last)).body.state, 'dead');
    });

    test('a release gives the attempt back; with a delay the task is scheduled', async () => {
      const held = await app().leased(task);
      assert.equal((await settle(app(), 'release', held)).body.attempt, 0);
      const [again] = await app().lease(held.queue);
      assert.equal(again.attempt, 1);
      assert.equal(again.lease.fence, 2);
      const reply = await settle(app(), 'release', { ...held, token: again.lease.token }, { delayMs: 1000 });
      assert.equal(reply.body.state, 'scheduled');
    });

    test('a heartbeat counts from now, keeps the token, and leaves progress and a checkpoint', async () => {
      const held = await app().leased(task);
      await app().advance(LEASE_MS - 1000);
      const reply = await settle(app(), 'heartbeat', held, { leaseMs: 60_000, progress: 40, checkpoint: { page: 3 } });
      assert.equal(gist(reply), 'leased');
      assert.equal(reply.body.lease.remainingMs, 60_000);
      assert.equal(reply.body.cancelRequested, false);
      const shown = (await app().get(`/tasks/${held.id}`)).body;
      assert.equal(shown.progress, 40);
      assert.equal(shown.lease.expiresAt, reply.body.lease.expiresAt);
      await app().advance(LEASE_MS);
      await check(held, 'heartbeat', 'leased');
      assert.equal((await app().get(`/tasks/${held.id}`)).body.progress, 40, 'a heartbeat without progress leaves it');
      await settle(app(), 'release', held);
      const [again] = await app().lease(held.queue);
      assert.deepEqual(again.checkpoint, { page: 3 });
    });

    test('a heartbeat tells of a cancellation, and an ack still completes', async () => {
      const held = await app().leased(task);
      const reply = await app().post(`/tasks/${held.id}/cancel`, { reason: 'withdrawn' });
      assert.equal(reply.status, 202);
      assert.equal((await settle(app(), 'heartbeat', held)).body.cancelRequested, true);
      await check(held, 'ack', 'completed');
    });

    test('bodies are checked', async () => {
      const held = await app().leased(task);
      const path = (verb: Verb): string => `/tasks/${held.id}/${verb}`;
      for (const verb of VERBS) {
        assertInvalid(await app().post(path(verb), {}), '/leaseToken');
        assertInvalid(await app().post(path(verb)), '');
        assertInvalid(await app().post(path(verb), { leaseToken: 7 }), '/leaseToken');
        assertInvalid(await app().post(path(verb), { leaseToken: held.token, leaseNxt: { max: 1 } }), '/leaseNxt');
        assertInvalid(await app().post(path(verb), []), '');
      }
      const bad: [Verb, object, ...string[]][] = [
        ['ack', { results: 1 }, '/results'],
        ['ack', { leaseNext: 1 }, '/leaseNext'],
        [
          'ack',
          { leaseNext: { max: 0, leaseMs: 99, order: 'fair' } },
          '/leaseNext/max',
          '/leaseNext/leaseMs',
          '/leaseNext/order',
        ],
        ['ack', { leaseNext: { workerId: '', queue: 'other' } }, '/leaseNext/workerId', '/leaseNext/queue'],
        ['nack', { error: 'text' }, '/error'],
        ['nack', { leaseNext: {} }, '/leaseNext'],
        ['release', { leaseNext: {} }, '/leaseNext'],
        ['heartbeat', { leaseNext: {} }, '/leaseNext'],
        ['nack', { error: { code: '', message: 7, detail: {} } }, '/error/code', '/error/message', '/error/detail'],
        ['nack', { retryable: 'no', delayMs: -1 }, '/retryable', '/delayMs'],
        ['release', { delayMs: 1.5 }, '/delayMs'],
        ['release', { error: {} }, '/error'],
        ['heartbeat', { leaseMs: 99 }, '/leaseMs'],
        ['heartbeat', { result: 1 }, '/result'],
      ];
      for (const [verb, body, ...pointers] of bad) {
        assertInvalid(await app().post(path(verb), { leaseToken: held.token, ...body }), ...pointers);
      }
      assert.equal(await stateOf(app(), held), 'leased', 'nothing was changed');
    });
  });
});

describe('POST /leases/settle', () => {
  onEveryStore((app) => {
    test('settles each item by itself and answers 207 where any failed', async () => {
      const [one, two, three, four] = [
        await app().leased(),
        await app().leased(),
        await app().leased(),
        await app().leased(),
      ];
      const reply = await app().post('/leases/settle', {
        items: [
          { id: one.id, leaseToken: one.token, op: 'ack', result: 1 },
          { id: two.id, leaseToken: 'made-up', op: 'ack' },
          { id: two.id, leaseToken: two.token, op: 'nack', error: { code: 'e' } },
          { id: three.id, leaseToken: three.token, op: 'release' },
          { id: 'no such task', leaseToken: 't', op: 'ack' },
          { id: four.id, leaseToken: four.token, op: 'heartbeat', progress: 1 },
        ],
      });
      assert.equal(reply.status, 207);
      assert.equal(reply.body.failed, 2);
      const { results } = reply.body;
      assert.deepEqual(
        results.map(({ id, status, state, problem }) => [id, status, state ?? problem.code]),
        [
          [one.id, 200, 'completed'],
          [two.id, 409, 'lease_lost'],
          [two.id, 200, 'scheduled'],
          [three.id, 200, 'ready'],
          ['no such task', 404, 'task_not_found'],
          [four.id, 200, 'leased'],
        ],
      );
      assert.equal(results[1].problem.instance, `/tasks/${two.id}`);
      assert.equal(results[4].problem.instance, '/tasks/no%20such%20task');
      assert.equal(results[1].problem.retryable, false);
      assert.ok(results[2].runAt);
      assert.equal(results[5].cancelRequested, false);
      assert.ok(results[5].lease.remainingMs > 0);
    });

    test('answers 200 when all went well, replays included', async () => {
      const held = await app().leased();
      const items = [{ id: held.id, leaseToken: held.token, op: 'ack' }];
      assert.equal((await app().post('/leases/settle', { items })).status, 200);
      const again = await app().post('/leases/settle', { items });
      assert.equal(again.status, 200);
      assert.equal(again.body.results[0].replayed, true);
      assert.equal(again.body.failed, 0);
    });

    test('names what is wrong with each item, and does nothing then', async () => {
      const held = await app().leased();
      const good = { id: held.id, leaseToken: held.token, op: 'ack' };
      const bad: [unknown, ...string[]][] = [
        [{ ...good, op: 'acknowledge' }, '/items/1/op'],
        [{ id: held.id, leaseToken: held.token }, '/items/1/op'],
        [{ ...good, retryable: false }, '/items/1/retryable'],
        [{ ...good, leaseNext: {} }, '/items/1/leaseNext'],
        [{ op: 'ack' }, '/items/1/id', '/items/1/leaseToken'],
        [7, '/items/1'],
      ];
      for (const [item, ...pointers] of bad) {
        assertInvalid(await app().post('/leases/settle', { items: [good, item] }), ...pointers);
      }
      assertInvalid(await app().post('/leases/settle', { items: [] }), '/items');
      assertInvalid(await app().post('/leases/settle', { items: many(1001, good) }), '/items');
      assert.equal(await stateOf(app(), held), 'leased');
    });

    test('settles 1000 at once', async () => {
      const queue = app().newQueue();
      await app().post('/tasks/batch', { tasks: many(1000, { queue }) });
      const items: object[] = [];
      while (items.length < 1000) {
        for (const { id, lease } of await app().lease(queue, '&max=100')) {
          items.push({ id, leaseToken: lease.token, op: 'ack' });
        }
      }
      const reply = await app().post('/leases/settle', { items });
      assert.equal(reply.status, 200);
      assert.equal(reply.body.results.length, 1000);
    });
  });
});
