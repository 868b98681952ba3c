import assert from 'node:assert/strict';
import type { Fault } from '../../src/store/census.ts';
import type { Workbench } from '../contract/workbench.ts';
import type { BrokenRedis } from './broken-redis.ts';

/** A way to break a store by hand. */
export interface Break {
  what: string;
  fault: Fault;
  /** Breaks it; answers what the finding must be about. */
  by: (broken: BrokenRedis, bench: Workbench) => Promise<string>;
  /** That it is a store again. */
  works?: (bench: Workbench, subject: string) => Promise<void>;
}

/** That everything which is ready can be leased, each once. */
export async function leasesAll(bench: Workbench, count: number): Promise<void> {
  const ids = await bench.drain();
  assert.deepEqual([ids.length, new Set(ids).size], [count, count]);
}

/** That a census finds it and changes nothing, that another one mends it, and that nothing is wrong after that. */
export async function findsAndMends(broken: BrokenRedis, { fault, by, works }: Break): Promise<void> {
  const subject = await by(broken, broken.bench);
  const stored = await broken.everything();
  const found = await broken.findings(false);
  assert.ok(
    found.some((finding) => finding.fault === fault && finding.subject === subject),
    JSON.stringify(found, null, 2),
  );
  assert.ok(found.every(({ mended }) => !mended));
  assert.deepEqual(await broken.everything(), stored, 'a look changes nothing');
  const mended = await broken.findings(true);
  assert.ok(mended.some((finding) => finding.fault === fault && finding.subject === subject && finding.mended));
  assert.deepEqual(await broken.findings(false), [], `after ${JSON.stringify(mended, null, 2)}`);
  assert.equal(await broken.redis.get('lessor:{0}:b:of-others'), 'what others keep');
  await works?.(broken.bench, subject);
  assert.deepEqual(await broken.findings(false), []);
}
