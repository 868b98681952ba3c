/** Levels that LESSOR_DURABILITY may ask for; which of them a store serves is judged with the store. */
export type AskedDurability = 'full' | 'normal' | 'default' | `replicated:${number}`;

/** Reads a level; null when it is none. */
export function parseDurability(text: string): AskedDurability | null {
  if (text === 'full' || text === 'normal' || text === 'default') return text;
  const replicas = /^replicated:([1-9]\d?)$/.exec(text)?.[1];
  return replicas === undefined ? null : `replicated:${Number(replicas)}`;
}

/** Why a store does not serve a level, as a predicate; null when it does. */
export function durabilityFault(driver: 'sqlite' | 'redis', level: AskedDurability | undefined): string | null {
  if (level === undefined) return null;
  const isForFile = level === 'full' || level === 'normal';
  if (driver === 'sqlite' && !isForFile) return 'is for Redis, and the store is sqlite: use full or normal';
  if (driver === 'redis' && isForFile) {
    return 'is for sqlite, and the store is Redis: use default, which is as durable as Redis is configured, or replicated:N';
  }
  return null;
}
