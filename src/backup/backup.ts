import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, open, rm } from 'node:fs/promises';
import * as http from 'node:http';
import * as https from 'node:https';
import { dirname } from 'node:path';
import { text } from 'node:stream/consumers';
import { Silence } from './silence.ts';
import { SqliteHeader } from './sqlite-header.ts';

/** Why there is no backup; the message is the one line that an operator needs. */
export class BackupRefusal extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BackupRefusal';
  }
}

export const BACKUP_HELP = `Usage: lessor backup --to FILE [--from URL] [--name value]…

Has the broker that runs make a copy of its SQLite file as of one moment, and writes it to FILE, which must not be there
yet. Other calls go on meanwhile. The broker is found by its settings (LESSOR_HOST, LESSOR_PORT), or named with --from.
It sends nothing until the copy is made; after an hour of that it is given up.

To restore one: stop the broker, put the file in the place of the old one (and remove FILE-wal beside the old one), start.

Exit codes: 0 written; 1 not (one line on stderr, and no file).
`;

/** How long nothing may come. */
export interface BackupLimits {
  /** Before the first byte: the broker sends nothing until it has made the whole copy. */
  copyMs: number;
  /** After it. */
  silenceMs: number;
}

/** In an hour a broker that copies 20 MB/s, a tenth of what one does that is idle, has copied 72 GB. */
const LIMITS: BackupLimits = { copyMs: 3_600_000, silenceMs: 120_000 };
/** After so long without a byte the connection is probed. */
const PROBE_MS = 30_000;

/**
 * Asks a broker for a copy of its file and writes it. The file has its name only when it is whole, by what it says itself, and on the
 * disk.
 * @param limits only for tests
 * @returns its bytes
 * @throws BackupRefusal
 */
export async function backup(url: string, to: string, limits: BackupLimits = LIMITS): Promise<number> {
  if (existsSync(to)) throw new BackupRefusal(`${to} is there already: name another file, or remove it`);
  const part = `${to}.${randomUUID()}.part`;
  try {
    const bytes = await download(new URL('/backup', url), part, limits);
    // Unlike a renaming, this never replaces a file that has come there meanwhile.
    await link(part, to);
    await rm(part);
    await syncFolder(dirname(to));
    return bytes;
  } catch (error) {
    await rm(part, { force: true });
    if (error instanceof BackupRefusal) throw error;
    const { cause } = error instanceof Error ? error : { cause: error };
    const reason = cause instanceof Error ? cause.message : error instanceof Error ? error.message : String(error);
    throw new BackupRefusal(
      `no backup from ${url}: ${reason}; is the broker running there, and is there room for ${to}?`,
      {
        cause: error,
      },
    );
  }
}

async function download(url: URL, part: string, { copyMs, silenceMs }: BackupLimits): Promise<number> {
  const silence = new Silence();
  try {
    silence.allow(copyMs);
    const response = await ask(url, silence.signal);
    silence.allow(silenceMs);
    if (response.statusCode !== 200) throw new BackupRefusal(await refusalOf(response));
    const file = await open(part, 'wx', 0o600);
    try {
      const header = new SqliteHeader();
      let bytes = 0;
      const body: AsyncIterable<Uint8Array> = response;
      for await (const chunk of body) {
        silence.allow(silenceMs);
        if (!header.add(chunk)) {
          throw new BackupRefusal(`${url.href} does not answer with a SQLite file: is it a Lessor broker?`);
        }
        await file.writeFile(chunk);
        bytes += chunk.byteLength;
      }
      // Where no length was announced, a connection that was ended from here has ended well.
      silence.signal.throwIfAborted();
      // The end of a connection is not always the end of the file either; the file itself can tell.
      const whole = header.fileBytes;
      if (bytes !== whole) {
        throw new BackupRefusal(
          `${url.href} answered with ${bytes} bytes, and the whole file has ${whole ?? '512 or more'}: was it cut off by a proxy? Try again`,
        );
      }
      await file.sync();
      return bytes;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (silence.reason === null || error instanceof BackupRefusal) throw error;
    throw new BackupRefusal(
      `no backup from ${url.origin}: ${silence.reason}; is the broker running there, and not held up by its disk?`,
      { cause: error },
    );
  } finally {
    silence.end();
  }
}

function ask(url: URL, signal: AbortSignal): Promise<http.IncomingMessage> {
  const { get } = url.protocol === 'https:' ? https : http;
  return new Promise((resolve, reject) => {
    const request = get(url, { signal }, resolve).on('error', reject);
    // A host that has vanished is noticed long before a broker is that says nothing.
    request.setSocketKeepAlive(true, PROBE_MS);
  });
}

/** Has the name of the file be on the disk too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** What the broker says of its refusal. */
async function refusalOf(response: http.IncomingMessage): Promise<string> {
  let said: unknown = null;
  try {
    said = JSON.parse(await text(response));
  } catch {
    // It says nothing that can be read.
  }
  const detail = typeof said === 'object' && said !== null && 'detail' in said ? said.detail : null;
  return `the broker makes no backup (${response.statusCode ?? 'no status'}): ${typeof detail === 'string' ? detail : 'it does not say why'}`;
}
