import assert from 'node:assert/strict';
import type { Groups } from '../../src/domain/groups.ts';
import type { Grant, NewTask, TaskState } from '../../src/domain/task.ts';
import { held, json, type Theme, type Workbench } from './workbench.ts';

/** Stores tasks named such as `a1`, of the group that the first letter says; one that begins with `-` has no group. */
async function put(bench: Workbench, names: string, part: Partial<NewTask> = {}): Promise<void> {
  await bench.putAll(
    names.split(' ').map((name) => ({
      payload: json(name),
      groupKey: name.startsWith('-') ? null : name.slice(0, 1),
      ...part,
    })),
  );
}

const nameOf = ({ task }: Grant): string => JSON.parse(task.payload) as string;

/** Leases up to so many tasks: their names, and each of them by its name. */
async function take(bench: Workbench, max = 1, leaseMs = 30_000): Promise<{ names: string; by: Map<string, Grant> }> {
  const grants = await bench.lease({ max, leaseMs });
  return { names: grants.map(nameOf).join(' '), by: new Map(grants.map((grant) => [nameOf(grant), grant])) };
}

/** Leases the one task that is to be next. */
async function next(bench: Workbench, name: string, leaseMs = 30_000): Promise<Grant> {
  const { names, by } = await take(bench, 1, leaseMs);
  assert.equal(names, name);
  const grant = by.get(name);
  if (!grant) throw new Error('no grant');
  return grant;
}

/** Acknowledges the tasks of the queue one after the other, in the order in which they are granted. */
async function run(bench: Workbench): Promise<string> {
  const names: string[] = [];
  for (let grants = await bench.lease(); grants.length > 0; grants = await bench.lease()) {
    for (const grant of grants) {
      names.push(nameOf(grant));
      await bench.ack(held(grant));
    }
  }
  return names.join(' ');
}

async function configure(bench: Workbench, groups: Partial<Groups>): Promise<void> {
  await bench.store.configure('q', { groups }, 'merge');
}

/** The states of the tasks in the order of their creation, by their first letters. */
async function states(bench: Workbench): Promise<string> {
  const letters: Record<TaskState, string> = {
    ...{ scheduled: 's', ready: 'r', blocked: 'b', leased: 'l' },
    ...{ completed: 'c', dead: 'd', cancelled: 'x', expired: 'e' },
  };
  return (await bench.list()).map(({ state }) => letters[state]).join('');
}

async function idOf(bench: Workbench, name: string): Promise<string> {
  const found = (await bench.list()).find(({ payload }) => payload === json(name));
  assert.ok(found, name);
  return found.id;
}

