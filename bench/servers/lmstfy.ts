import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildGoPeer } from '../peers/go-peers.ts';
import { makeFolder } from '../process/folder.ts';
import { launch } from '../process/launch.ts';
import { freePort, startRedis } from './redis.ts';
import { listening, type PeerServer } from './peer-server.ts';

/** lmstfy on a Redis of its own with the settings that Lessor's has; no access log, no tokens. */
export async function startLmstfy(build: boolean): Promise<PeerServer> {
  const program = buildGoPeer('lmstfy', build);
  const folder = await makeFolder('lmstfy');
  const redis = await startRedis();
  const port = await freePort();
  const config = join(folder.path, 'lmstfy.toml');
  const address = `Addr = "127.0.0.1:${redis.port}"`;
  writeFileSync(
    config,
    `Host = "127.0.0.1"
Port = ${port}
AdminHost = "127.0.0.1"
AdminPort = ${await freePort()}
LogLevel = "warn"
EnableAccessLog = false
[AdminRedis]
${address}
[Pool.default]
${address}
`,
  );
  const launched = await launch('lmstfy', [program, '-c', config, '-sv', '-p', join(folder.path, 'pid')], {
    cwd: folder.path,
  });
  await listening(port, launched);
  return {
    port,
    async [Symbol.asyncDispose]() {
      await launched.stop();
      await redis[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
