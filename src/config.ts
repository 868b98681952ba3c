import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import { type AskedDurability, durabilityFault, parseDurability } from './startup/durability.ts';
import { readTlsFiles, TLS_FILE_KEYS, type TlsFiles, tlsFaults } from './startup/redis-tls.ts';
import { sentinelCredentials, sentinelFaults } from './startup/sentinel-credentials.ts';
import { type Given, type ReadFile, readConfigFile, readEnvironment, readFlags } from './startup/sources.ts';
import { SETTING_KEYS, SETTINGS, type SettingKey, variableOf } from './startup/settings.ts';
import { parseStoreUrl, type StoreLocation } from './startup/store-url.ts';
import type { StoreConfig } from './store/open-store.ts';
import { MAX_SHARDS } from './store/task-ids.ts';

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

const NO_DURABILITY =
  'is not a durability: use full or normal (sqlite), or default or replicated:N (Redis), N being 1–99 replicas';

/** What the process runs with: complete, checked, and consistent. */
export interface Config {
  /** An IP address or a host name, never "localhost". */
  host: string;
  /** 0: any free port. */
  port: number;
  store: StoreConfig;
  logLevel: (typeof LOG_LEVELS)[number];
  maxWaiters: number;
  shutdownMs: number;
  insecure: boolean;
}

export type LoadedConfig =
  | { outcome: 'loaded'; config: Config }
  /** All faults, one line each; none repeats a secret. */
  | { outcome: 'refused'; errors: readonly string[] }
  | { outcome: 'help' }
  | { outcome: 'version' };

export interface ConfigInput {
  /** Without the program and the script. */
  argv: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  readFile: ReadFile;
}

/** Messages are predicates that follow the value: `LESSOR_PORT: "x" is not …`. */
const SCHEMA = z
  .strictObject({
    host: z
      .string('is not an address')
      .refine(isHost, 'is not an IP address or a host name (no port, no brackets)')
      .transform((host) => (host.toLowerCase() === 'localhost' ? '127.0.0.1' : host)),
    port: wholeNumber(0, 65_535),
    store: z.string('is not a store URL').transform((text, context): StoreLocation => {
      const location = parseStoreUrl(text);
      if (!('fault' in location)) return location;
      context.addIssue({ code: 'custom', message: location.fault });
      return z.NEVER;
    }),
    durability: z
      .string('is not a durability')
      .transform((text, context): AskedDurability => {
        const level = parseDurability(text);
        if (level !== null) return level;
        context.addIssue({ code: 'custom', message: NO_DURABILITY });
        return z.NEVER;
      })
      .optional(),
    redisCaFile: z.string('is not a file').optional(),
    redisCertFile: z.string('is not a file').optional(),
    redisKeyFile: z.string('is not a file').optional(),
    sentinelUser: z.string('is not a user').min(1, 'is empty').optional(),
    sentinelPassword: z.string('is not a password').min(1, 'is empty').optional(),
    prefix: z
      .string('is not a prefix')
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/,
        'is not a prefix: use 1–64 letters, digits and . _ : - after the first',
      ),
    shards: wholeNumber(1, MAX_SHARDS),
    keysFile: z.never('cannot be used: this version does not check API keys yet; remove the setting').optional(),
    logLevel: z.enum(LOG_LEVELS, `is not a log level: use ${LOG_LEVELS.join(', ')}`),
    maxWaiters: wholeNumber(1, 1_000_000),
    shutdownMs: wholeNumber(100, 600_000),
    insecure: z.union(
      [z.boolean(), z.enum(['true', 'false']).transform((word) => word === 'true')],
      'is not true or false',
    ),
  })
  .refine(({ host, insecure }) => insecure || isLoopback(host), {
    path: ['host'],
    when: sound('host', 'insecure'),
    message: `can be reached from other machines, and no API keys are checked: use 127.0.0.1, or set ${variableOf('insecure')}=true to serve whoever can connect`,
  })
  .superRefine(
    ({ store, durability }, context) => {
      const message = durabilityFault(store.driver, durability);
      if (message !== null) context.addIssue({ code: 'custom', path: ['durability'], message });
    },
    { when: sound('store', 'durability') },
  )
  .superRefine(
    (given, context) => {
      for (const [key, message] of tlsFaults(given.store, given)) {
        context.addIssue({ code: 'custom', path: [key], message });
      }
    },
    { when: sound('store', ...TLS_FILE_KEYS) },
  )
  .superRefine(
    (given, context) => {
      for (const [key, message] of sentinelFaults(given.store, given)) {
        context.addIssue({ code: 'custom', path: [key], message });
      }
    },
    { when: sound('store', 'sentinelUser', 'sentinelPassword') },
  )
  .transform(
    ({ store, durability, prefix, shards, keysFile: _never, ...rest }): { config: Config; files: TlsFiles } => {
      const { redisCaFile, redisCertFile, redisKeyFile, sentinelUser, sentinelPassword, ...others } = rest;
      const files = { redisCaFile, redisCertFile, redisKeyFile };
      if (store.driver === 'redis') {
        const level = durability === 'full' || durability === 'normal' ? undefined : durability;
        const sentinels = sentinelCredentials({ sentinelUser, sentinelPassword });
        const redis = { ...store, prefix, shards, durability: level ?? 'default', ...(sentinels && { sentinels }) };
        return { config: { ...others, store: redis }, files };
      }
      const level = durability === 'normal' ? 'normal' : 'full';
      return { config: { ...others, store: { ...store, durability: level } }, files };
    },
  );

