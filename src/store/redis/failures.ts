import { StoreError } from '../store.ts';

/** The connection broke before the reply came: whether the call ran is not known. */
export function isLost(error: unknown): boolean {
  return error instanceof Error && error.name !== 'ReplyError' && !(error instanceof StoreError);
}

/** The server has refused the call before it began, because it must not or cannot serve this shard now. */
export function isRefused(error: unknown): boolean {
  return (
    error instanceof Error &&
    error.name === 'ReplyError' &&
    /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|LOADING|READONLY|MASTERDOWN)\b/.test(error.message)
  );
}

export function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Command timed out';
}

export function isReply(error: unknown, prefix: string): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith(prefix);
}

/**
 * Replies that tell of a server that cannot serve right now, as opposed to a fault of an operation. The last is what an operation
 * would hear that meets a slot of which some keys have moved to another node; it is refused before that.
 */
const UNAVAILABLE =
  /^(READONLY|LOADING|MISCONF|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOREPLICAS|NOAUTH|NOPERM|WRONGPASS|UNBLOCKED)\b|^ERR Function not found|Script attempted to access a non local key/;

/** The client's error without the command it belongs to, whose arguments are payloads, tokens and passwords. */
export function withoutCommand(error: Error): Error {
  const bare: Error & { code?: unknown } = new Error(error.message);
  bare.name = error.name;
  if (error.stack !== undefined) bare.stack = error.stack;
  if ('code' in error) bare.code = error.code;
  return bare;
}

/** What the caller of the store gets. */
export function storeError(error: unknown): Error {
  if (error instanceof StoreError) return error;
  if (!(error instanceof Error)) return new StoreError('unavailable', String(error));
  const cause = withoutCommand(error);
  if (error.name !== 'ReplyError') return new StoreError('unavailable', `Redis: ${error.message}`, { cause });
  if (error.message.startsWith('OOM')) {
    return new StoreError('full', 'Redis is at its maxmemory: free memory or raise the limit', { cause });
  }
  if (UNAVAILABLE.test(error.message)) return new StoreError('unavailable', `Redis: ${error.message}`, { cause });
  return cause;
}
