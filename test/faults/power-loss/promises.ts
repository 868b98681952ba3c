import type { DiskEvent } from '../disk/recording.ts';

/** How far a task has come. A later step is never undone, so the furthest one that was answered has to be found. */
const STEPS = ['stored', 'leased', 'ended', 'deleted'] as const;
type Step = (typeof STEPS)[number];

/** What a 2xx to one call says of one task. */
export interface Promised {
  task: string;
  step: Step;
  /** The state it has ended in, where it has. */
  state: string | null;
}

/** All that a load was answered while nothing had failed yet. */
export interface Account {
  /** By the request id of the call. */
  calls: Map<string, readonly Promised[]>;
  /** What each task was posted with, by task id. */
  payloads: Map<string, string>;
}

/** A task as it was found after a power cut. */
export interface FoundTask {
  state: string;
  payload: string;
}

interface Loss {
  /** Tasks of which something that was answered is gone. */
  tasks: number;
  /** How long before the cut the earliest of the lost answers was given. */
  windowMs: number;
  /** One line for each of the first few. */
  accounts: readonly string[];
}

export interface Verdict {
  answered: number;
  loss: Loss;
  /** Tasks that nobody posted, which no power cut excuses. */
  phantoms: readonly string[];
  /** Tasks that hold something else than they were posted with, because parts of their writes are missing. */
  damaged: readonly { task: string; answered: boolean }[];
}

const SHOWN = 5;
const REPLY = /^HTTP\/1\.1 (\d{3})[^]*?\r\nx-request-id: (\S+)\r\n/i;

/** Judges what was found after the power went at the end of `events` by what had been answered until then. */
export function judge(events: readonly DiskEvent[], account: Account, found: ReadonlyMap<string, FoundTask>): Verdict {
  const cutAt = events.at(-1)?.at ?? 0n;
  const stories = storiesOf(account);
  const furthest = new Map<string, Promised & { at: bigint }>();
  let answered = 0;
  for (const event of events) {
    if (event.kind !== 'reply') continue;
    const [, status, requestId] = REPLY.exec(event.head) ?? [];
    const promises = status?.startsWith('2') ? account.calls.get(requestId ?? '') : undefined;
    if (promises === undefined) continue;
    answered++;
    for (const promised of promises) {
      const known = furthest.get(promised.task);
      if (known === undefined || STEPS.indexOf(promised.step) > STEPS.indexOf(known.step)) {
        furthest.set(promised.task, { ...promised, at: event.at });
      }
    }
  }

  const accounts: string[] = [];
  let tasks = 0;
  let earliest = cutAt;
  for (const promised of furthest.values()) {
    const is = found.get(promised.task);
    if (isKept(promised, stories.get(promised.task) ?? [], is)) continue;
    tasks++;
    if (promised.at < earliest) earliest = promised.at;
    if (accounts.length < SHOWN) {
      const ms = Number(cutAt - promised.at) / 1e6;
      accounts.push(
        `${promised.task} was answered ${promised.state ?? promised.step} ${ms.toFixed(1)} ms before the cut, and is ${is?.state ?? 'not there'}`,
      );
    }
  }

  const phantoms: string[] = [];
  const damaged: { task: string; answered: boolean }[] = [];
  for (const [task, { payload }] of found) {
    const posted = account.payloads.get(task);
    if (posted === undefined) phantoms.push(task);
    else if (posted !== payload) damaged.push({ task, answered: furthest.has(task) });
  }
  return { answered, loss: { tasks, windowMs: Number(cutAt - earliest) / 1e6, accounts }, phantoms, damaged };
}

/** Whether a task is at least as far as was answered, and no further than its last call, which may not have been answered yet. */
function isKept(promised: Promised, story: readonly Promised[], found: FoundTask | undefined): boolean {
  const reached = STEPS.indexOf(promised.step);
  return story.some((next) => {
    const step = STEPS.indexOf(next.step);
    return (step === reached || step === reached + 1) && isAt(next, found);
  });
}

function isAt({ step, state }: Promised, found: FoundTask | undefined): boolean {
  switch (step) {
    case 'stored':
      return found?.state === 'ready';
    case 'leased':
      return found?.state === 'leased';
    case 'ended':
      return found?.state === state;
    case 'deleted':
      return found === undefined;
  }
}

function storiesOf(account: Account): Map<string, Promised[]> {
  const stories = new Map<string, Promised[]>();
  for (const promises of account.calls.values()) {
    for (const promised of promises) {
      const story = stories.get(promised.task);
      if (story === undefined) stories.set(promised.task, [promised]);
      else story.push(promised);
    }
  }
  return stories;
}
