import { sqliteHarness } from '../support/sqlite-harness.ts';
import { storeContract } from './index.ts';

storeContract(sqliteHarness());