export const groups: Theme = {
  name: 'groups',
  rules(rule) {
    rule('the tasks of a group run one at a time, in order', async (bench) => {
      await put(bench, 'a1 a2 a3');
      assert.equal(await states(bench), 'rbb');
      const first = await next(bench, 'a1');
      assert.equal((await bench.get(first.task.id)).groupKey, 'a');
      assert.equal(await states(bench), 'lbb');
      assert.equal((await take(bench, 5)).names, '');
      await bench.ack(held(first));
      assert.equal(await states(bench), 'crb');
      assert.equal(await run(bench), 'a2 a3');
    });

    rule(
      'a queue tells whether its blocked tasks wait for leases of their groups, where they may wait for a time',
      async (bench) => {
        await put(bench, 'a1 a2 b1');
        const { by } = await take(bench, 2);
        assert.deepEqual([...by.keys()], ['a1', 'b1']);
        const [a1, b1] = [by.get('a1'), by.get('b1')];
        assert.ok(a1 && b1);
        await bench.nack(held(a1), { delayMs: 5000 });
        assert.equal(await states(bench), 'sbl');
        assert.equal((await bench.queue()).blockedByLease, false);
        await put(bench, 'b2');
        assert.equal(await states(bench), 'sblb');
        assert.equal((await bench.queue()).blockedByLease, true);
        await bench.ack(held(b1));
        assert.equal(await states(bench), 'sbcr');
        assert.equal((await bench.queue()).blockedByLease, false);
      },
    );

    rule('groups are served in turn, among each other and with tasks that have none', async (bench) => {
      await put(bench, 'a1 a2 a3 -1 b1 b2 -2 c1');
      assert.equal(await run(bench), 'a1 -1 b1 -2 c1 a2 b2 a3');
    });

    rule('tasks without a group are not held back by any', async (bench) => {
      await put(bench, 'a1 a2 -1 -2 -3');
      assert.equal((await take(bench, 10)).names, 'a1 -1 -2 -3');
    });

    rule('a busy group does not starve the others', async (bench) => {
      await put(bench, Array.from({ length: 900 }, (_, index) => `a${index}`).join(' '));
      for (const group of 'bcdefghij') {
        await put(bench, Array.from({ length: 10 }, (_, index) => `${group}${index}`).join(' '));
      }
      const served: string[] = [];
      for (let lease = 0; lease < 100; lease++) {
        const [grant] = await bench.lease();
        assert.ok(grant);
        served.push(nameOf(grant));
        await bench.ack(held(grant));
      }
      assert.equal(served.filter((name) => name.startsWith('a')).length, 10);
      assert.equal((await bench.queue()).counts.ready, 1);
    });

    rule(
      'leases that run out in one moment end in the order of their grants, and the next of their groups follow in it',
      async (bench) => {
        await put(bench, 'a1', { maxAttempts: 1 });
        await put(bench, 'b1', { maxAttempts: 1, priority: 9 });
        await put(bench, 'a2 b2');
        assert.equal((await take(bench, 2, 1000)).names, 'b1 a1');
        await bench.pass(1000);
        assert.equal((await take(bench, 2)).names, 'b2 a2');
      },
    );

    rule(
      'tasks past their ttl in one moment end in the order of their creation, and the next of their groups follow in it',
      async (bench) => {
        const [second, first] = ['a1', 'b1'].map((name) =>
          bench.task({ payload: json(name), groupKey: name.slice(0, 1), ttlMs: 1000 }),
        );
        if (!first || !second) throw new Error('two tasks');
        await bench.enqueue([first]);
        await bench.enqueue([second]);
        await put(bench, 'a2 b2');
        await bench.pass(1000);
        assert.equal((await take(bench, 2)).names, 'b2 a2');
      },
    );

    rule(
      'a task that is revived after its expiry had it wait behind its group is released to the front',
      async (bench) => {
        await configure(bench, { maxConcurrency: 2 });
        await put(bench, 'a1 a2');
        const { by } = await take(bench, 2, 1000);
        const [first, second] = [by.get('a1'), by.get('a2')];
        if (!first || !second) throw new Error('two grants');
        await put(bench, '-1');
        await bench.pass(1000);
        assert.equal(await states(bench), 'rbr');
        await bench.heartbeat(held(second));
        await bench.ack(held(first));
        await bench.release(held(second));
        assert.equal((await bench.queue()).oldestReadyAt, second.task.runAt);
        assert.equal((await take(bench, 2)).names, 'a2 -1');
      },
    );

    rule('one call is granted one task of each group', async (bench) => {
      await put(bench, 'a1 a2 b1 b2 c1');
      assert.equal((await take(bench, 10)).names, 'a1 b1 c1');
    });

    rule(
      'a group takes its turn within the priority of its head, and its own line knows no priorities',
      async (bench) => {
        await put(bench, 'a1', { priority: 1 });
        await put(bench, 'a2', { priority: 9 });
        await put(bench, 'b1 b2', { priority: 5 });
        await put(bench, '-1', { priority: 3 });
        assert.equal(await run(bench), 'b1 b2 -1 a1 a2');
      },
    );

    rule('within one call a head that comes up goes before lower priorities', async (bench) => {
      await configure(bench, { maxConcurrency: 2 });
      await put(bench, 'a1 a2 a3', { priority: 5 });
      await put(bench, '-1 -2', { priority: 4 });
      assert.equal((await take(bench, 4)).names, 'a1 a2 -1 -2');
    });

    rule('strict: a failed head keeps its place in front of its group while it backs off', async (bench) => {
      await put(bench, 'a1 a2 b1');
      const first = await next(bench, 'a1');
      await bench.nack(held(first), { delayMs: 1000 });
      assert.equal(await states(bench), 'sbr');
      assert.equal((await take(bench, 5)).names, 'b1');
      await bench.advance(1000);
      const { promoted, readied } = await bench.sweep();
      assert.deepEqual([promoted, readied], [1, ['q']]);
      assert.equal(await run(bench), 'a1 a2');
    });

    rule('strict: a head that failed and need not wait comes next of its group', async (bench) => {
      await put(bench, 'a1 a2 b1 b2');
      await bench.nack(held(await next(bench, 'a1')), { delayMs: 0 });
      assert.equal(await run(bench), 'b1 a1 b2 a2');
    });

    rule('relaxed: the next one passes a head that backs off, which then goes to the back', async (bench) => {
      await configure(bench, { ordering: 'relaxed' });
      await put(bench, 'a1 a2 a3');
      const outcome = await bench.nack(held(await next(bench, 'a1')), { delayMs: 1000 });
      assert.equal(outcome.outcome === 'settled' && outcome.readied, 'q');
      const second = await next(bench, 'a2');
      await bench.pass(1000);
      assert.equal(await states(bench), 'blb');
      await bench.nack(held(second), { delayMs: 0 });
      assert.equal(await run(bench), 'a3 a1 a2');
    });

    rule('an end of the head that backs off lets the next one pass', async (bench) => {
      for (const end of ['cancel', 'purge', 'ttl'] as const) {
        await put(bench, 'a1', { ttlMs: 500 });
        await put(bench, 'a2 a3');
        await bench.nack(held(await next(bench, 'a1')), { delayMs: 10_000 });
        assert.equal((await take(bench)).names, '');
        if (end === 'cancel') assert.equal((await bench.cancel(await idOf(bench, 'a1'))).readied, 'q');
        if (end === 'purge') await bench.store.purge('q', 'scheduled', 10);
        if (end === 'ttl') assert.deepEqual((await bench.pass(500)).readied, ['q']);
        assert.equal(await run(bench), 'a2 a3', end);
        for (const state of ['cancelled', 'completed', 'expired'] as const) await bench.store.purge('q', state, 10);
      }
    });

    rule(
      'a task that is scheduled for later never blocks its group, and comes behind what waits when it is due',
      async (bench) => {
        await put(bench, 'a1', { delayMs: 1000 });
        await put(bench, 'a2 a3');
        assert.equal(await states(bench), 'srb');
        const second = await next(bench, 'a2');
        await bench.pass(1000);
        assert.equal(await states(bench), 'blb');
        await bench.ack(held(second));
        assert.equal(await run(bench), 'a3 a1');
      },
    );

    rule('so it is with one that its worker puts off', async (bench) => {
      await put(bench, 'a1 a2 a3');
      await bench.release(held(await next(bench, 'a1')), { delayMs: 1000 });
      const second = await next(bench, 'a2');
      await bench.pass(1000);
      await bench.ack(held(second));
      assert.equal(await run(bench), 'a3 a1');
    });

    rule('a released task keeps its place at the head of its group, and its turn', async (bench) => {
      for (const ordering of ['strict', 'relaxed'] as const) {
        await configure(bench, { ordering });
        await put(bench, 'a1 a2 b1');
        const outcome = await bench.release(held(await next(bench, 'a1')));
        assert.equal(outcome.outcome === 'settled' && outcome.state, 'ready');
        assert.equal(await run(bench), 'a1 b1 a2', ordering);
      }
    });

    rule('a lease that runs out brings its task back to the head of its group, first of all', async (bench) => {
      for (const ordering of ['strict', 'relaxed'] as const) {
        await configure(bench, { ordering });
        await put(bench, 'a1 a2 b1');
        await next(bench, 'a1', 100);
        await bench.pass(100);
        assert.equal(await run(bench), 'a1 b1 a2', ordering);
      }
    });

    rule('whatever ends the head, the next one is ready in the same step', async (bench) => {
      const ends: Record<string, (grant: Grant) => Promise<unknown>> = {
        ack: (grant) => bench.ack(held(grant)),
        dead: (grant) => bench.nack(held(grant), { retryable: false }),
        cancelled: ({ task }) => bench.cancel(task.id, { force: true }),
        deleted: () => bench.store.purge('q', 'leased', 10),
      };
      await put(bench, 'a1 a2 a3 a4 a5');
      for (const [end, bring] of Object.entries(ends)) {
        const [grant] = await bench.lease();
        assert.ok(grant, end);
        await bring(grant);
        assert.equal((await bench.queue()).counts.ready, 1, end);
      }
      await bench.cancel(await idOf(bench, 'a5'));
      assert.equal((await bench.queue()).counts.blocked, 0);
    });

    rule('a blocked task is cancelled, expired and deleted as any other that waits', async (bench) => {
      await put(bench, 'a1 a2 a3 a4');
      await put(bench, 'a5', { ttlMs: 100 });
      assert.equal((await bench.cancel(await idOf(bench, 'a2'))).outcome, 'cancelled');
      assert.equal((await bench.pass(100)).expired, 1);
      assert.equal(await states(bench), 'rxbbe');
      assert.deepEqual(await bench.store.purge('q', 'blocked', 10), { purged: 2 });
      assert.equal(await run(bench), 'a1');
    });

    rule('a head past its ttl gives its turn away in the same call', async (bench) => {
      await put(bench, 'a1', { ttlMs: 100 });
      await put(bench, 'a2 -1');
      await bench.advance(100);
      assert.equal((await take(bench, 5)).names, '-1 a2');
    });

    rule('with a cap above one as many run at once, still in turn', async (bench) => {
      await configure(bench, { maxConcurrency: 2 });
      await put(bench, 'a1 a2 a3 a4 b1 b2 b3');
      const { names, by } = await take(bench, 10);
      assert.equal(names, 'a1 b1 a2 b2');
      assert.equal(await states(bench), 'llbbllb');
      const grant = by.get('a2');
      assert.ok(grant);
      await bench.ack(held(grant));
      assert.equal((await take(bench, 10)).names, 'a3');
    });

    rule('with a cap above one a task that backs off takes one of the places under strict', async (bench) => {
      for (const [ordering, more] of [
        ['strict', ''],
        ['relaxed', 'a3'],
      ] as const) {
        await configure(bench, { maxConcurrency: 2, ordering });
        await put(bench, 'a1 a2 a3');
        const { by } = await take(bench, 10);
        const grant = by.get('a1');
        assert.ok(grant);
        await bench.nack(held(grant), { delayMs: 60_000 });
        assert.equal((await take(bench, 10)).names, more, ordering);
        for (const state of ['blocked', 'scheduled', 'leased'] as const) await bench.store.purge('q', state, 10);
      }
    });

    rule('what comes back goes before those of its group that are ready', async (bench) => {
      await configure(bench, { maxConcurrency: 3 });
      await put(bench, 'a1 a2 a3 a4');
      const first = await next(bench, 'a1');
      const second = await next(bench, 'a2');
      assert.equal(await states(bench), 'llrb');
      await bench.release(held(second));
      assert.equal(await states(bench), 'lrbb');
      await bench.release(held(first));
      assert.equal(await states(bench), 'rbbb');
      assert.equal((await take(bench, 10)).names, 'a1 a2 a3');
    });

    rule('a late heartbeat revives a lease only where its group has room', async (bench) => {
      await put(bench, 'a1 a2');
      const first = await next(bench, 'a1', 100);
      await bench.pass(100);
      const revived = await bench.heartbeat(held(first), { leaseMs: 100 });
      assert.equal(revived.outcome, 'settled');
      assert.equal(await states(bench), 'lb');
      await bench.pass(100);
      await configure(bench, { maxConcurrency: 2 });
      assert.equal((await take(bench)).names, 'a1');
      assert.deepEqual(await bench.heartbeat(held(first)), { outcome: 'refused', code: 'lease_lost' });
    });

    rule('a late heartbeat for one that others of its group have passed is refused', async (bench) => {
      await configure(bench, { maxConcurrency: 2 });
      await put(bench, 'a1 a2 a3');
      const first = await next(bench, 'a1', 100);
      await next(bench, 'a2');
      await configure(bench, { maxConcurrency: 1 });
      await bench.pass(100);
      assert.equal(await states(bench), 'blb');
      assert.deepEqual(await bench.heartbeat(held(first)), { outcome: 'refused', code: 'lease_lost' });
      const late = await bench.ack(held(first));
      assert.deepEqual([late.outcome === 'settled' && late.late, await states(bench)], [true, 'clb']);
    });

    rule('a redriven task goes to the back of its group', async (bench) => {
      await put(bench, 'a1 a2 a3');
      const { id } = (await next(bench, 'a1')).task;
      await bench.cancel(id, { force: true });
      assert.equal((await bench.redrive(id)).state, 'blocked');
      assert.equal(await run(bench), 'a2 a3 a1');
    });

    rule('a cap that is lowered takes no lease away, and holds for what is ready', async (bench) => {
      await configure(bench, { maxConcurrency: 3 });
      await put(bench, 'a1 a2 a3 a4');
      const { by } = await take(bench, 2);
      await configure(bench, { maxConcurrency: 1 });
      assert.equal((await take(bench, 5)).names, '');
      for (const [index, grant] of [...by.values()].entries()) {
        await bench.ack(held(grant));
        assert.equal((await take(bench, 5)).names, index === 0 ? '' : 'a3');
      }
    });

    rule('a cap that is raised, and an order that is relaxed, count with the next sweep', async (bench) => {
      await put(bench, 'a1 a2 a3 b1 b2');
      await take(bench, 5);
      await configure(bench, { maxConcurrency: 2 });
      const raised = await bench.sweep();
      assert.deepEqual(raised.readied, ['q']);
      assert.equal((await take(bench, 5)).names, 'a2 b2');
      await configure(bench, { maxConcurrency: 1 });
      const grants = await bench.list({ state: 'leased' });
      assert.equal(grants.length, 4);
      await bench.store.purge('q', 'leased', 10);
      await bench.nack(held(await next(bench, 'a3')), { delayMs: 60_000 });
      await put(bench, 'a4');
      assert.equal((await take(bench, 5)).names, '');
      await configure(bench, { ordering: 'relaxed' });
      await bench.sweep();
      assert.equal((await take(bench, 5)).names, 'a4');
    });

    rule('the limits of the queue hold for its groups', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 2, maxBacklog: 5 }, 'merge');
      await put(bench, 'a1 a2 b1 b2 c1');
      assert.equal((await bench.enqueue([bench.task({ groupKey: 'd' })])).outcome, 'queue_full');
      const { names, by } = await take(bench, 10);
      assert.equal(names, 'a1 b1');
      const grant = by.get('a1');
      assert.ok(grant);
      await bench.ack(held(grant));
      assert.equal((await take(bench, 10)).names, 'c1');
    });

    rule('group keys are told apart by queue and by every character', async (bench) => {
      const keys = ['k', 'K', 'k ', 'ключ', '😀', 'a|b', 'x'.repeat(255)];
      await bench.putAll(keys.flatMap((groupKey) => [{ groupKey }, { groupKey }]));
      await bench.put({ groupKey: 'k' }, 'p');
      assert.equal((await bench.lease({ max: 100 })).length, keys.length);
      assert.equal((await bench.lease({ max: 100 }, 'p')).length, 1);
    });

    rule('groups are as they were after the store is opened again', async (bench) => {
      await put(bench, 'a1 a2 a3 b1');
      const first = await next(bench, 'a1');
      await bench.reopen();
      assert.equal(await states(bench), 'lbbr');
      await bench.ack(held(first));
      assert.equal(await run(bench), 'b1 a2 a3');
    });

    rule('a replay and a task that holds a unique key are shown with their group', async (bench) => {
      const task = bench.task({ groupKey: 'g', idempotency: { key: 'k', fingerprint: 'f' } });
      const [first] = await bench.putAll([task]);
      const again = await bench.enqueue([bench.task({ groupKey: 'g', idempotency: { key: 'k', fingerprint: 'f' } })]);
      assert.deepEqual(again.outcome === 'stored' && again.tasks[0]?.task, first);
    });

    rule('each group completes in order, whatever fails in between', async (bench) => {
      const names = Array.from({ length: 12 }, (_, index) => `abcdefgh`.split('').map((group) => `${group}${index}`));
      await put(bench, names.flat().join(' '), { maxAttempts: 100 });
      const done = new Map<string, number[]>();
      for (let step = 0; step < 2000 && (await bench.queue()).counts.completed < 96; step++) {
        const grants = await bench.lease({ max: 1 + (step % 5), leaseMs: 100 });
        for (const [index, grant] of grants.entries()) {
          const name = nameOf(grant);
          switch ((step * 7 + index * 3) % 5) {
            case 0:
              await bench.nack(held(grant), { delayMs: 50 * (step % 3) });
              break;
            case 1:
              await bench.release(held(grant));
              break;
            case 2:
              break;
            default:
              await bench.ack(held(grant));
              done.set(name.slice(0, 1), [...(done.get(name.slice(0, 1)) ?? []), Number(name.slice(1))]);
          }
        }
        await bench.pass(step % 2 === 0 ? 50 : 100);
      }
      for (const [group, order] of done) {
        assert.deepEqual(
          order,
          names.map((_, index) => index),
          group,
        );
      }
      assert.equal(done.size, 8);
    });
  },
};
