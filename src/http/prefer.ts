/** One preference of several; commas within quotes part nothing. */
const PREFERENCE = /(?:[^,"]|"(?:[^"\\]|\\.)*"?)+/g;

const WAIT = /^\s*wait\s*=\s*(?:"(\d+)"|(\d+))\s*(?:;|$)/i;

/**
 * The wait that a `Prefer: wait=N` header asks for (RFC 7240, section 4.3), in whole seconds; null when it asks for none.
 * Of several the first counts.
 */
export function preferredWait(header: string | string[] | undefined): number | null {
  if (header === undefined) return null;
  for (const [preference] of [header].flat().join(',').matchAll(PREFERENCE)) {
    const [, quoted, bare] = WAIT.exec(preference) ?? [];
    const seconds = quoted ?? bare;
    if (seconds !== undefined) return Number(seconds);
  }
  return null;
}
