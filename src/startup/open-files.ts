/** Descriptors for the listener, the store, the log and whatever else is not a client. */
const RESERVED = 128;
/** Connections beyond the polls that may be parked: room for enqueues, settles, and for telling polls "too many". */
const SPARE_SHARE = 0.05;

/**
 * How many files this process may have open, from the text of Linux's /proc/self/limits; null where that says
 * nothing.
 */
export function parseOpenFilesLimit(limits: string): number | null {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
  return soft === undefined ? null : Number(soft);
}

/** Bounds that keep a process from running out of descriptors: clients are told 429 before that. */
export function connectionBounds(
  maxWaiters: number,
  openFiles: number | null,
): { maxWaiters: number; maxConnections: number | null } {
  if (openFiles === null) return { maxWaiters, maxConnections: null };
  const maxConnections = Math.max(1, openFiles - RESERVED);
  return { maxWaiters: Math.min(maxWaiters, Math.floor(maxConnections * (1 - SPARE_SHARE))), maxConnections };
}
