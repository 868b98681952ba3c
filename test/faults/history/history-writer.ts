import { closeSync, openSync, writeSync } from 'node:fs';
import type { Event } from './event.ts';
import { type Content, FIRST_LINK, toLine } from './line.ts';

const FLUSH_BYTES = 65_536;

/** Writes the events of one process to a file. Every event has a number and a link to the one before. */
export class HistoryWriter {
  readonly process: string;
  readonly path: string;
  readonly #file: number;
  readonly #eachAtOnce: boolean;
  #held = '';
  #count: number;
  #link: string;
  #lastAt = 0;

  /**
   * @param eachAtOnce each line is handed to the operating system before the call returns, so that it is there after a SIGKILL;
   * otherwise lines are gathered, which is faster
   * @param from where an earlier writer of the same file was cut off
   */
  constructor(
    process: string,
    path: string,
    { eachAtOnce = false, from = { count: 0, link: FIRST_LINK } }: WriterOptions = {},
  ) {
    this.process = process;
    this.path = path;
    this.#eachAtOnce = eachAtOnce;
    this.#count = from.count;
    this.#link = from.link;
    this.#file = openSync(path, 'a');
  }

  write(event: Event): void {
    this.copy({ ...event, p: this.process, at: this.#now() });
  }

  /** Writes an event of another process as it was. */
  copy(content: Content): void {
    const { line, link } = toLine(this.#count + 1, content, this.#link);
    this.#count++;
    this.#link = link;
    this.#held += line;
    if (this.#eachAtOnce || this.#held.length > FLUSH_BYTES) this.#flush();
  }

  /** Writes the closing line. @param by who says that nothing more will come */
  close(by: string = this.process): void {
    this.copy({ kind: 'end', by, count: this.#count, p: this.process, at: this.#now() });
    this.#flush();
    closeSync(this.#file);
  }

  #now(): number {
    this.#lastAt = Math.max(this.#lastAt, Date.now());
    return this.#lastAt;
  }

  #flush(): void {
    writeSync(this.#file, this.#held);
    this.#held = '';
  }
}

interface WriterOptions {
  eachAtOnce?: boolean;
  from?: { count: number; link: string };
}
