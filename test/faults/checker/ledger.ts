import type {
  Found,
  Granted,
  Logged,
  Posted,
  Promises,
  QueueCounts,
  Reply,
  Request,
  Settled,
  Stall,
  Verb,
} from '../history/event.ts';

/** One HTTP call: what was asked, when, and what became of it. */
export interface Call {
  name: string;
  p: string;
  /** The base URL that it went to. */
  via: string;
  again: string | null;
  request: Request;
  deadlineMs: number;
  /** When it was about to be sent. */
  from: number;
  /** When its outcome was known, or given up; infinity for a process that died meanwhile. */
  to: number;
  outcome: 'ok' | 'failed' | 'unknown';
  /** Of a good one. */
  reply: Reply | null;
  status: number | null;
  /** The problem's code, or why nothing is known. */
  why: string | null;
}

export interface Grant extends Granted {
  /** By the store's clock. */
  grantedAt: number;
  call: Call;
  /** Every call that was answered with it. */
  tellers: Call[];
}

/** One verb of one call. */
export interface Settle {
  verb: Verb;
  call: Call;
  /** Null where the outcome of the call is not known. */
  result: Settled | null;
}

/** All that is known of one task. */
export interface TaskStory {
  id: string;
  mark: string;
  /** Calls that answered with it, as new or as a replay. */
  stored: Call[];
  /** Each once, by fence. A lease that several replies told of is one grant, which knows of them all. */
  grants: Grant[];
  settles: Settle[];
  cancels: Call[];
  found: Found | null;
}

export interface Post {
  posted: Posted;
  calls: Call[];
  /** Ids that were answered for it, those of holders of its unique key left out. */
  ids: Set<string>;
}

/** What a broker said of itself. */
export interface Readiness {
  askedAt: number;
  /** When it answered, or it was given up. */
  at: number;
  ready: boolean;
}

export interface FaultWindow extends Promises {
  fault: string;
  dose: number;
  what: string;
  from: number;
  /** When it was healed. */
  to: number;
  /** When tasks can flow again at the latest: when it was healed, or the store could do everything before that. */
  mendedAt: number;
  /** Whom it befell where that is one: the name of a worker's process, or the base URL of a broker. */
  whom: string | null;
}

/** What repeated calls have in common: the first of them, or the request id, which they may have got from elsewhere. */
export function askedAs({ request, again, name }: Call): string {
  const requestId = request.op === 'lease' ? request.requestId : null;
  return requestId === null ? `call ${again ?? name}` : `request ${requestId}`;
}

/** A history, sorted by what it tells of. */
export interface Ledger {
  home: string;
  seed: number;
  calls: readonly Call[];
  tasks: ReadonlyMap<string, TaskStory>;
  posts: ReadonlyMap<string, Post>;
  faults: readonly FaultWindow[];
  stalls: readonly Stall[];
  /** Queues in which only so many leases run at once. */
  limits: ReadonlyMap<string, number>;
  counts: ReadonlyMap<string, QueueCounts>;
  left: readonly { what: string; names: readonly string[] }[];
  /** What the doctor found at rest; null when nobody asked it. */
  findings: readonly string[] | null;
  /** Tasks that the census met more than once. */
  metTwice: readonly string[];
  /** By the base URL of the broker, in order of time. */
  readiness: ReadonlyMap<string, readonly Readiness[]>;
  /** When everything had been worked off; null when it never was. */
  drainedAt: number | null;
  /** Times of replies that granted something, in order. */
  served: readonly number[];
}

/** Sorts a whole history. @throws Error when it answers a call that it does not hold */
export function toLedger(events: readonly Logged[]): Ledger {
  return new Bookkeeper().keep(events);
}

class Bookkeeper {
  readonly #calls = new Map<string, Call>();
  readonly #tasks = new Map<string, TaskStory>();
  readonly #posts = new Map<string, Post>();
  readonly #faults: FaultWindow[] = [];
  readonly #stalls: Stall[] = [];
  readonly #limits = new Map<string, number>();
  readonly #counts = new Map<string, QueueCounts>();
  readonly #left: { what: string; names: readonly string[] }[] = [];
  #findings: string[] | null = null;
  readonly #served: number[] = [];
  readonly #metTwice: string[] = [];
  readonly #readiness = new Map<string, Readiness[]>();
  #drainedAt: number | null = null;
  #home = '';
  #seed = 0;