/** Flags over variables over the file over the defaults. Pure but for `readFile`. */
export function loadConfig({ argv, env, readFile }: ConfigInput): LoadedConfig {
  const flags = readFlags(argv);
  if (flags.help) return { outcome: 'help' };
  if (flags.version) return { outcome: 'version' };
  const environment = readEnvironment(env, readFile);
  const path = flags.config ?? environment.config;
  const file = readConfigFile(path ?? 'lessor.json', path !== null, readFile);

  const given = new Map([...defaults(), ...file.given, ...environment.given, ...flags.given]);
  const values = Object.fromEntries([...given].map(([key, { value }]) => [key, value]));
  const parsed = SCHEMA.safeParse(values);
  const errors = [...flags.faults, ...environment.faults, ...file.faults];
  if (!parsed.success) errors.push(...faultLines(parsed.error.issues, given));
  if (errors.length > 0) return { outcome: 'refused', errors };
  if (!parsed.success) throw parsed.error;
  const { config, files } = parsed.data;
  const { store } = config;
  if (store.driver !== 'redis' || TLS_FILE_KEYS.every((key) => files[key] === undefined)) {
    return { outcome: 'loaded', config };
  }
  const read = readTlsFiles(files, readFile);
  if ('tls' in read) return { outcome: 'loaded', config: { ...config, store: { ...store, tls: read.tls } } };
  return { outcome: 'refused', errors: read.faults.map(([key, message]) => faultLine(key, message, given)) };
}

/** Whether only this machine can reach the address. */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  return family !== 0 && LOOPBACK.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

function defaults(): Map<SettingKey, Given> {
  const given = new Map<SettingKey, Given>();
  for (const key of SETTING_KEYS) {
    const value = SETTINGS[key].default;
    if (value !== null) given.set(key, { value, origin: variableOf(key), echo: true });
  }
  return given;
}

/** One line per setting that has a fault, the first of its faults. */
function faultLines(issues: readonly z.core.$ZodIssue[], given: ReadonlyMap<SettingKey, Given>): string[] {
  const lines = new Map<SettingKey, string>();
  for (const { path, message } of issues) {
    const key = SETTING_KEYS.find((candidate) => candidate === path[0]);
    if (key === undefined || !given.has(key) || lines.has(key)) continue;
    lines.set(key, faultLine(key, message, given));
  }
  return [...lines.values()];
}

function faultLine(key: SettingKey, message: string, given: ReadonlyMap<SettingKey, Given>): string {
  const { origin, value, echo } = given.get(key) ?? { origin: variableOf(key), value: null, echo: false };
  return `${origin}: ${echo ? JSON.stringify(value) : 'the value'} ${message}`;
}

function wholeNumber(least: number, most: number) {
  const message = `is not a whole number from ${least} to ${most}`;
  return z
    .union(
      [
        z.number(),
        z
          .string()
          .regex(/^\d{1,15}$/)
          .transform(Number),
      ],
      message,
    )
    .refine((value) => Number.isInteger(value) && value >= least && value <= most, message);
}

/** Lets a rule that spans settings run although others have faults, so that all faults are told at once. */
function sound(...keys: readonly SettingKey[]) {
  return ({ issues }: z.core.ParsePayload): boolean =>
    !issues.some((issue) => keys.some((key) => key === issue.path?.[0]));
}

function isHost(host: string): boolean {
  return isIP(host) !== 0 || (host.length <= 253 && /^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.|$))+$/.test(host));
}
