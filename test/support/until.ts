import { setImmediate, setTimeout } from 'node:timers/promises';

/**
 * Resolves with the first truthy value of `condition`, which is asked again and again: at once at first, then
 * every millisecond.
 * @param options.what names the condition in the message of the failure
 * @throws Error when `timeoutMs` (10 s when left out) passed first; a throwing condition fails at once
 */
export async function until<Value>(
  condition: () => Value | Promise<Value>,
  options: { timeoutMs?: number; what?: string } = {},
): Promise<NonNullable<Value>> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const end = performance.now() + timeoutMs;
  for (let tries = 0; ; tries++) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) {
      throw new Error(`not within ${timeoutMs} ms: ${options.what ?? condition.toString()}`);
    }
    if (tries < 100) await setImmediate();
    else await setTimeout(1);
  }
}
