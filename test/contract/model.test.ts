import { modelHarness } from '../support/model-harness.ts';
import { storeContract } from './index.ts';

storeContract(modelHarness());
