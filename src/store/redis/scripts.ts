import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DEFAULT_QUEUE_CONFIG } from '../../domain/queue.ts';
import { MIN_RETENTION_BY_COUNT_MS } from '../../domain/limits.ts';
import {
  CANCELLED_ERROR_CODE,
  LEASE_END_RULES,
  LEASE_EXPIRED_ERROR,
  MOVES,
  SETTLE_TABLE,
} from '../../domain/transitions.ts';
import { FRONT_OF_LINE } from '../../domain/place.ts';
import { backoffText } from './backoff-text.ts';

const FOLDER = join(import.meta.dirname, 'lua');

const SCRIPT_NAMES = [
  'cancel',
  'check',
  'check-keys',
  'configure',
  'disown',
  'drop-queue',
  'enqueue',
  'get',
  'lease',
  'list-created',
  'list-finished',
  'lost-leases',
  'open-data',
  'purge',
  'queue-names',
  'queues',
  'recall',
  'redrive',
  'remove',
  'set-paused',
  'settle',
  'sweep',
  'watch-queue',
] as const;
export type ScriptName = (typeof SCRIPT_NAMES)[number];

export interface Script {
  source: string;
  sha1: string;
}

/**
 * The scripts as Redis gets them, with what they include: files of lua/includes, and the rules of the domain.
 * @param clock replaces the include that reads the clock; for tests that must not wait for time
 */
export function loadScripts(clock?: string): Record<ScriptName, Script> {
  const includes = new Map(domainIncludes());
  for (const file of readdirSync(join(FOLDER, 'includes'))) {
    includes.set(basename(file, '.lua'), readFileSync(join(FOLDER, 'includes', file), 'utf8'));
  }
  if (clock !== undefined) includes.set('clock', clock);
  const scripts = SCRIPT_NAMES.map((name): [ScriptName, Script] => {
    const source = expand(readFileSync(join(FOLDER, `${name}.lua`), 'utf8'), includes);
    return [name, { source, sha1: createHash('sha1').update(source).digest('hex') }];
  });
  return Object.fromEntries(scripts) as Record<ScriptName, Script>;
}

/** Puts the included files where a script says `-- @include`. */
function expand(source: string, includes: ReadonlyMap<string, string>): string {
  return source.replace(/^-- @include (.*)$/gm, (_line, names: string) =>
    names
      .split(' ')
      .map((name) => {
        const text = includes.get(name);
        if (text === undefined) throw new Error(`there is no Lua include "${name}"`);
        return text.trimEnd();
      })
      .join('\n'),
  );
}

/** What `domain/` says, as Lua: the scripts enforce these tables and have none of their own. */
function domainIncludes(): [string, string][] {
  const { leaseMs, maxAttempts, backoff, retention } = DEFAULT_QUEUE_CONFIG;
  const define = (constants: Record<string, unknown>): string =>
    Object.entries(constants)
      .map(([name, value]) => `local ${name} = ${lua(value)}`)
      .join('\n');
  return [
    [
      'defaults',
      define({
        DEFAULTS: { leaseMs, maxAttempts, backoff: backoffText(backoff), ...retention },
        FRONT: FRONT_OF_LINE,
        MIN_RETENTION_BY_COUNT_MS,
      }),
    ],
    ['settle-table', define({ SETTLE_TABLE })],
    [
      'lease-end-rules',
      define({
        LEASE_END_RULES,
        LEASE_EXPIRED_CODE: LEASE_EXPIRED_ERROR.code,
        LEASE_EXPIRED_MESSAGE: LEASE_EXPIRED_ERROR.message,
      }),
    ],
    ['moves-table', define({ MOVES, CANCELLED_ERROR_CODE })],
  ];
}

/** A plain value as a Lua literal. */
function lua(value: unknown): string {
  if (Array.isArray(value)) return `{ ${value.map(lua).join(', ')} }`;
  if (value !== null && typeof value === 'object') {
    return `{ ${Object.entries(value)
      .map(([key, item]) => `${key} = ${lua(item)}`)
      .join(', ')} }`;
  }
  return JSON.stringify(value);
}
