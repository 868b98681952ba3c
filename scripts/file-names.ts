import { globSync } from 'node:fs';
import { basename } from 'node:path';

const FORBIDDEN = /^(utils?|helpers?|common)(\.|$)/i;
const SOURCES = '{src,routes,test,scripts,bench,examples}/**/*';

/** The files and folders of the project below `root` that have a name under which anything can gather. */
export function forbiddenNames(root: string): string[] {
  return globSync(SOURCES, { cwd: root, exclude: (name) => basename(name) === 'node_modules' })
    .filter((name) => FORBIDDEN.test(basename(name)))
    .sort();
}
