import { redisHarness } from '../support/redis-harness.ts';
import { storeContract } from './index.ts';

storeContract(redisHarness({ appendonly: true, limited: true }));
