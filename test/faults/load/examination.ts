import { rmSync } from 'node:fs';
import { openCensus, type StoreConfig } from '../../../src/store/open-store.ts';
import type { Home } from '../homes/home.ts';

/** More than that say nothing new. */
const MAX_TOLD = 100;

/** What `lessor doctor` finds in the store of a home, and what it could not look at, one line each. */
export async function examine(home: Home, dir: string): Promise<string[]> {
  const config = await home.censusOf(dir);
  try {
    return await examineStore(config);
  } finally {
    // A copy; what is on Redis is looked at where it is.
    if (config.driver === 'sqlite') rmSync(config.path, { force: true });
  }
}

/** The same of any store. */
async function examineStore(config: StoreConfig): Promise<string[]> {
  const findings: string[] = [];
  const census = await openCensus(config);
  try {
    const { unchecked } = await census.take({
      mend: false,
      found({ fault, queue, subject, detail }) {
        if (findings.length < MAX_TOLD) findings.push(`${fault} ${queue ?? ''} ${subject}: ${detail}`);
      },
    });
    // At rest nothing changes under it.
    findings.push(...unchecked.map((line) => `not looked at: ${line}`));
  } finally {
    await census.close();
  }
  return findings;
}
