import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BACKLOG_STATES, DEFAULT_QUEUE_CONFIG } from '../../domain/queue.ts';
import { TERMINAL_STATES } from '../../domain/task.ts';
import { REPLACED_BY, UNIQUE_RELEASE } from '../../domain/unique.ts';
import { MIN_RETENTION_BY_COUNT_MS } from '../../domain/limits.ts';
import {
  CANCELLED_ERROR_CODE,
  LEASE_END_RULES,
  LEASE_EXPIRED_ERROR,
  MOVES,
  SETTLE_TABLE,
} from '../../domain/transitions.ts';
import { LEASES_LOOKED_AT } from '../../domain/flow.ts';
import { KEEPS_GROUP_PLACE } from '../../domain/groups.ts';
import {
  FULL_QUEUE_PAUSE_MS,
  OPERATION_KEPT_MS,
  OPERATION_STEP,
  OPERATION_STEP_BYTES,
  OPERATIONS_KEPT,
  OPERATIONS_RUNNING,
} from '../../domain/operation.ts';
import { FRONT_OF_LINE } from '../../domain/place.ts';
import { backoffText } from './backoff-text.ts';

const FOLDER = join(import.meta.dirname, 'lua');

/** Files of lua/includes and parts made of the domain's rules, each after what it needs. */
const INCLUDES = [
  'defaults',
  'settle-table',
  'lease-end-rules',
  'moves-table',
  'unique-rules',
  'operation-rules',
  'clock',
  'core',
  'queue',
  'retention',
  'body',
  'group-rules',
  'group',
  'task',
  'unique',
  'flow',
  'moves',
  'endings',
  'entry',
  'line',
  'grants',
  'request',
  'key',
  'delete',
  'backoff',
  'holders',
  'redrive',
  'jobs',
  'moving',
  'plans',
  'intake',
  'page',
  'census',
  'census-queue',
  'census-keys',
  'census-moves',
  'operation',
] as const;

const OPERATIONS = [
  'cancel',
  'cancel-operation',
  'census',
  'check',
  'close-receipt',
  'configure',
  'confirm',
  'count-dead',
  'create-operation',
  'decline',
  'disown',
  'drop-queue',
  'end-operation',
  'enqueue',
  'forget-operation',
  'get',
  'lease',
  'list-created',
  'list-finished',
  'lost-leases',
  'open-data',
  'operations',
  'purge',
  'queue-names',
  'queues',
  'recall',
  'receive',
  'redrive',
  'remove',
  'set-paused',
  'settle',
  'step-operation',
  'sweep',
  'take-receipt',
  'try-enqueue',
  'watch-queue',
] as const;
/** What can be called; `mend` is registered together with `census`. */
export type OperationName = (typeof OPERATIONS)[number] | 'mend';

/** The operations as Redis gets them: one library of functions. */
export interface Library {
  /** Names the version of the code, so that brokers of different versions can share a server. */
  name: string;
  source: string;
  /** By which name Redis knows an operation. */
  functionOf(operation: OperationName): string;
}

/** What all libraries of Lessor are called first. */
export const LIBRARY_PREFIX = 'lessor_';

/**
 * Puts the library together: files of lua/includes, the rules of the domain, and the operations.
 *
 * A library, because Redis compiles it once: a script that is sent by its digest makes all of its functions and tables anew
 * with every call, which costs more than what it does for a few tasks.
 * @param clock replaces the include that reads the clock; for tests that must not wait for time
 */
export function loadLibrary(clock?: string): Library {
  const parts = new Map(domainIncludes());
  if (clock !== undefined) parts.set('clock', clock);
  const includes = INCLUDES.map((name) => parts.get(name) ?? readLua('includes', `${name}.lua`));
  const operations = OPERATIONS.map((name) => `do\n${readLua(`${name}.lua`)}end`);
  const code = [...includes, ...operations].map((part) => part.trimEnd()).join('\n\n');
  const name = `${LIBRARY_PREFIX}${createHash('sha256').update(code).digest('hex').slice(0, 16)}`;
  return {
    name,
    source: `#!lua name=${name}\nlocal LIBRARY = '${name}'\n\n${code}\n`,
    functionOf: (operation) => `${name}_${operation.replaceAll('-', '_')}`,
  };
}

function readLua(...path: string[]): string {
  return readFileSync(join(FOLDER, ...path), 'utf8');
}

/** What `domain/` says, as Lua: the operations enforce these tables and have none of their own. */
function domainIncludes(): [string, string][] {
  const { leaseMs, maxAttempts, backoff, groups, retention } = DEFAULT_QUEUE_CONFIG;
  const define = (constants: Record<string, unknown>): string =>
    Object.entries(constants)
      .map(([name, value]) => `local ${name} = ${lua(value)}`)
      .join('\n');
  return [
    [
      'defaults',
      define({
        DEFAULTS: {
          ...{ leaseMs, maxAttempts, backoff: backoffText(backoff) },
          ...{ groupMax: groups.maxConcurrency, groupOrder: groups.ordering },
          ...retention,
        },
        FRONT: FRONT_OF_LINE,
        LEASES_LOOKED_AT,
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
    [
      'unique-rules',
      define({
        // "end" is a word of Lua's own.
        UNIQUE_RELEASE: Object.fromEntries(
          Object.entries(UNIQUE_RELEASE).map(([until, { start, end }]) => [until, { start, finish: end }]),
        ),
        TERMINAL: Object.fromEntries(TERMINAL_STATES.map((state) => [state, true])),
        BACKLOG_STATES,
        REPLACED_BY,
      }),
    ],
    [
      'operation-rules',
      define({
        OPERATION: {
          keptMs: OPERATION_KEPT_MS,
          kept: OPERATIONS_KEPT,
          running: OPERATIONS_RUNNING,
          step: OPERATION_STEP,
          bytes: OPERATION_STEP_BYTES,
          fullPauseMs: FULL_QUEUE_PAUSE_MS,
        },
      }),
    ],
    ['group-rules', define({ KEEPS_GROUP_PLACE })],
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
