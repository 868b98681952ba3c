import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScriptedHistory } from './checker/scripted-history.ts';
import { judge } from './checker/verdict.ts';
import { faultResults, homeResults, summaryOf } from './results.ts';
import { scheduleOf } from './schedule.ts';
import { FAULTS } from './injector/all-faults.ts';

/** A post, a grant during a fault, a stall, a nack, and the grant that follows it. */
function round(stallMs: number) {
  const history = new ScriptedHistory();
  history.fault('redis-kill', 'inject');
  history.post('a');
  history.settle(history.grant('a', 1), 'nack', { state: 'ready', runAt: history.now });
  history.pass(stallMs);
  const second = history.grant('a', 2);
  history.fault('redis-kill', 'heal');
  history.settle(second, 'ack');
  history.found('a', { attempt: 2, deliveries: 2, result: 'a/2' });
  const verdict = judge(history.finish());
  assert.deepEqual(verdict.violations, []);
  return summaryOf({ home: 'redis', seed: 1, verdict, history: '', events: 0, seconds: 1 });
}

describe('the results of runs under faults', () => {
  it('add up the rounds of a home', () => {
    const [redis] = homeResults([round(100), round(200)]);
    assert.deepEqual(redis, { home: 'redis', rounds: 2, tasks: 2, faults: 2, calls: 10, unknown: 0, violations: 0 });
  });

  it('show each fault with its doses, its repeats and the longest stall', () => {
    const [kill, ...others] = faultResults([round(100), round(700)]);
    assert.deepEqual(others, []);
    assert.equal(kill?.fault, 'redis-kill');
    assert.deepEqual([kill.doses, kill.tasks, kill.repeats, kill.expiries], [2, 2, 2, 0]);
    assert.ok(kill.longestStallMs >= 700 && kill.longestStallMs < 800, String(kill.longestStallMs));
  });
});

describe('the schedule of a round', () => {
  const names = (seed: number): string[] => {
    return scheduleOf('redis', FAULTS, 2, seed).map(({ fault, dose }) => `${fault.name} ${dose}`);
  };

  it('holds every fault of the home as often as asked, and none of another home', () => {
    const own = FAULTS.filter(({ homes }) => homes.includes('redis'));
    assert.ok(own.length > 0 && own.length < FAULTS.length);
    assert.deepEqual(names(1).sort(), own.flatMap(({ name }) => [`${name} 1`, `${name} 2`]).sort());
  });

  it('is that of its seed', () => {
    assert.deepEqual(names(1), names(1));
    assert.notDeepEqual(names(1), names(2));
  });
});
