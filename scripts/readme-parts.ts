/**
 * The parts of the README that are written from something else: the smallest workers, the table of settings, the
 * table of figures.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readResults, WHOLE_RUN } from '../bench/results.ts';
import { withTable } from '../bench/table.ts';
import { settingRows } from '../src/startup/settings.ts';
import { ROOT } from './tools.ts';

export const README = join(ROOT, 'README.md');

/** The README with these parts as they should be. */
export function withParts(readme: string): string {
  const results = readResults(WHOLE_RUN);
  return (results === null ? readme : withTable(readme, results))
    .replace(
      /(<!-- file: (\S+) -->\n```\w+\n)[\s\S]*?(```\n)/g,
      (_part, head: string, file: string, tail: string) => head + readFileSync(join(ROOT, file), 'utf8') + tail,
    )
    .replace(
      /(<!-- settings:begin -->\n)[\s\S]*?(<!-- settings:end -->)/,
      (_part, head: string, tail: string) => `${head}${settingsTable()}${tail}`,
    );
}

function settingsTable(): string {
  const rows = settingRows().map(
    (row) =>
      `| \`${row.variable}\` | ${row.defaultNote ?? `\`${row.default}\``} | ${row.help.replaceAll('|', '\\|')} |`,
  );
  return `${['| variable | default | meaning |', '| --- | --- | --- |', ...rows].join('\n')}\n`;
}
