/** npm run readme: writes the README's generated parts anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import { README, withParts } from './readme-parts.ts';

writeFileSync(README, withParts(readFileSync(README, 'utf8')));
