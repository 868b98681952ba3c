import type { Granted } from '../history/event.ts';
import type { Call, Ledger } from './ledger.ts';

const MAX_LINES = 200;

interface Line {
  at: number;
  text: string;
}

/** All that is known of one task, line by line in order of time, with the faults that were on meanwhile. */
export function storyOf(ledger: Ledger, id: string): string[] {
  const story = ledger.tasks.get(id);
  if (!story) return [`nothing is known of task ${id}`];
  const lines: Line[] = [];
  const say = (at: number, text: string): unknown => lines.push({ at, text });
  const mentions = (call: Call): void => {
    say(
      call.from,
      `${call.p} sends ${call.name}: ${asked(call, id, story.mark)}${call.again === null ? '' : ` (again, as ${call.again})`}`,
    );
    if (call.to < Number.POSITIVE_INFINITY) say(call.to, `${call.p} knows of ${call.name}: ${answered(call, id)}`);
    else say(call.from, `${call.p} died before it knew what became of ${call.name}`);
  };
  const calls = new Set<Call>([...(ledger.posts.get(story.mark)?.calls ?? []), ...story.stored]);
  for (const grant of story.grants) calls.add(grant.call);
  for (const { call } of story.settles) calls.add(call);
  for (const call of story.cancels) calls.add(call);
  for (const call of calls) mentions(call);
  for (const { grantedAt, fence, attempt, deadline } of story.grants) {
    say(grantedAt, `  the store grants it: fence ${fence}, attempt ${attempt}, until ${clock(deadline)}`);
  }
  const { found } = story;
  if (found !== null) {
    const { state, attempt, deliveries, result } = found;
    say(found.createdAt, '  the store makes it');
    say(
      found.finishedAt ?? Number.POSITIVE_INFINITY,
      `  in the end it is ${state}, attempt ${attempt}, ${deliveries} grants, result ${result ?? 'none'}`,
    );
  }
  const from = Math.min(...lines.map(({ at }) => at));
  const to = Math.max(...lines.map(({ at }) => at).filter(Number.isFinite));
  for (const fault of ledger.faults) {
    if (fault.from > to || fault.to < from) continue;
    say(fault.from, `  FAULT ${fault.fault} ${fault.dose}: ${fault.what}`);
    say(fault.to, `  healed ${fault.fault} ${fault.dose}`);
  }
  lines.sort((a, b) => a.at - b.at);
  const head = `Task ${id}, posted as ${story.mark || 'nobody knows what'}:`;
  return [
    head,
    ...lines.slice(0, MAX_LINES).map(({ at, text }) => `  ${Number.isFinite(at) ? clock(at) : '            '} ${text}`),
  ];
}

function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 23);
}

function asked({ request }: Call, id: string, mark: string): string {
  switch (request.op) {
    case 'enqueue': {
      const own = request.tasks.find((task) => task.mark === mark) ?? request.tasks[0];
      const { delayMs = 0, ttlMs = null, maxAttempts = 0, groupKey = null, unique = null, queue = '' } = own ?? {};
      return `post ${own?.mark} to ${queue} (delay ${delayMs}, ttl ${ttlMs}, ${maxAttempts} attempts, group ${groupKey}, unique ${unique}), ${request.tasks.length} in all`;
    }
    case 'lease':
      return `lease ${request.max} of ${request.queues.join(', ')} for ${request.leaseMs} ms, request id ${request.requestId}`;
    case 'settle': {
      const own = request.items.filter(({ task }) => task === id);
      const verbs = own.map(({ verb, token, retryable, delayMs }) => {
        return `${verb} with ${short(token)}${retryable === false ? ', for good' : ''}${delayMs === undefined ? '' : `, delay ${delayMs}`}`;
      });
      return [...verbs, ...(request.next === null ? [] : [`and lease ${request.next.max} more`])].join('; ');
    }
    case 'cancel':
      return `cancel${request.force ? ' by force' : ''}`;
  }
}

function answered(call: Call, id: string): string {
  if (call.outcome === 'unknown') return `unknown (${call.status ?? 'no reply'}, ${call.why})`;
  if (call.outcome === 'failed') return `refused with ${call.status} ${call.why}`;
  const { reply, request } = call;
  switch (reply?.op) {
    case 'enqueue':
      return `stored${reply.tasks.some(({ task, deduplicated }) => task === id && deduplicated) ? ', as the holder of a unique key' : ''}`;
    case 'lease':
      return granted(reply.grants, id);
    case 'settle': {
      const items = request.op === 'settle' ? request.items : [];
      const own = reply.results.filter((_, index) => items[index]?.task === id);
      const results = own.map(({ status, code, state, attempt, late, replayed }) => {
        return `${status} ${code ?? state} (attempt ${attempt}${late ? ', late' : ''}${replayed ? ', replayed' : ''})`;
      });
      return [...results, ...(reply.next.some(({ task }) => task === id) ? [granted(reply.next, id)] : [])].join('; ');
    }
    case 'cancel':
      return reply.state;
    case undefined:
      return 'nothing';
  }
}

function granted(grants: readonly Granted[], id: string): string {
  const own = grants.find(({ task }) => task === id);
  return own
    ? `granted with ${short(own.token)}, fence ${own.fence}, attempt ${own.attempt}, until ${clock(own.deadline)}`
    : 'not this task';
}

function short(token: string): string {
  return `token …${token.slice(-8)}`;
}
