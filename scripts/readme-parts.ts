/** The parts of the README that are written from the code: the smallest workers, the table of settings. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { settingRows } from '../src/startup/settings.ts';
import { ROOT } from './tools.ts';

export const README = join(ROOT, 'README.md');

/** The README with these parts as they should be. */
export function withParts(readme: string): string {
  return readme
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
