import { randomFillSync } from 'node:crypto';

/** Crockford's base 32 in lower case: sorts as its numbers do, safe in URLs (https://www.crockford.com/base32.html). */
const DIGITS = '0123456789abcdefghjkmnpqrstvwxyz';
const SHARD_DIGITS = 2;
const TIME_DIGITS = 9;
const TAIL_DIGITS = 10;
const TAIL_RANGE = 2 ** 50;

/** At most this many shards fit into an id. */
export const MAX_SHARDS = 32 ** SHARD_DIGITS;

/** The length of every task id. */
const TASK_ID_LENGTH = SHARD_DIGITS + TIME_DIGITS + TAIL_DIGITS;

const TASK_ID_PATTERN = new RegExp(`^[${DIGITS}]{${TASK_ID_LENGTH}}$`);

/**
 * Mints task ids: the shard, the time in ms, and 50 random bits that count up within a millisecond, as in a
 * ULID (https://github.com/ulid/spec). Ids of one mint for one shard sort in the order they were minted.
 */
export class TaskIdMint {
  #lastTime = 0;
  #tail = 0;

  /** @param now ms since the epoch, best by the store's clock */
  mint(shard: number, now: number): string {
    const time = Math.floor(now);
    if (time > this.#lastTime) {
      this.#lastTime = time;
      // Half of the range is left to count up in.
      this.#tail = Math.floor((drawSixBytes() / 2 ** 48) * (TAIL_RANGE / 2));
    } else {
      this.#tail += 1;
    }
    return encode(shard, SHARD_DIGITS) + encode(this.#lastTime, TIME_DIGITS) + encode(this.#tail, TAIL_DIGITS);
  }
}

/** Drawing random bytes costs the same for a few as for many. */
const pool = Buffer.alloc(6 * 256);
let drawn = pool.length;

/** A random number below 2^48. */
function drawSixBytes(): number {
  if (drawn === pool.length) {
    randomFillSync(pool);
    drawn = 0;
  }
  const number = pool.readUIntBE(drawn, 6);
  drawn += 6;
  return number;
}

/** The shard an id belongs to, or null when it is no id that a mint made. */
export function shardOfTaskId(id: string): number | null {
  if (!TASK_ID_PATTERN.test(id)) return null;
  return DIGITS.indexOf(id.charAt(0)) * DIGITS.length + DIGITS.indexOf(id.charAt(1));
}

/** Every two digits, in order. */
const PAIRS = [...DIGITS].flatMap((first) => [...DIGITS].map((second) => first + second));

function encode(value: number, length: number): string {
  let text = '';
  let rest = value;
  for (let place = 0; place < length; place += 2) {
    text = (PAIRS[rest % PAIRS.length] ?? '') + text;
    rest = Math.floor(rest / PAIRS.length);
  }
  return length % 2 === 0 ? text : text.slice(1);
}