  keep(events: readonly Logged[]): Ledger {
    for (const event of events) this.#note(event);
    for (const story of this.#tasks.values())
      story.grants.sort((a, b) => a.fence - b.fence || a.grantedAt - b.grantedAt);
    return {
      home: this.#home,
      seed: this.#seed,
      calls: [...this.#calls.values()],
      tasks: this.#tasks,
      posts: this.#posts,
      faults: this.#faults,
      stalls: this.#stalls,
      limits: this.#limits,
      counts: this.#counts,
      left: this.#left,
      findings: this.#findings,
      metTwice: this.#metTwice,
      readiness: this.#readiness,
      drainedAt: this.#drainedAt,
      served: this.#served.sort((a, b) => a - b),
    };
  }

  #note(event: Logged): void {
    switch (event.kind) {
      case 'begin':
        this.#home = event.home;
        this.#seed = event.seed;
        return;
      case 'call':
        return this.#begun(event);
      case 'ok': {
        const call = this.#ended(event.call, event.at, 'ok');
        call.reply = event;
        return this.#answered(call, event);
      }
      case 'failed': {
        const call = this.#ended(event.call, event.at, 'failed');
        call.status = event.status;
        call.why = event.code;
        return this.#refused(call);
      }
      case 'unknown': {
        const call = this.#ended(event.call, event.at, 'unknown');
        call.status = event.status;
        call.why = event.why;
        return;
      }
      case 'queue':
        if (event.maxConcurrency !== null) this.#limits.set(event.queue, event.maxConcurrency);
        return;
      case 'fault':
        return this.#faulted(event);
      case 'stall':
        this.#stalls.push(event);
        return;
      case 'readiness': {
        const known = this.#readiness.get(event.via);
        if (known) known.push(event);
        else this.#readiness.set(event.via, [event]);
        return;
      }
      case 'drained':
        this.#drainedAt = event.at;
        return;
      case 'found': {
        const story = this.#task(event.found.task, event.found.mark);
        if (story.found !== null) this.#metTwice.push(story.id);
        story.found = event.found;
        return;
      }
      case 'counts':
        this.#counts.set(event.queue, event.counts);
        return;
      case 'examined':
        this.#findings = [...(this.#findings ?? []), ...event.findings];
        return;
      case 'left':
        this.#left.push(event);
        return;
    }
  }

  #begun(event: Logged & { kind: 'call' }): void {
    const call: Call = {
      name: event.call,
      p: event.p,
      via: event.via,
      again: event.again,
      request: event,
      deadlineMs: event.deadlineMs,
      from: event.at,
      to: Number.POSITIVE_INFINITY,
      outcome: 'unknown',
      reply: null,
      status: null,
      why: null,
    };
    this.#calls.set(event.call, call);
    switch (event.op) {
      case 'enqueue':
        for (const posted of event.tasks) {
          const post = this.#posts.get(posted.mark);
          if (post) post.calls.push(call);
          else this.#posts.set(posted.mark, { posted, calls: [call], ids: new Set() });
        }
        return;
      case 'settle':
        for (const verb of event.items) this.#task(verb.task, '').settles.push({ verb, call, result: null });
        return;
      case 'cancel':
        this.#task(event.task, '').cancels.push(call);
        return;
      case 'lease':
        return;
    }
  }

  #ended(name: string, at: number, outcome: Call['outcome']): Call {
    const call = this.#calls.get(name);
    if (!call) throw new Error(`the history answers call ${name}, which it does not hold`);
    call.to = at;
    call.outcome = outcome;
    return call;
  }

  #answered(call: Call, reply: Reply): void {
    switch (reply.op) {
      case 'enqueue':
        for (const { mark, task, deduplicated } of reply.tasks) {
          const story = this.#task(task, deduplicated ? '' : mark);
          story.stored.push(call);
          if (!deduplicated) this.#posts.get(mark)?.ids.add(task);
        }
        return;
      case 'lease':
        return this.#granted(call, reply.grants);
      case 'settle':
        if (call.request.op !== 'settle') return;
        for (const [index, verb] of call.request.items.entries()) {
          const settle = this.#task(verb.task, '').settles.findLast(
            (known) => known.call === call && known.verb === verb,
          );
          if (settle) settle.result = knownOf(reply.results[index]);
        }
        return this.#granted(call, reply.next);
      case 'cancel':
        return;
    }
  }

  /** A refused verb is known to have done nothing. */
  #refused(call: Call): void {
    if (call.request.op !== 'settle') return;
    for (const verb of call.request.items) {
      const settle = this.#task(verb.task, '').settles.findLast((known) => known.call === call);
      const nothing = { state: null, attempt: null, late: false, replayed: false, deadline: null, runAt: null };
      if (settle) settle.result = { status: call.status ?? 0, code: call.why, ...nothing };
    }
  }

  #granted(call: Call, grants: readonly Granted[]): void {
    if (grants.length > 0) this.#served.push(call.to);
    for (const granted of grants) {
      const { grants: known } = this.#task(granted.task, granted.mark);
      const same = known.find(({ token, fence }) => token === granted.token && fence === granted.fence);
      const tellers = [...(same?.tellers ?? []), call];
      const grant = { ...granted, grantedAt: granted.deadline - granted.leaseMs, call, tellers };
      if (!same) known.push(grant);
      // Told of again by a repeated call, after a heartbeat perhaps: what counts is when it was made.
      else Object.assign(same, grant.grantedAt < same.grantedAt ? grant : { tellers });
    }
  }

  #faulted(event: Logged & { kind: 'fault' }): void {
    const { fault, dose, what, silences, flawless, onlyWorkers, at, phase } = event;
    if (phase === 'inject') {
      const [to, promises] = [
        Number.POSITIVE_INFINITY,
        { silences, flawless, ...(onlyWorkers ? { onlyWorkers } : {}) },
      ];
      this.#faults.push({ fault, dose, what, ...promises, from: at, to, mendedAt: to, whom: null });
      return;
    }
    const open = this.#faults.findLast((known) => known.fault === fault && known.dose === dose);
    if (!open) throw new Error(`the history heals ${fault} ${dose}, which it does not hold`);
    open.to = at;
    open.mendedAt = event.mendedAt ?? at;
    open.whom = event.whom ?? null;
  }

  #task(id: string, mark: string): TaskStory {
    const known = this.#tasks.get(id);
    if (known) {
      if (known.mark === '') known.mark = mark;
      return known;
    }
    const story: TaskStory = { id, mark, stored: [], grants: [], settles: [], cancels: [], found: null };
    this.#tasks.set(id, story);
    return story;
  }
}

/** What is known of one verb of a call that was answered: nothing where the answer is a 5xx. */
function knownOf(result: Settled | undefined): Settled | null {
  return result === undefined || result.status >= 500 ? null : result;
}
