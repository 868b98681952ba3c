/** npm run readme: writes the generated parts of the README and of docs/reliability.md anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import { readResults, WHOLE_RUN } from '../test/faults/results.ts';
import { RELIABILITY, withFaults } from '../test/faults/table.ts';
import { README, withParts } from './readme-parts.ts';

writeFileSync(README, withParts(readFileSync(README, 'utf8')));
writeFileSync(RELIABILITY, withFaults(readFileSync(RELIABILITY, 'utf8'), readResults(WHOLE_RUN)));
