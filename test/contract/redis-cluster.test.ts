import { clusterHarness } from '../support/redis-harness.ts';
import { storeContract } from './index.ts';

storeContract(clusterHarness());
