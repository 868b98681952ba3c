import { sqliteHarness } from '../support/sqlite-harness.ts';
import { modelTest } from './model-test.ts';

// Without an fsync per step: what is compared is the same, and there are many steps.
modelTest(sqliteHarness({ durability: 'normal' }), 2000);
