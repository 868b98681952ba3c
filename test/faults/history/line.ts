import { hash } from 'node:crypto';
import type { Event, Logged } from './event.ts';

/** What the chain of every history begins with. */
export const FIRST_LINK = 'lessor-history-1';

/** The closing line: without it a history is only the beginning of one. */
interface End {
  kind: 'end';
  /** Who wrote it: the process itself, or the one that found it dead. */
  by: string;
  /** How many events came before. */
  count: number;
}

export type Content = (Event | End) & { p: string; at: number };

const LINK = ',"chain":"';

/**
 * One line: its number, its content, and a link that is made of the link before and this line, so that no line can be
 * taken out, moved or changed unnoticed.
 */
export function toLine(number: number, content: Content, before: string): { line: string; link: string } {
  const text = JSON.stringify({ n: number, ...content });
  const link = linkOf(before, text);
  return { line: `${text.slice(0, -1)}${LINK}${link}"}\n`, link };
}

/** @returns null for a line that is no line of a history, or was cut */
export function fromLine(line: string): { number: number; content: Content; text: string; link: string } | null {
  const at = line.lastIndexOf(LINK);
  if (at < 0 || !line.endsWith('"}')) return null;
  const text = `${line.slice(0, at)}}`;
  try {
    const { n, ...content }: { n: number } & Logged = JSON.parse(text);
    return { number: n, content, text, link: line.slice(at + LINK.length, -2) };
  } catch {
    return null;
  }
}

export function linkOf(before: string, text: string): string {
  return hash('sha256', before + text).slice(0, 16);
}
