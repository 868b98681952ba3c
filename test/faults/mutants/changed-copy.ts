import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Edit } from './mutant.ts';

/** What a broker is run from. */
const PARTS = ['src', 'routes', 'package.json'];

/**
 * Copies the source to a folder of its own and changes it there.
 * @throws Error when what is to be changed does not stand there exactly once: a bug that is not built in proves nothing
 */
export function changedCopy(source: string, edits: readonly Edit[]): { code: string; remove: () => void } {
  const code = mkdtempSync(join(tmpdir(), 'lessor-mutant-'));
  const remove = (): void => rmSync(code, { recursive: true, force: true });
  try {
    for (const part of PARTS) cpSync(join(source, part), join(code, part), { recursive: true });
    symlinkSync(join(source, 'node_modules'), join(code, 'node_modules'));
    for (const { file, find, replace } of edits) {
      const path = join(code, file);
      const text = readFileSync(path, 'utf8');
      const places = text.split(find).length - 1;
      if (places !== 1) {
        throw new Error(
          `${file} holds ${places} times, not once, what a mutant is to change; write the mutant anew:\n${find}`,
        );
      }
      writeFileSync(
        path,
        text.replace(find, () => replace),
      );
    }
    return { code, remove };
  } catch (error) {
    remove();
    throw error;
  }
}
