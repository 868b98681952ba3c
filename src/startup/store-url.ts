/** Where tasks are kept, as LESSOR_STORE says. `url` may hold a password. */
export type StoreLocation = { driver: 'sqlite'; path: string } | { driver: 'redis'; url: string };

const GRAMMAR =
  'sqlite:PATH, sqlite::memory:, redis://HOST:PORT, rediss://HOST:PORT, redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY or redis+cluster://HOST:PORT,HOST:PORT';

const BAD_ESCAPE = 'has a % in its user or password that begins no escape: write it as %25';

/**
 * Reads a store URL.
 * @returns the location, or the fault as a predicate ("is not …") that repeats nothing of the URL, because a
 *   password may be part of it
 */
export function parseStoreUrl(text: string): StoreLocation | { fault: string } {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'sqlite':
      return parseSqlite(text.slice('sqlite:'.length));
    case 'redis':
    case 'rediss':
      return parseRedis(text);
    case 'redis+sentinel':
    case 'redis+cluster':
    case 'rediss+sentinel':
    case 'rediss+cluster':
      return parseServers(text, scheme);
    default:
      return { fault: `is not a store: use ${GRAMMAR}` };
  }
}

function parseSqlite(path: string): StoreLocation | { fault: string } {
  if (path === '') return { fault: 'names no file: use sqlite:PATH, such as sqlite:./data/lessor.db' };
  if (path.startsWith('//')) {
    return { fault: 'starts with sqlite://: write the path right after the colon, such as sqlite:/var/lib/lessor.db' };
  }
  if (path.startsWith(':') && path !== ':memory:') {
    return { fault: 'is not a file: use sqlite:PATH, or sqlite::memory: for memory only' };
  }
  if (path.includes('\0')) return { fault: 'is not a file: its path holds a NUL character' };
  return { driver: 'sqlite', path };
}

function parseRedis(text: string): StoreLocation | { fault: string } {
  const url = URL.parse(text);
  if (url === null || url.hostname === '' || !/^rediss?:\/\/[^/]/i.test(text)) {
    return { fault: 'is not a Redis URL: use redis://HOST:PORT, and percent-encode special characters of a password' };
  }
  if (!decodes(url)) return { fault: BAD_ESCAPE };
  if (!/^(\/\d{0,5})?$/.test(url.pathname)) {
    return {
      fault: 'names no Redis database: after HOST:PORT only /NUMBER may follow, such as redis://localhost:6379/0',
    };
  }
  if (url.search !== '' || url.hash !== '') {
    return {
      fault: 'holds a ? or #: no options may follow, and in a password they are percent-encoded as %3F and %23',
    };
  }
  return { driver: 'redis', url: text };
}

/** Several servers: the Sentinels, or nodes of a cluster from which the others are found. */
function parseServers(text: string, scheme: string): StoreLocation | { fault: string } {
  const cluster = scheme.endsWith('+cluster');
  const grammar = cluster ? `${scheme}://HOST:PORT,HOST:PORT` : `${scheme}://HOST:PORT,HOST:PORT/PRIMARY`;
  const [, credentials = '', hosts = '', path = ''] =
    /^[^:]+:\/\/([^/?#]*@)?([^@/?#]+)(?:\/([^/?#]*))?$/.exec(text) ?? [];
  const url = URL.parse(`redis://${credentials}host`);
  if (hosts === '' || url === null) {
    return { fault: `is not a Redis URL: use ${grammar}, and percent-encode special characters of a password` };
  }
  if (!decodes(url)) return { fault: BAD_ESCAPE };
  if (!hosts.split(',').every(isHostAndPort)) {
    return { fault: `names servers that are not HOST:PORT, separated by commas: use ${grammar}` };
  }
  if (cluster && path !== '') {
    return { fault: `names a database, of which a cluster has but one: use ${grammar}` };
  }
  if (!cluster && !/^[A-Za-z0-9._-]+$/.test(path)) {
    return {
      fault: `does not say what the Sentinels call the primary (letters, digits and . _ -): use ${grammar}, such as …/mymaster`,
    };
  }
  return { driver: 'redis', url: text };
}

function isHostAndPort(text: string): boolean {
  const url = URL.parse(`redis://${text}`);
  return url !== null && url.hostname !== '' && url.pathname === '' && url.username === '' && url.port !== '0';
}

/** Whether its credentials can be read. */
function decodes({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}
