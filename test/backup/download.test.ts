import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DatabaseSync } from 'node:sqlite';
import { backup, BackupRefusal } from '../../src/backup/backup.ts';

const NO_LENGTH = 'HTTP/1.0 200 OK\r\n\r\n';

describe('what is downloaded as a backup', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-download-'));
  const to = join(folder, 'copy.db');
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** Whole files, by the size of their pages. */
  const files = new Map<number, Buffer>();
  before(() => {
    for (const size of [512, 4096, 65536]) {
      const path = join(folder, `${size}.db`);
      const db = new DatabaseSync(path);
      db.exec(`PRAGMA page_size = ${size}; CREATE TABLE t (x); INSERT INTO t SELECT zeroblob(${3 * size})`);
      db.close();
      files.set(size, readFileSync(path));
      rmSync(path);
    }
  });

  function file(size = 4096): Buffer {
    const bytes = files.get(size);
    assert.ok(bytes !== undefined);
    return bytes;
  }

  /** Backs up from something that listens, and does this with whoever connects once it was asked. */
  async function from(
    answer: (socket: Socket) => void,
    limits = { copyMs: 60_000, silenceMs: 60_000 },
  ): Promise<number> {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => answer(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      return await backup(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, to, limits);
    } finally {
      server.close();
    }
  }

  /** In one line, and without a file that is left. */
  async function refusal(...args: Parameters<typeof from>): Promise<string> {
    let message = '';
    await assert.rejects(from(...args), (error) => {
      assert.ok(error instanceof BackupRefusal);
      ({ message } = error);
      return true;
    });
    assert.deepEqual(readdirSync(folder), []);
    assert.doesNotMatch(message, /\n/);
    return message;
  }

  for (const size of [512, 4096, 65536]) {
    test(`is kept when it is a whole file, of pages of ${size} bytes, though no length was announced`, async () => {
      const bytes = file(size);
      assert.equal(await from((socket) => socket.end(Buffer.concat([Buffer.from(NO_LENGTH), bytes]))), bytes.length);
      assert.deepEqual(readFileSync(to), bytes);
      rmSync(to);
    });

    test(`is refused when it is cut off, of pages of ${size} bytes, and no length was announced`, async () => {
      const bytes = file(size);
      for (const length of [bytes.length - size, bytes.length - 1, 100, 99, 16, 3]) {
        const message = await refusal((socket) =>
          socket.end(Buffer.concat([Buffer.from(NO_LENGTH), bytes.subarray(0, length)])),
        );
        assert.match(message, new RegExp(`/backup answered with ${length} bytes, and the whole file has `));
      }
    });
  }

  test('is kept when it comes byte by byte at first', async () => {
    const bytes = file();
    const length = await from((socket) => {
      socket.setNoDelay(true);
      const next = (at: number): void => {
        if (at < 120) socket.write(bytes.subarray(at, at + 1), () => setImmediate(next, at + 1));
        else socket.end(bytes.subarray(at));
      };
      socket.write(NO_LENGTH, () => next(0));
    });
    assert.equal(length, bytes.length);
    assert.deepEqual(readFileSync(to), bytes);
    rmSync(to);
  });

  test('is refused when it is empty', async () => {
    const empty = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
    assert.match(
      await refusal((socket) => socket.end(empty)),
      /answered with 0 bytes, and the whole file has 512 or more/,
    );
    assert.match(await refusal((socket) => socket.end(NO_LENGTH)), /answered with 0 bytes/);
  });

  test('is refused when it is longer than it says itself', async () => {
    const message = await refusal((socket) =>
      socket.end(Buffer.concat([Buffer.from(NO_LENGTH), file(), Buffer.from('and more')])),
    );
    assert.match(
      message,
      new RegExp(`answered with ${file().length + 8} bytes, and the whole file has ${file().length}:`),
    );
  });

  test('is refused when it is shorter than was announced', async () => {
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${file().length + 4096}\r\n\r\n`;
    assert.match(
      await refusal((socket) => socket.end(Buffer.concat([Buffer.from(head), file()]))),
      /^no backup from http:.*; is the broker running there/,
    );
  });

  test('is refused when it is no SQLite file', async () => {
    const message = await refusal((socket) => socket.end(`${NO_LENGTH}<html>a page of a portal</html>`));
    assert.match(message, /does not answer with a SQLite file: is it a Lessor broker\?$/);
  });

  test('is given up when nothing comes: no answer, no first byte, or none after some', async () => {
    const part = file().subarray(0, 5000);
    const cases: [what: string, sent: string | Buffer, limits: { copyMs: number; silenceMs: number }][] = [
      ['0.05', '', { copyMs: 50, silenceMs: 60_000 }],
      ['0.06', 'HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n', { copyMs: 60_000, silenceMs: 60 }],
      ['0.07', Buffer.concat([Buffer.from(NO_LENGTH), part]), { copyMs: 60_000, silenceMs: 70 }],
    ];
    for (const [seconds, sent, limits] of cases) {
      const message = await refusal((socket) => void socket.write(sent), limits);
      assert.match(
        message,
        new RegExp(`^no backup from http://127.0.0.1:\\d+: nothing has come from it for ${seconds} s; `),
      );
    }
  });

  test('is refused with the status of an answer that says no more than that', async () => {
    const head = 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\n';
    const message = await refusal((socket) => void socket.write(head), { copyMs: 60_000, silenceMs: 50 });
    assert.match(message, /the broker makes no backup \(502\): it does not say why$/);
  });
});
