import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { TlsMaterial } from '../store/open-store.ts';
import { variableOf } from './settings.ts';
import type { ReadFile } from './sources.ts';
import type { StoreLocation } from './store-url.ts';

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** Settings that name files for TLS to Redis, and what has to be in each. */
const TLS_FILES = {
  redisCaFile: { part: 'ca', pattern: /-----BEGIN CERTIFICATE-----/, what: 'certificate' },
  redisCertFile: { part: 'cert', pattern: /-----BEGIN CERTIFICATE-----/, what: 'certificate' },
  redisKeyFile: { part: 'key', pattern: /-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/, what: 'private key' },
} as const;
export type TlsFileKey = keyof typeof TLS_FILES;
export const TLS_FILE_KEYS = ['redisCaFile', 'redisCertFile', 'redisKeyFile'] as const satisfies TlsFileKey[];

/** Paths of the files that are named. */
export type TlsFiles = Readonly<Record<TlsFileKey, string | undefined>>;

/** What is wrong with naming these files for a store, as predicates. */
export function tlsFaults(store: StoreLocation, files: Partial<TlsFiles>): [TlsFileKey, string][] {
  const named = TLS_FILE_KEYS.filter((key) => files[key] !== undefined);
  if (store.driver !== 'redis' || !/^rediss/i.test(store.url)) {
    return named.map((key) => [key, 'is for TLS, and the store is not rediss://HOST:PORT']);
  }
  if (named.includes('redisCertFile') === named.includes('redisKeyFile')) return [];
  const [present, missing] = named.includes('redisCertFile')
    ? (['redisCertFile', 'redisKeyFile'] as const)
    : (['redisKeyFile', 'redisCertFile'] as const);
  return [[present, `is of no use alone: set ${variableOf(missing)} too`]];
}

/** What the files hold, or what is wrong with them: per setting a predicate that repeats nothing of a file. */
export function readTlsFiles(
  paths: TlsFiles,
  readFile: ReadFile,
): { tls: TlsMaterial } | { faults: readonly [TlsFileKey, string][] } {
  const tls: TlsMaterial = {};
  const faults: [TlsFileKey, string][] = [];
  for (const key of TLS_FILE_KEYS) {
    const path = paths[key];
    if (path === undefined) continue;
    const { part, pattern, what } = TLS_FILES[key];
    try {
      const text = readFile(path);
      if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
        faults.push([key, 'holds a key that is encrypted: decrypt it, and let only this user read the file']);
      } else if (pattern.test(text)) tls[part] = text;
      else faults.push([key, `holds no ${what} in PEM form ("-----BEGIN …")`]);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
      faults.push([key, `cannot be read: ${code === 'ENOENT' ? 'there is no such file' : code}`]);
    }
  }
  if (faults.length > 0) return { faults };
  for (const [key, text] of [
    ['redisCaFile', tls.ca],
    ['redisCertFile', tls.cert],
  ] as const) {
    if (!holds(() => text?.match(CERTIFICATES)?.forEach((one) => new X509Certificate(one)))) {
      return { faults: [[key, 'holds a certificate that cannot be read']] };
    }
  }
  if (!holds(() => createSecureContext({ cert: tls.cert, key: tls.key }))) {
    return { faults: [['redisKeyFile', 'does not hold the key that belongs to the certificate']] };
  }
  return { tls };
}

function holds(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}
