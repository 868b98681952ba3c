/** Writes the Lua library as Redis gets it to test/meta/lua, where a change to a rule or an include shows as a diff. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadLibrary } from '../src/store/redis/library.ts';

const folder = join(import.meta.dirname, '../test/meta/lua');
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'library.lua'), loadLibrary().source);
