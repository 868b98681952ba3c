/** Writes the Lua scripts as Redis gets them to test/meta/lua, where a change to a rule or an include shows as a diff. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadScripts } from '../src/store/redis/scripts.ts';

const folder = join(import.meta.dirname, '../test/meta/lua');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const [name, { source }] of Object.entries(loadScripts())) writeFileSync(join(folder, `${name}.lua`), source);
