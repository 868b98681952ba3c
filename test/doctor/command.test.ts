import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import { type Command, type CommandOutput, runCommand } from '../../src/command.ts';
import { openStore } from '../../src/store/open-store.ts';
import { pino } from 'pino';

const QUIET = pino({ level: 'silent' });

describe('lessor doctor and lessor backup', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-command-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'lessor.db');
  const config = { driver: 'sqlite', path, durability: 'normal' } as const;

  function run(command: Command, ...argv: string[]): Promise<CommandOutput> {
    const readFile = (): string => {
      throw Object.assign(new Error('there is none'), { code: 'ENOENT' });
    };
    return runCommand(command, { argv, env: { LESSOR_STORE: `sqlite:${path}` }, readFile });
  }

  /** The one line with which a command ends that could do nothing. */
  async function refusal(command: Command, ...argv: string[]): Promise<string> {
    const { text, faults, exitCode } = await run(command, ...argv);
    assert.deepEqual([text, faults.length, exitCode], ['', 1, 1]);
    return faults[0] ?? '';
  }

  test('say how they are used', async () => {
    for (const command of ['doctor', 'backup'] as const) {
      const { text, faults, exitCode } = await run(command, '--help');
      assert.deepEqual([faults, exitCode], [[], 0]);
      assert.match(text, new RegExp(`^Usage: lessor ${command} .*[^]*Exit codes: 0 `));
    }
  });

  test('refuse what they do not know', async () => {
    assert.match(await refusal('doctor', '--mned'), /^--mned is not a setting/);
    assert.match(await refusal('doctor', '--port', 'x'), /^--port: "x" is not/);
    assert.equal(await refusal('backup'), 'name the file to write: lessor backup --to FILE');
    assert.equal(await refusal('backup', '--to='), 'name the file to write: lessor backup --to FILE');
    assert.match(await refusal('backup', '--to', 'x', '--from', 'there'), /^--from is not a URL/);
  });

  test('doctor says why it cannot look, and makes nothing', async () => {
    assert.match(
      await refusal('doctor', '--store', `sqlite:${folder}/none.db`),
      /none\.db is not there: look at LESSOR_STORE/,
    );
    assert.match(await refusal('doctor', '--store', 'sqlite::memory:'), /^what is kept in memory/);
    assert.match(
      await refusal('doctor', '--store=redis://127.0.0.1:1'),
      /^Redis at .* cannot be reached: .*ECONNREFUSED/,
    );
    assert.deepEqual(readdirSync(folder), []);
  });

  test('doctor says of a file in use what to do', async () => {
    const store = await openStore(config, QUIET);
    assert.match(await refusal('doctor'), /is in use by a broker: stop it, or have it make a copy and look at that/);
    await store.configure('q', {}, 'merge');
    await store.close();
  });

  test('doctor ends with 2 when it found something, says what and what it did, and with 0 when all is sound', async () => {
    const db = new DatabaseSync(path);
    db.exec('UPDATE queues SET ready = 5');
    db.close();
    const found = await run('doctor');
    assert.equal(found.exitCode, 2);
    assert.match(found.text, /counter, 1: a counter is not what is there\n {2}q {2}ready: 5 is noted, 0 is there\n/);
    assert.match(found.text, /1 found, nothing changed\. --mend mends what is safe to mend\.\n$/);
    const mended = await run('doctor', '--mend');
    assert.equal(mended.exitCode, 2);
    assert.match(mended.text, /5 is noted, 0 is there; counted anew\n[^]*1 found, all mended\. Run it again/);
    const sound = await run('doctor');
    assert.deepEqual([sound.exitCode, sound.faults], [0, []]);
    assert.match(sound.text, /1 queues, 0 tasks, looked at in [\d.]+ s\n\nSound: nothing is wrong\.\n$/);
  });

  test('doctor reports to programs as JSON', async () => {
    const db = new DatabaseSync(path);
    db.exec('UPDATE queues SET ready = 5');
    db.close();
    const { text, exitCode } = await run('doctor', '--json', '--mend');
    const { ms, ...report } = JSON.parse(text) as Record<string, unknown>;
    assert.equal(typeof ms, 'number');
    const finding = { fault: 'counter', queue: 'q', subject: 'ready', detail: '5 is noted, 0 is there', mended: true };
    assert.deepEqual(
      [exitCode, report],
      [
        2,
        {
          ...{ location: path, sound: false, found: 1, mended: 1, queues: 1, tasks: 0 },
          ...{ faults: { counter: 1 }, findings: [finding], unchecked: [] },
        },
      ],
    );
  });
});
