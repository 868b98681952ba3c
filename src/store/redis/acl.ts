/** Commands of Redis that the functions of the library call: Redis asks whether the user may run them too. */
export const FUNCTION_COMMANDS = [
  'del',
  'exists',
  'get',
  'getrange',
  'hdel',
  'hget',
  'hgetall',
  'hincrby',
  'hmget',
  'hset',
  'hsetnx',
  'lindex',
  'llen',
  'lpop',
  'lrange',
  'ltrim',
  'mget',
  'mset',
  'pexpire',
  'pttl',
  'rename',
  'rpush',
  'set',
  'setrange',
  'spublish',
  'strlen',
  'time',
  'unlink',
  'zadd',
  'zcard',
  'zcount',
  'zpopmin',
  'zrange',
  'zrangebylex',
  'zrangebyscore',
  'zrem',
  'zremrangebyrank',
  'zrevrange',
  'zrevrangebyscore',
  'zscan',
  'zscore',
] as const;

/** Commands that a broker sends itself and cannot do without. */
export const BROKER_COMMANDS = ['fcall', 'function|load', 'info', 'ssubscribe', 'sunsubscribe'] as const;

/**
 * What it can do without: how often the append-only file is synced is unknown then, replicas confirm nothing (`replicated:N`), libraries of
 * other versions stay behind, the database is number 0, `lessor doctor`, which looks at the names of all keys, cannot look, and each PING on
 * a connection for subscriptions is a line in the ACL log.
 */
export const OPTIONAL_COMMANDS = [
  'config|get',
  'wait',
  'function|list',
  'function|delete',
  'select',
  'scan',
  'ping',
] as const;

/** What finding and following the primary takes, in a cluster and behind Sentinels. */
export const TOPOLOGY_COMMANDS = ['cluster|info', 'cluster|slots', 'role'] as const;

/** Rules of a Redis user that may do what a broker does with its prefix, and nothing else. */
export function aclRules(prefix: string): string[] {
  const commands = [...BROKER_COMMANDS, ...OPTIONAL_COMMANDS, ...TOPOLOGY_COMMANDS, ...FUNCTION_COMMANDS];
  return [
    ...['resetkeys', `~${prefix}:*`, 'resetchannels', `&${prefix}:*`],
    '-@all',
    ...commands.map((command) => `+${command}`),
  ];
}
