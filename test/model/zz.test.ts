import { modelHarness } from '../support/model-harness.ts';
import { modelTest } from './model-test.ts';
modelTest(modelHarness());
