import { sentinelHarness } from '../support/redis-harness.ts';
import { storeContract } from './index.ts';

storeContract(sentinelHarness());
