import { readFileSync, truncateSync } from 'node:fs';
import type { Logged } from './event.ts';
import { HistoryWriter } from './history-writer.ts';
import { FIRST_LINK, fromLine, linkOf } from './line.ts';

/** A history that cannot be judged, because it is not known to be whole and in order. */
export class HistoryRejected extends Error {
  override readonly name = 'HistoryRejected';
}

/**
 * Reads a whole history.
 * @throws HistoryRejected unless every line is there, in order and unchanged, up to the closing one
 */
export function readHistory(path: string): Logged[] {
  return parseHistory(readFileSync(path, 'utf8'), path);
}

/** The same for a text. @param name of the history, for the message of a refusal */
export function parseHistory(text: string, name = 'the history'): Logged[] {
  const reject = (why: string): never => {
    throw new HistoryRejected(
      `${name} is not judged: ${why}. Run again, and check what was written as it was written.`,
    );
  };
  const events: Logged[] = [];
  let link = FIRST_LINK;
  let number = 0;
  let closed = false;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    if (closed) reject(`line ${number + 1} comes after the closing line`);
    const parsed = fromLine(line);
    if (parsed === null) return reject(`line ${number + 1} is cut or no line of a history`);
    number++;
    if (parsed.number !== number)
      reject(`line ${number} has the number ${parsed.number}: lines are missing, doubled or moved`);
    link = linkOf(link, parsed.text);
    if (parsed.link !== link)
      reject(`line ${number} does not follow from the one before: it, or one before, was changed`);
    const { content } = parsed;
    if (content.kind === 'end') {
      closed = true;
      if (content.count !== number - 1) reject(`it closes after ${content.count} events and holds ${number - 1}`);
    } else events.push(content);
  }
  if (!closed) reject(`it has no closing line after ${number} lines: it is the beginning of a longer one`);
  if (!text.endsWith('\n')) reject('its last line is cut');
  return events;
}

/**
 * Closes the history of a process that was killed. A last line that was cut tells of nothing that was done: a call is written
 * before it is sent, and a result that was not written whole is not known.
 */
export function closeForTheDead(path: string, process: string, by: string): void {
  const text = readFileSync(path, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
  const last = whole.slice(0, -1).split('\n').at(-1) ?? '';
  const parsed = fromLine(last);
  const from = parsed === null ? { count: 0, link: FIRST_LINK } : { count: parsed.number, link: parsed.link };
  if (parsed?.content.kind === 'end') return;
  new HistoryWriter(process, path, { from }).close(by);
}

/** Makes one history of the whole ones of several processes: by time, and within a process in its own order. */
export function mergeHistories(paths: readonly string[], into: string): void {
  const events = paths.flatMap((path) => readHistory(path));
  // Stable: what a process wrote in the same ms stays in order, and no process's clock goes back.
  events.sort((a, b) => a.at - b.at);
  const writer = new HistoryWriter('all', into);
  for (const event of events) writer.copy(event);
  writer.close();
}
