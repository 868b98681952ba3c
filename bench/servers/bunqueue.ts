import { join } from 'node:path';
import { installNpmPeers } from '../peers/npm-peers.ts';
import { makeFolder } from '../process/folder.ts';
import { launch } from '../process/launch.ts';
import { listening, type PeerServer } from './peer-server.ts';
import { freePort } from './redis.ts';

/** bunqueue's server on a SQLite file; its limit of requests per client, 10,000 a minute, is lifted. */
export async function startBunqueue(): Promise<PeerServer> {
  const { folder: peers } = installNpmPeers();
  const folder = await makeFolder('bunqueue');
  const port = await freePort();
  const launched = await launch(
    'bunqueue',
    [join(peers, 'node_modules/.bin/bun'), join(peers, 'node_modules/bunqueue/dist/cli/index.js'), 'start'],
    {
      cwd: folder.path,
      env: {
        HOST: '127.0.0.1',
        HTTP_PORT: String(port),
        TCP_PORT: String(await freePort()),
        BUNQUEUE_DATA_PATH: join(folder.path, 'tasks.db'),
        RATE_LIMIT_MAX_REQUESTS: '1000000000',
      },
    },
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
