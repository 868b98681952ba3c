import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { ROOT, run, TOOL_ENV } from '../../scripts/tools.ts';
import { startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { execForm, parseDockerfile, type Stage } from './dockerfile.ts';

const START_TIMEOUT_MS = 20_000;

interface ComposeService {
  build?: string;
  image: string;
  environment?: Record<string, string>;
  ports?: string[];
  command?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  volumes?: string[];
}

const stages = parseDockerfile(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'));
const compose = parse(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8')) as {
  services: Record<'broker' | 'redis', ComposeService>;
  volumes: Record<string, unknown>;
};

/** All that stands outside the build, run where a Docker engine would put it: what the Dockerfile says, step by step. */
describe('the container image', () => {
  let dir: string;
  /** The root of each stage's file system, by name; that of the last one is `image`. */
  const roots = new Map<string, string>();
  const image = (): string => join(roots.get('image') ?? '', 'app');
  const children: ChildProcess[] = [];

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'lessor-image-'));
    for (const stage of stages) build(stage);
  });

  after(() => rmSync(dir, { recursive: true, force: true }));

  /** Follows the steps of a stage; /app and /data become folders of its root. */
  function build(stage: Stage): void {
    const root = join(dir, stage.name ?? 'image');
    roots.set(stage.name ?? 'image', root);
    let workdir = root;
    for (const { name, rest } of stage.instructions) {
      if (name === 'WORKDIR') mkdirSync((workdir = join(root, rest)), { recursive: true });
      if (name === 'RUN' && rest.startsWith('install ')) {
        // Only root may make the folder of another user.
        assert.equal(rest, 'install -d -o node -g node /data');
        mkdirSync(join(root, 'data'));
      } else if (name === 'RUN') {
        const env = { ...TOOL_ENV, npm_config_prefer_offline: 'true', npm_config_audit: 'false' };
        const { code, output } = run('sh', ['-c', rest], { cwd: workdir, env });
        assert.equal(code, 0, `RUN ${rest}\n${output}`);
      }
      if (name === 'COPY') copy(rest, workdir);
    }
  }

  function copy(rest: string, workdir: string): void {
    const words = rest.split(/\s+/);
    const from = /^--from=(.+)$/.exec(words[0]!)?.[1];
    if (from !== undefined) words.shift();
    const target = words.pop()!;
    for (const source of words) {
      const path = join(from === undefined ? ROOT : roots.get(from)!, source);
      assert.ok(existsSync(path), `COPY ${source}: there is no such file`);
      if (from === undefined) assert.ok(sentToBuilder(source), `COPY ${source}: .dockerignore leaves it out`);
      cpSync(path, join(workdir, target.endsWith('/') ? join(target, source) : target), {
        recursive: true,
        verbatimSymlinks: true,
      });
    }
  }

  function step(name: string): string[] {
    return stages
      .at(-1)!
      .instructions.filter((instruction) => instruction.name === name)
      .map(({ rest }) => rest);
  }

  /** The environment of the image, its paths those of the folder that stands for it. */
  function imageEnvironment(): Record<string, string> {
    const pairs = step('ENV')
      .flatMap((rest) => rest.split(/\s+/))
      .map((pair) => pair.split('=') as [string, string]);
    return Object.fromEntries(pairs.map(([key, value]) => [key, value.replace('/data', join(image(), '../data'))]));
  }

  /** Runs the image's CMD. @returns the port it listens on, or null when it ended instead */
  async function start(
    env: Record<string, string>,
  ): Promise<{ child: ChildProcess; output: () => string; port: string | null }> {
    const [command, ...args] = execForm({ name: 'CMD', rest: step('CMD')[0]! });
    const child = spawn(command!, args, {
      cwd: image(),
      env: { PATH: TOOL_ENV['PATH'], LESSOR_PORT: '0', ...imageEnvironment(), ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.push(child);
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    await until(() => text.includes('/ack') || child.exitCode !== null, {
      timeoutMs: START_TIMEOUT_MS,
      what: 'it starts',
    });
    return { child, output: () => text, port: /API +http:\S+:(\d+)/.exec(text)?.[1] ?? null };
  }

  async function stop(child: ChildProcess): Promise<void> {
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
    assert.equal(child.exitCode, 0);
  }

  after(() => {
    for (const child of children) child.kill('SIGKILL');
  });

  test('it runs as an unprivileged user, and keeps its data in a volume', () => {
    assert.deepEqual(step('USER'), ['node']);
    assert.deepEqual(step('VOLUME'), ['/data']);
    assert.match(imageEnvironment()['LESSOR_STORE']!, /data\/lessor\.db$/);
  });

  test('it holds what runs and nothing else', () => {
    assert.deepEqual(globSync('*', { cwd: image() }).sort(), ['LICENSE', 'dist', 'node_modules', 'package.json']);
    assert.ok(!existsSync(join(image(), 'node_modules/typescript')), 'no development package is left');
  });

  test('it refuses to listen on all addresses until somebody says that this is meant', async () => {
    const { child, output } = await start({});
    assert.equal(child.exitCode, 1);
    assert.match(output(), /LESSOR_INSECURE=true/);
  });

  test('its command serves, writes to its volume alone, and its health check knows whether it is alive', async () => {
    const files = globSync('**/*', { cwd: image() }).length;
    const { child, port } = await start({ LESSOR_INSECURE: 'true' });
    const [command, ...args] = execForm({ name: 'CMD', rest: step('HEALTHCHECK')[0]! });
    const env = { PATH: TOOL_ENV['PATH'], LESSOR_PORT: port! };
    assert.equal(run(command!, args, { env }).code, 0);
    assert.ok(existsSync(join(image(), '../data/lessor.db')));
    assert.equal(globSync('**/*', { cwd: image() }).length, files);
    await stop(child);
    assert.equal(run(command!, args, { env }).code, 1);
  });

  test('compose builds this image and opens its port to this machine alone', () => {
    const { broker } = compose.services;
    assert.equal(broker.build, '.');
    assert.deepEqual(broker.ports, [`127.0.0.1:7420:${step('EXPOSE')[0]}`]);
    assert.deepEqual(broker.depends_on, { redis: { condition: 'service_healthy' } });
    assert.deepEqual(compose.services.redis.volumes, ['redis:/data']);
    assert.ok('redis' in compose.volumes);
  });

  test('compose starts a Redis that is durable and healthy, and a broker that finds it so', async (t) => {
    const { broker, redis } = compose.services;
    const [program, ...args] = redis.command!;
    assert.equal(program, 'redis-server');
    const server = await startRedis({ args });
    t.after(() => server.stop());
    const [, client, ...checkArgs] = redis.healthcheck!.test;
    const check = run(client!, ['-p', String(server.port), ...checkArgs]);
    assert.equal(check.output.trim(), 'PONG');

    const store = broker.environment!['LESSOR_STORE']!.replace('redis://redis:6379', server.url);
    const { child, port } = await start({ ...broker.environment, LESSOR_STORE: store });
    const ready = await fetch(`http://127.0.0.1:${port}/readyz?verbose`);
    assert.equal(ready.status, 200);
    assert.match(await ready.text(), /"durability": ?"always"/);
    await stop(child);
  });
});

/** Whether the whitelist of .dockerignore lets a path through. */
function sentToBuilder(path: string): boolean {
  const lines = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
  return lines.includes('*') && lines.includes(`!${path}`);
}
