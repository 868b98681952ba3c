import { FAULTS, type CensusTotals, type Fault, type Finding } from '../store/census.ts';

/** Findings of one kind that are kept to be shown. */
const SHOWN = 100;
/** Findings that are remembered, so that one which is met twice counts once. */
const REMEMBERED = 100_000;

/** What a look has found, so far. */
export class Examination {
  readonly location: string;
  /** Whether it mends. */
  readonly mends: boolean;
  readonly #counts = new Map<Fault, { found: number; mended: number }>();
  readonly #shown: Finding[] = [];
  readonly #met = new Set<string>();

  constructor(location: string, mends: boolean) {
    this.location = location;
    this.mends = mends;
  }

  add(finding: Finding): void {
    const { fault, queue, subject, mended } = finding;
    const key = JSON.stringify([fault, queue, subject]);
    if (this.#met.has(key)) return;
    if (this.#met.size < REMEMBERED) this.#met.add(key);
    const count = this.#counts.get(fault) ?? { found: 0, mended: 0 };
    count.found += 1;
    if (mended) count.mended += 1;
    this.#counts.set(fault, count);
    if (count.found <= SHOWN) this.#shown.push(finding);
  }

  get found(): number {
    return [...this.#counts.values()].reduce((sum, { found }) => sum + found, 0);
  }

  get mended(): number {
    return [...this.#counts.values()].reduce((sum, { mended }) => sum + mended, 0);
  }

  /** What the doctor ends with: see DOCTOR_HELP. */
  exitCode({ unchecked }: CensusTotals): 0 | 2 | 3 {
    if (this.found > 0) return 2;
    return unchecked.length > 0 ? 3 : 0;
  }

  /** For people. */
  text({ queues, tasks, unchecked }: CensusTotals, ms: number): string {
    const lines = [`${this.location}: ${queues} queues, ${tasks} tasks, looked at in ${(ms / 1000).toFixed(1)} s`];
    for (const [fault, { found, mended }] of this.#counts) {
      const { title, mend } = FAULTS[fault];
      lines.push('', `${fault}, ${found}: ${title}`);
      for (const finding of this.#shown.filter((shown) => shown.fault === fault)) {
        const done = finding.mended && mend !== null ? `; ${mend}` : '';
        lines.push(`  ${finding.queue ?? '-'}  ${finding.subject}: ${finding.detail}${done}`);
      }
      if (found > SHOWN) lines.push(`  and ${found - SHOWN} more, ${mended} mended in all`);
    }
    if (unchecked.length > 0) lines.push('', 'not looked at:', ...unchecked.map((line) => `  ${line}`));
    lines.push('', this.#verdict(unchecked.length > 0));
    return `${lines.join('\n')}\n`;
  }

  #verdict(isPartial: boolean): string {
    const { found, mended } = this;
    if (found === 0 && isPartial) return 'Nothing wrong was found in what was looked at, which is not everything.';
    if (found === 0) return 'Sound: nothing is wrong.';
    if (mended === found) return `${found} found, all mended. Run it again to see that nothing is left.`;
    if (this.mends) return `${found} found, ${mended} mended. What is left is not safe to mend by itself.`;
    return `${found} found, nothing changed. --mend mends what is safe to mend.`;
  }

  /** For programs. `sound` says that everything was looked at, too. */
  json({ queues, tasks, unchecked }: CensusTotals, ms: number): string {
    const faults = Object.fromEntries([...this.#counts].map(([fault, { found }]) => [fault, found]));
    const { location, found, mended } = this;
    const counts = {
      location,
      sound: found === 0 && unchecked.length === 0,
      found,
      mended,
      queues,
      tasks,
      ms: Math.round(ms),
    };
    return `${JSON.stringify({ ...counts, faults, findings: this.#shown, unchecked }, null, 2)}\n`;
  }
}
