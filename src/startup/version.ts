import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version in Lessor's own package.json, whether this runs from `src/` or compiled from `dist/src/`. */
export function readVersion(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error('package.json of lessor was not found above its source files');
    directory = parent;
  }
  const manifest: unknown = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  if (manifest === null || typeof manifest !== 'object' || !('version' in manifest)) {
    throw new Error('package.json of lessor has no version');
  }
  return String(manifest.version);
}
