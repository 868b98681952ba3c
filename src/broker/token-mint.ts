import { randomFillSync } from 'node:crypto';

const TOKEN_BYTES = 16;
/** Drawing random bytes costs the same for one token as for many. */
const POOL_TOKENS = 256;

const pool = Buffer.alloc(TOKEN_BYTES * POOL_TOKENS);
let used = pool.length;

/** A lease token: 128 random bits, each used once. */
export function mintToken(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const token = pool.toString('base64url', used, used + TOKEN_BYTES);
  used += TOKEN_BYTES;
  return token;
}
