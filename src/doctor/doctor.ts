import { openCensus, type StoreConfig } from '../store/open-store.ts';
import { Examination } from './examination.ts';

export interface DoctorOptions {
  mend: boolean;
  json: boolean;
}

/** What `lessor doctor` says in the end. */
export interface Diagnosis {
  report: string;
  /** 0: sound. 2: something was found, mended or not. 3: nothing was found, and not everything was looked at. */
  exitCode: 0 | 2 | 3;
}

export const DOCTOR_HELP = `Usage: lessor doctor [--mend] [--json] [--name value]…

Looks at everything a store holds and says what is not as it must be: tasks in no structure or in two, counters that
have drifted, what is left behind by what is gone. The settings are those of the broker (lessor --help).

  --mend   mends what is safe to mend and says what it did; nothing is changed without it
  --json   the report as JSON

On Redis, brokers may run meanwhile: it looks in small steps and rests between them. A SQLite file must be free: stop the
broker, or look at a copy (lessor backup --to copy.db; lessor doctor --store sqlite:copy.db).

Exit codes: 0 sound; 1 could not look (one line on stderr); 2 found something, mended or not; 3 found nothing, but could
not look at everything: too much for one look, or too busy (the report says what).
`;

/**
 * Looks at a store once.
 * @throws StoreRefusal, StoreError when it cannot
 */
export async function examine(config: StoreConfig, { mend, json }: DoctorOptions): Promise<Diagnosis> {
  const began = performance.now();
  const census = await openCensus(config);
  try {
    const examination = new Examination(census.location, mend);
    const totals = await census.take({ mend, found: (finding) => examination.add(finding) });
    const ms = performance.now() - began;
    const report = json ? examination.json(totals, ms) : examination.text(totals, ms);
    return { report, exitCode: examination.exitCode(totals) };
  } finally {
    await census.close();
  }
}
