const RFC_3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))$/;

/** RFC 3339 in UTC with milliseconds. @param ms since the epoch */
export function toRfc3339(ms: number): string {
  const whole = Math.trunc(ms);
  const second = Math.floor(whole / 1000);
  const place = Math.abs(second % KEPT_SECONDS);
  if (second !== seconds[place]) {
    seconds[place] = second;
    beginnings[place] = new Date(whole).toISOString().slice(0, -'000Z'.length);
  }
  return `${beginnings[place]}${String(whole - second * 1000).padStart(3, '0')}Z`;
}

/** The times of one moment's replies are now, or now and a lease ahead: all but the ms is kept of a few seconds. */
const KEPT_SECONDS = 64;
const seconds = new Array<number>(KEPT_SECONDS).fill(Number.NaN);
const beginnings = new Array<string>(KEPT_SECONDS).fill('');

/** Ms since the epoch of an RFC 3339 time with any offset, cut to whole ms; null when it is not one. */
export function fromRfc3339(text: string): number | null {
  const match = RFC_3339.exec(text);
  if (!match) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  const fraction = Math.floor(Number(`0${match[7] ?? ''}`) * 1000);
  const date = new Date(0);
  // Not Date.UTC: that takes the years 0 to 99 for 1900 to 1999.
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null;
  date.setUTCHours(hour, minute, second, fraction);
  const offset = (Number(match[9] ?? 0) * 60 + Number(match[10] ?? 0)) * 60_000;
  return date.getTime() - (match[8] === '-' ? -offset : offset);
}
