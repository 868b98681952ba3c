import assert from 'node:assert/strict';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { Data } from '../../src/store/sqlite/data.ts';
import { Ends } from '../../src/store/sqlite/ends.ts';
import { migrate } from '../../src/store/sqlite/schema.ts';

/** A database that remembers what is prepared on it. */
class RecordingDatabase extends DatabaseSync {
  readonly prepared: string[] = [];

  override prepare(sql: string): StatementSync {
    this.prepared.push(sql);
    return super.prepare(sql);
  }
}

interface Plan {
  sql: string;
  /** In SQLite's words: https://www.sqlite.org/eqp.html */
  steps: string[];
}

/** Every statement that the store runs, and how SQLite goes about it. */
function plans(): Plan[] {
  const db = new RecordingDatabase(':memory:');
  migrate(db, 0);
  assert.ok(new Data(db, () => 0, new Ends()));
  const statements = [...db.prepared];
  return statements.map((sql) => ({
    sql,
    steps: db
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map(({ detail }) => String(detail)),
  }));
}

/** The plan of the one statement that matches. */
function planOf(pattern: RegExp): string {
  const found = plans().filter(({ sql }) => pattern.test(sql));
  assert.equal(found.length, 1, `${found.length} statements match ${pattern}`);
  return found[0]?.steps.join('\n') ?? '';
}

describe('queries of the SQLite store', () => {
  it('never go through a whole table or index, and never sort', () => {
    const all = plans();
    assert.ok(all.length > 30);
    for (const { sql, steps } of all) {
      for (const step of steps) {
        assert.doesNotMatch(step, /TEMP B-TREE|AUTOMATIC/, sql);
        if (!step.startsWith('SCAN') || step === 'SCAN counters') continue;
        // Along an index, and no further than the first entry.
        assert.match(step, /USING (COVERING )?INDEX/, sql);
        assert.match(sql, /LIMIT 1$/, sql);
      }
    }
  });

  it('find the head of a line in the index of the ready tasks', () => {
    assert.match(planOf(/payload.*INDEXED BY tasks_line/s), /^SEARCH tasks USING INDEX tasks_line \(queue_no=\?\)/);
  });

  it('find what is due in indexes of just the tasks that can be', () => {
    assert.match(planOf(/state = 'scheduled' AND run_at <= \?/), /^SEARCH tasks USING INDEX tasks_due \(run_at<\?\)$/);
    assert.match(
      planOf(/state = 'leased' AND deadline <= \?/),
      /^SEARCH tasks USING INDEX tasks_deadline \(deadline<\?\)$/,
    );
    assert.match(
      planOf(/expires_at <= \? ORDER BY expires_at, seq/),
      /^SEARCH tasks USING INDEX tasks_ttl \(expires_at/,
    );
    assert.match(planOf(/retain_at <= \?/), /^SEARCH queues USING COVERING INDEX queues_retention \(retain_at<\?\)$/);
  });

  it('list a queue by merging the order of its states, a state from the place of the cursor on', () => {
    for (const direction of ['ASC', 'DESC']) {
      const merged = planOf(new RegExp(`SELECT seq, 0.*UNION ALL.*seq ${direction}`, 's'));
      assert.match(merged, /^MERGE \(UNION ALL\)/);
      const range =
        /SEARCH tasks USING COVERING INDEX tasks_state \(queue_no=\? AND state=\? AND rowid>\? AND rowid<\?\)/;
      assert.match(merged, range);
      const finished = planOf(new RegExp(`\\(finished_at, seq\\) [<>] .*, seq ${direction}`, 's'));
      assert.match(finished, /^MERGE \(UNION ALL\)/);
      for (const index of ['tasks_finished', 'tasks_kept']) {
        const search = `SEARCH tasks USING (COVERING )?INDEX ${index} \\(queue_no=\\? AND state=\\? AND .*finished_at`;
        assert.match(finished, new RegExp(search));
      }
    }
  });

  it('find the next of the dead from the place that was reached to the last time that is meant', () => {
    const plan = planOf(/finished_at <= \?3 AND \(finished_at, seq\) > \(\?4, \?5\)/);
    assert.match(plan, /^MERGE \(UNION ALL\)/);
    const range = String.raw`queue_no=\? AND state=\? AND finished_at>\? AND finished_at<\?`;
    assert.match(plan, new RegExp(`SEARCH tasks USING INDEX tasks_finished \\(${range}\\)`));
    assert.match(plan, new RegExp(`SEARCH tasks USING INDEX tasks_kept \\(${range}\\)`));
  });

  it('bind no bare limit, which SQLite would plan anew each time', () => {
    for (const { sql } of plans()) assert.doesNotMatch(sql, /LIMIT \?\d*(?!\d| \+ 0)/, sql);
  });
});
