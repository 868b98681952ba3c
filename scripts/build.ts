/** npm run build: compiles src/ and routes/ to dist/, because Node strips no types below node_modules. */
import { chmodSync, cpSync, globSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, run } from './tools.ts';

const DIST = join(ROOT, 'dist');

rmSync(DIST, { recursive: true, force: true });
const compiled = run('tsc', ['-p', 'tsconfig.build.json']);
if (compiled.code !== 0) {
  console.error(compiled.output);
  process.exit(compiled.code);
}
// What is read at run time lies beside its reader, as it does in src/: Lua and SQL.
for (const name of globSync('{src,routes}/**/*', { cwd: ROOT })) {
  if (name.endsWith('.ts') || name.endsWith('.md') || statSync(join(ROOT, name)).isDirectory()) continue;
  cpSync(join(ROOT, name), join(DIST, name));
}
chmodSync(join(DIST, 'src/main.js'), 0o755);
