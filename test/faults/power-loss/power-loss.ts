import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seeded } from '../../support/seeded.ts';
import { type Files, filesAfterPowerCut, type Survival } from '../disk/power-cut.ts';
import type { DiskEvent } from '../disk/recording.ts';
import { type Home, type Recording, writeFiles } from './home.ts';
import { Unanswered } from './load.ts';
import { judge, type Verdict } from './promises.ts';

interface PowerLossOptions {
  seed: number;
  /** How many loads are recorded, and how often the power is cut in each. */
  recordings: number;
  cuts: number;
  /** Posted in each load. */
  tasks: number;
  durationMs: number;
  say: (line: string) => void;
}

/** What the cuts of one home have come to. */
export interface PowerLossResult {
  home: string;
  keepsAll: boolean;
  cuts: number;
  tasks: number;
  /** 2xx that were given before a cut, over all cuts. */
  answered: number;
  /** Cuts after which something that was answered was gone. */
  cutsWithLoss: number;
  mostTasksLost: number;
  longestWindowMs: number;
  /** Cuts after which the append-only file had to be mended by the tool of Redis. */
  repaired: number;
  /** Tasks, of which nothing was promised yet, whose payload had a gap that nothing had noticed. */
  damaged: number;
  /** Whether the judge sees a disk that says that it has synced and has not. */
  liesSeen: boolean;
  /** Why it has not passed; empty when it has. */
  failures: readonly string[];
}

const SURVIVALS: readonly Survival[] = ['none', 'prefix', 'some'];
/** One cut in so many comes before anything was answered, while the store is being made. */
const EARLY_CUTS = 8;
const MOST_FAILURES = 20;
/** How often a recording is tried. */
const RECORDINGS = 3;

/** Records loads on a home and cuts the power at many points of each. */
export async function cutPower(home: Home, options: PowerLossOptions): Promise<PowerLossResult> {
  const { seed, recordings, cuts, tasks, durationMs, say } = options;
  const folder = mkdtempSync(join(tmpdir(), 'lessor-power-'));
  const failures: string[] = [];
  const verdicts: Verdict[] = [];
  let repaired = 0;
  let damagedTasks = 0;
  let liesSeen = false;
  try {
    for (let number = 0; number < recordings; number++) {
      const recordingFolder = join(folder, `recording-${number}`);
      const recording = await recordWhole(home, recordingFolder, () => {
        return { tasks, durationMs, random: seeded(seed + number) };
      });
      if (recording.compactions === 0) failures.push('the log was never moved to where it belongs, so no cut met that');
      const random = seeded(seed ^ (number + 1));
      for (let cut = 0; cut < cuts; cut++) {
        const at = cutPoint(recording, cut, random);
        const survival = SURVIVALS[cut % SURVIVALS.length] ?? 'none';
        const where = `seed ${seed}, recording ${number}, cut ${cut} (${survival}) after event ${at} of ${recording.events.length}`;
        const outcome = await tryCut(home, join(folder, 'revived'), recording, at, survival, random);
        if ('failure' in outcome) {
          failures.push(`${where}: ${outcome.failure}`);
          continue;
        }
        verdicts.push(outcome.verdict);
        if (outcome.repaired) repaired++;
        const { loss, phantoms, damaged } = outcome.verdict;
        const inexcusable = damaged.filter(({ answered }) => home.hasChecksums || (home.keepsAll && answered));
        damagedTasks += damaged.length - inexcusable.length;
        failures.push(...phantoms.map((task) => `${where}: ${task} was never posted`));
        failures.push(
          ...inexcusable.map(({ task }) => `${where}: ${task} holds another payload than it was posted with`),
        );
        if (home.keepsAll) failures.push(...loss.accounts.map((line) => `${where}: ${line}`));
      }
      // The same disk, which tells the truth no more once the first call is answered.
      const at = cutPoint(recording, 1, random);
      const lied = await tryCut(home, join(folder, 'revived'), lying(recording), at, 'none', random);
      if (!('failure' in lied) && lied.verdict.loss.tasks > 0) liesSeen = true;
      rmSync(recordingFolder, { recursive: true });
      say(`${home.name}: recording ${number + 1} of ${recordings}, ${recording.events.length} events, ${cuts} cuts`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  const losses = verdicts.map(({ loss }) => loss).filter((loss) => loss.tasks > 0);
  if (!liesSeen) failures.push('a disk that lies about its syncs went unnoticed, so that this run proves nothing');
  if (!home.keepsAll && losses.length === 0) failures.push('no loss was seen where one has to be');
  return {
    home: home.name,
    keepsAll: home.keepsAll,
    cuts: recordings * cuts,
    tasks: recordings * tasks,
    answered: verdicts.reduce((sum, verdict) => sum + verdict.answered, 0),
    cutsWithLoss: losses.length,
    mostTasksLost: Math.max(0, ...losses.map((loss) => loss.tasks)),
    longestWindowMs: Math.max(0, ...losses.map((loss) => loss.windowMs)),
    repaired,
    damaged: damagedTasks,
    liesSeen,
    failures: failures.slice(0, MOST_FAILURES),
  };
}

/** Makes a recording in which every call was answered. */
async function recordWhole(home: Home, folder: string, load: () => Parameters<Home['record']>[1]): Promise<Recording> {
  for (let tries = 1; ; tries++) {
    mkdirSync(folder);
    try {
      return await home.record(folder, load());
    } catch (error) {
      if (!(error instanceof Unanswered) || tries === RECORDINGS) throw error;
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

type Outcome = { verdict: Verdict; repaired: boolean } | { failure: string };

export async function tryCut(
  home: Home,
  folder: string,
  { events, account }: Recording,
  at: number,
  survival: Survival,
  random: () => number,
): Promise<Outcome> {
  const before = events.slice(0, at);
  const revive = async (files: Files): Promise<Outcome> => {
    rmSync(folder, { recursive: true, force: true });
    writeFiles(folder, files);
    try {
      const { found, repaired } = await home.revive(folder, survival === 'some');
      return { verdict: judge(before, account, found), repaired };
    } catch (error) {
      return { failure: error instanceof Error ? error.message : String(error) };
    }
  };
  const outcome = await revive(filesAfterPowerCut(before, survival, random));
  const unmade = !home.startsUnmade && before.every(({ kind }) => kind !== 'reply');
  // Nothing was promised yet, so that nothing is lost with what there is.
  return 'failure' in outcome && unmade ? revive(new Map()) : outcome;
}

/** How many events come before the cut. */
function cutPoint({ events }: Recording, cut: number, random: () => number): number {
  const first = events.findIndex(({ kind }) => kind === 'reply');
  const last = events.findLastIndex(({ kind }) => kind === 'reply');
  return cut % EARLY_CUTS === 0 ? Math.floor(random() * first) : first + 1 + Math.floor(random() * (last - first));
}

function lying({ events, ...rest }: Recording): Recording {
  const first = events.findIndex(({ kind }) => kind === 'reply');
  const truthful = (event: DiskEvent, no: number) => no < first || event.kind !== 'sync-end';
  return {
    ...rest,
    events: events.map((event, no) => (truthful(event, no) ? event : { ...event, kind: 'reply', head: '' })),
  };
}
