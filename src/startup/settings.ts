/** One setting as people read it: in `--help`, in the README and in refusals. */
export interface Setting {
  /** Lowest of all sources, as it would be written in the environment; null when there is none. */
  default: string | null;
  /** What to say of the default where the bare value says too little. */
  defaultNote?: string;
  /** Placeholder of the value in `--help`. */
  value: string;
  help: string;
  /** A secret may be part of it: the value is never echoed. */
  secret?: true;
}

/** Every setting there is. `lessor.json` uses these names; flags and variables are derived from them. */
export const SETTINGS = {
  host: { default: '127.0.0.1', value: 'ADDRESS', help: 'Address to listen on; "localhost" is 127.0.0.1.' },
  port: { default: '7420', value: 'PORT', help: 'Port to listen on; 0 takes a free one.' },
  store: {
    default: 'sqlite:./data/lessor.db',
    value: 'URL',
    help: 'sqlite:PATH, redis://[USER:PASSWORD@]HOST[/DB], redis+sentinel://HOST,…/PRIMARY or redis+cluster://HOST,…',
    secret: true,
  },
  durability: {
    default: null,
    defaultNote: 'full for sqlite, default for Redis',
    value: 'LEVEL',
    help: 'sqlite: full (survives a power cut), normal (a crash). Redis: default (as it is set), replicated:N (N replicas).',
  },
  redisCaFile: {
    default: null,
    defaultNote: 'the authorities that Node.js trusts',
    value: 'FILE',
    help: 'Redis over TLS: certificates, in PEM form, of the authorities that are trusted instead.',
  },
  redisCertFile: {
    default: null,
    defaultNote: 'none',
    value: 'FILE',
    help: 'Redis over TLS: certificate, in PEM form, by which the broker proves who it is.',
  },
  redisKeyFile: {
    default: null,
    defaultNote: 'none',
    value: 'FILE',
    help: 'Redis over TLS: private key of that certificate, in PEM form and not encrypted.',
  },
  sentinelUser: {
    default: null,
    defaultNote: 'the default user',
    value: 'NAME',
    help: 'Redis Sentinel: user at the Sentinels; the one in the URL is for the servers with the data.',
  },
  sentinelPassword: {
    default: null,
    defaultNote: 'none',
    value: 'PASSWORD',
    help: 'Redis Sentinel: password at the Sentinels, where they want one of their own.',
    secret: true,
  },
  prefix: { default: 'lessor', value: 'NAME', help: 'Redis: first part of every key.' },
  shards: { default: '64', value: 'N', help: 'Redis: number of shards, fixed when the data is first made.' },
  keysFile: {
    default: null,
    defaultNote: 'none',
    value: 'FILE',
    help: 'API keys. This version does not check them yet and refuses to start with this setting.',
  },
  logLevel: { default: 'info', value: 'LEVEL', help: 'fatal, error, warn, info, debug, trace or silent.' },
  maxWaiters: { default: '20000', value: 'N', help: 'Long-polls held at once; more are answered 429.' },
  shutdownMs: {
    default: '15000',
    value: 'MS',
    help: 'Longest time a shutdown may take before the process stops hard.',
  },
  insecure: {
    default: 'false',
    value: 'true|false',
    help: 'Listen on an address that other machines can reach although no API keys are checked.',
  },
} as const satisfies Record<string, Setting>;

export type SettingKey = keyof typeof SETTINGS;

export const SETTING_KEYS = Object.keys(SETTINGS) as SettingKey[];

/** All that `--help` and the README's table show of a setting. */
export interface SettingRow extends Setting {
  key: SettingKey;
  /** As in `LESSOR_MAX_WAITERS`. */
  variable: string;
  /** As in `--max-waiters`. */
  flag: string;
}

export function variableOf(key: SettingKey): string {
  return `LESSOR_${words(key).join('_').toUpperCase()}`;
}

export function flagOf(key: SettingKey): string {
  return `--${words(key).join('-')}`;
}

/** The table of settings, in the order in which they are documented. */
export function settingRows(): SettingRow[] {
  return SETTING_KEYS.map((key) => ({ ...SETTINGS[key], key, variable: variableOf(key), flag: flagOf(key) }));
}

/** What `--help` prints. */
export function helpText(version: string): string {
  const rows = settingRows().map(
    ({ flag, value, variable, help, default: fallback, defaultNote }) =>
      `  ${flag} ${value}\n      ${variable}, default: ${defaultNote ?? fallback}\n      ${help}\n`,
  );
  return `Lessor ${version}, a task broker that speaks plain HTTP.

Usage: lessor [--name value | --name=value]…
       lessor doctor [--mend] [--json]   looks at what a store holds, and mends it (lessor doctor --help)
       lessor backup --to FILE           copies the SQLite file of a broker that runs (lessor backup --help)

Settings, each as a flag or as a variable:

${rows.join('')}
  --config FILE
      LESSOR_CONFIG, default: lessor.json in the working directory, if there is one
      A JSON object of settings, such as {"port": 7420, "maxWaiters": 1000}.
  --help, --version

Flags win over variables, variables over the file, the file over the defaults.
LESSOR_<NAME>_FILE reads the value of LESSOR_<NAME> from a file, for secrets.

SIGTERM and SIGINT drain: replies under way are finished, then the process ends. A second signal stops at once.
Exit codes: 0 stopped as asked; 1 refused to start (one line per reason on stderr), failed, or stopped hard.
`;
}

/** `maxWaiters` → `max`, `waiters`. */
function words(key: SettingKey): string[] {
  return key.split(/(?=[A-Z])/).map((word) => word.toLowerCase());
}
