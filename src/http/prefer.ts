/**
 * The wait that a `Prefer: wait=N` header asks for (RFC 7240, section 4.3), in whole seconds; null when it asks for none.
 */
export function preferredWait(header: string | string[] | undefined): number | null {
  const preferences = [header ?? []].flat().join(',').split(',');
  for (const preference of preferences) {
    const [, seconds] = /^\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;|$)/i.exec(preference) ?? [];
    if (seconds !== undefined) return Number(seconds);
  }
  return null;
}
