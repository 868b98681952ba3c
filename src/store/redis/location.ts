import type { RedisOptions } from 'ioredis';
import { type TlsMaterial, tlsOptions } from './tls.ts';

/** Where a server listens. */
export interface Endpoint {
  host: string;
  port: number;
}

/** How clients are let in. */
export type ClientOptions = Pick<RedisOptions, 'username' | 'password' | 'db' | 'tls'>;

/** Who a client says it is. */
export interface Credentials {
  username?: string;
  password?: string;
}

/** What a store URL says, and what is set beside it; the URL has been checked before. */
export interface RedisLocation {
  kind: 'single' | 'sentinel' | 'cluster';
  /** The server, the Sentinels, or some nodes of the cluster. */
  endpoints: readonly Endpoint[];
  /** What the primary is called by the Sentinels; '' otherwise. */
  primary: string;
  /** How clients of the servers with the data connect: credentials, database, TLS. */
  client: ClientOptions;
  /** How clients of the Sentinels connect, which have credentials of their own. */
  sentinelClient: ClientOptions;
  /** The URL without what is secret in it. */
  shown: string;
}

const DEFAULT_PORT = { single: 6379, sentinel: 26_379, cluster: 6379 };

/**
 * Reads a URL such as `redis+sentinel://user:password@host:port,host:port/primary`.
 * @param sentinels for the Sentinels; those in the URL are for the servers with the data
 */
export function readLocation(url: string, tls: TlsMaterial, sentinels: Credentials = {}): RedisLocation {
  const [, scheme = '', rest = ''] = /^([a-z+]+):\/\/(.*)$/is.exec(url) ?? [];
  const kind = scheme.endsWith('+sentinel') ? 'sentinel' : scheme.endsWith('+cluster') ? 'cluster' : 'single';
  const authority = rest.split(/[/?#]/, 1)[0] ?? '';
  const path = rest.slice(authority.length).split(/[?#]/, 1)[0]?.slice(1) ?? '';
  const credentials = authority.slice(0, authority.lastIndexOf('@') + 1);
  const hosts = authority.slice(credentials.length);
  const { username, password } = new URL(`redis://${credentials}host`);
  const client: ClientOptions = {};
  if (username !== '') client.username = decodeURIComponent(username);
  if (password !== '') client.password = decodeURIComponent(password);
  if (kind === 'single' && path !== '') client.db = Number(path);
  const sentinelClient: ClientOptions = { ...sentinels };
  if (scheme.toLowerCase().startsWith('rediss')) client.tls = sentinelClient.tls = tlsOptions(tls);
  return {
    kind,
    endpoints: hosts.split(',').map((host) => readEndpoint(host, DEFAULT_PORT[kind])),
    primary: kind === 'sentinel' ? decodeURIComponent(path) : '',
    client,
    sentinelClient,
    shown: `${scheme.toLowerCase()}://${hosts}${path === '' ? '' : `/${path}`}`,
  };
}

function readEndpoint(text: string, defaultPort: number): Endpoint {
  const { hostname, port } = new URL(`redis://${text}`);
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? defaultPort : Number(port) };
}

/** How a server is named in the log, and told apart from others. */
export function nameOf({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
