/** The candidate that was most likely meant by a mistyped word, or null when none is close. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  const typed = bare(word);
  let best: string | null = null;
  let bestDistance = Math.min(3, Math.ceil(typed.length / 2));
  for (const candidate of candidates) {
    const distance = editDistance(typed, bare(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  if (best !== null || typed.length < 3) return best;
  return candidates.find((candidate) => bare(candidate).includes(typed) || typed.includes(bare(candidate))) ?? null;
}

function bare(word: string): string {
  return word
    .toLowerCase()
    .replace(/^lessor[_-]/, '')
    .replace(/[^a-z0-9]/g, '');
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, (beforeLast[column - 2] ?? 0) + 1);
      }
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}
