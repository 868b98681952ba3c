import { nearest } from '../domain/nearest.ts';
import { flagOf, SETTING_KEYS, SETTINGS, type Setting, type SettingKey, variableOf } from './settings.ts';

/** A value as it was given, and by what, for refusals. */
export interface Given {
  value: unknown;
  /** "LESSOR_PORT", "--port", `lessor.json: "port"`. */
  origin: string;
  /** False when the value may hold a secret and must not be repeated. */
  echo: boolean;
}

/** What one source says. Faults are complete lines. */
export interface Source {
  given: Map<SettingKey, Given>;
  faults: string[];
}

export interface Flags extends Source {
  /** `--config`. */
  config: string | null;
  help: boolean;
  version: boolean;
}

/** Reads a file as UTF-8 or throws a Node.js system error. */
export type ReadFile = (path: string) => string;

const SEE_HELP = '--help lists them';

/** Reads `--name value`, `--name=value` and the switches; a boolean may stand alone. */
export function readFlags(argv: readonly string[]): Flags {
  const flags: Flags = { given: new Map(), faults: [], config: null, help: false, version: false };
  const byFlag = new Map(SETTING_KEYS.map((key) => [flagOf(key), key]));
  const seen = new Set<string>();
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? '';
    if (argument === '--help' || argument === '-h') flags.help = true;
    else if (argument === '--version') flags.version = true;
    else if (!argument.startsWith('--')) {
      flags.faults.push(`${JSON.stringify(argument)} is not a flag: settings are given as --name value; ${SEE_HELP}`);
    } else {
      const equals = argument.indexOf('=');
      const name = equals < 0 ? argument : argument.slice(0, equals);
      const key = byFlag.get(name);
      if (key === undefined && name !== '--config') {
        flags.faults.push(unknown(name, [...byFlag.keys(), '--config', '--help', '--version']));
        if (equals < 0 && argv[at + 1]?.startsWith('--') === false) at++;
        continue;
      }
      let value: string | undefined = equals < 0 ? argv[at + 1] : argument.slice(equals + 1);
      if (equals < 0 && key === 'insecure' && value !== 'true' && value !== 'false') value = 'true';
      else if (equals < 0 && value?.startsWith('--')) value = undefined;
      else if (equals < 0) at++;
      if (value === undefined || value === '') flags.faults.push(`${name} needs a value`);
      else if (seen.has(name)) flags.faults.push(`${name} is given more than once`);
      else if (key === undefined) flags.config = value;
      else flags.given.set(key, { value, origin: name, echo: !isSecret(key) });
      seen.add(name);
    }
  }
  return flags;
}

/** Reads `LESSOR_*`, and the files that `LESSOR_*_FILE` name. `LESSOR_CONFIG` is returned as `config`. */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  readFile: ReadFile,
): Source & { config: string | null } {
  const source: Source & { config: string | null } = { given: new Map(), faults: [], config: null };
  const byVariable = new Map(SETTING_KEYS.map((key) => [variableOf(key), key]));
  for (const name of Object.keys(env).sort()) {
    const value = env[name];
    if (value === undefined || !name.startsWith('LESSOR_')) continue;
    const key = byVariable.get(name);
    const fileKey = name.endsWith('_FILE') ? byVariable.get(name.slice(0, -'_FILE'.length)) : undefined;
    if (fileKey === undefined && isInjectedByKubernetes(name, value)) continue;
    if (key === undefined && fileKey === undefined && name !== 'LESSOR_CONFIG') {
      source.faults.push(unknown(name, [...byVariable.keys(), 'LESSOR_CONFIG']));
    } else if (value === '') {
      source.faults.push(`${name} is empty: give it a value or remove it`);
    } else if (key !== undefined) {
      source.given.set(key, { value, origin: name, echo: !isSecret(key) });
    } else if (fileKey === undefined) {
      source.config = value;
    } else if (env[variableOf(fileKey)] !== undefined && !isInjected(env, variableOf(fileKey))) {
      source.faults.push(`${variableOf(fileKey)} and ${name} are both set: remove one of them`);
    } else {
      readSecret(source, fileKey, name, value, readFile);
    }
  }
  return source;
}

/** Reads a JSON object of settings. A file that is not there is a fault only when it was asked for. */
export function readConfigFile(path: string, required: boolean, readFile: ReadFile): Source {
  const source: Source = { given: new Map(), faults: [] };
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    if (required || systemCode(error) !== 'ENOENT') source.faults.push(`${path} cannot be read: ${reason(error)}`);
    return source;
  }
  let values: unknown;
  try {
    values = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    // Only the place is repeated: the parser quotes the text, and a password may be part of it.
    const place = /line \d+ column \d+/.exec(error instanceof Error ? error.message : '')?.[0];
    source.faults.push(`${path} is not JSON${place === undefined ? '' : `: look at ${place}`}`);
    return source;
  }
  if (values === null || typeof values !== 'object' || Array.isArray(values)) {
    source.faults.push(`${path} is not a JSON object of settings, such as {"port": 7420}`);
    return source;
  }
  for (const [name, value] of Object.entries(values)) {
    const key = SETTING_KEYS.find((candidate) => candidate === name);
    const origin = `${path}: ${JSON.stringify(name)}`;
    if (key === undefined) source.faults.push(unknown(origin, SETTING_KEYS, name));
    else source.given.set(key, { value, origin, echo: !isSecret(key) });
  }
  return source;
}

function readSecret(source: Source, key: SettingKey, name: string, path: string, readFile: ReadFile): void {
  try {
    const value = readFile(path).replace(/\r?\n$/, '');
    if (value === '') source.faults.push(`${name}: ${path} is empty`);
    else source.given.set(key, { value, origin: `${name}: ${path}`, echo: false });
  } catch (error) {
    source.faults.push(`${name}: ${path} cannot be read: ${reason(error)}`);
  }
}

function isSecret(key: SettingKey): boolean {
  const setting: Setting = SETTINGS[key];
  return setting.secret === true;
}

/**
 * Kubernetes describes every Service of the namespace to every pod. One named `lessor` gives LESSOR_PORT=tcp://…,
 * LESSOR_SERVICE_HOST and more; one named `lessor-redis` LESSOR_REDIS_PORT=tcp://… and the like.
 */
function isInjectedByKubernetes(name: string, value: string): boolean {
  if (name.startsWith('LESSOR_SERVICE_') || name.startsWith('LESSOR_PORT_')) return true;
  if (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value)) return true;
  return /_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name);
}

function isInjected(env: Readonly<Record<string, string | undefined>>, name: string): boolean {
  return isInjectedByKubernetes(name, env[name] ?? '');
}

function unknown(shown: string, candidates: readonly string[], word = shown): string {
  const meant = nearest(word, candidates);
  if (meant === null) return `${shown} is not a setting; ${SEE_HELP}`;
  return `${shown} is not a setting; did you mean ${shown === word ? meant : JSON.stringify(meant)}?`;
}

function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function reason(error: unknown): string {
  switch (systemCode(error)) {
    case 'ENOENT':
      return 'there is no such file';
    case 'EACCES':
      return 'this user may not read it';
    case 'EISDIR':
      return 'it is a directory';
    default:
      return systemCode(error) ?? 'unknown error';
  }
}
