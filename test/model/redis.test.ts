import { redisHarness } from '../support/redis-harness.ts';
import { modelTest } from './model-test.ts';

modelTest(redisHarness(), 1000);
