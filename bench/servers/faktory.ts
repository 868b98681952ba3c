import { join } from 'node:path';
import { buildGoPeer } from '../peers/go-peers.ts';
import { makeFolder } from '../process/folder.ts';
import { launch } from '../process/launch.ts';
import { listening, type PeerServer } from './peer-server.ts';
import { freePort } from './redis.ts';

/** Faktory as it comes, with the Redis that it starts by itself (snapshots, no append-only file). */
export async function startFaktory(build: boolean): Promise<PeerServer> {
  const program = buildGoPeer('faktory', build);
  const folder = await makeFolder('faktory');
  const port = await freePort();
  const launched = await launch(
    'faktory',
    [
      program,
      ...['-b', `127.0.0.1:${port}`, '-w', `127.0.0.1:${await freePort()}`, '-e', 'development', '-l', 'warn'],
      ...['-d', join(folder.path, 'db'), '-c', folder.path],
    ],
    { cwd: folder.path, env: { HOME: folder.path } },
  );
  await listening(port, launched);
  return {
    port,
    async [Symbol.asyncDispose]() {
      await launched.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}
