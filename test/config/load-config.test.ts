import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Config, type LoadedConfig, loadConfig } from '../../src/config.ts';

interface Input {
  argv?: string[];
  env?: Record<string, string>;
  files?: Record<string, string>;
}

function load({ argv = [], env = {}, files = {} }: Input = {}): LoadedConfig {
  return loadConfig({
    argv,
    env,
    readFile(path) {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      if (text === 'EACCES') throw Object.assign(new Error('denied'), { code: 'EACCES' });
      return text;
    },
  });
}

function loaded(input?: Input): Config {
  const result = load(input);
  assert.equal(result.outcome, 'loaded', 'errors' in result ? result.errors.join('\n') : result.outcome);
  return result.config;
}

function errors(input: Input): readonly string[] {
  const result = load(input);
  assert.equal(result.outcome, 'refused');
  for (const line of result.errors) assert.doesNotMatch(line, /\n/);
  return result.errors;
}

describe('where settings come from', () => {
  it('defaults to an embedded store on loopback', () => {
    assert.deepEqual(loaded(), {
      host: '127.0.0.1',
      port: 7420,
      store: { driver: 'sqlite', path: './data/lessor.db', durability: 'full' },
      logLevel: 'info',
      maxWaiters: 20_000,
      shutdownMs: 15_000,
      insecure: false,
    });
  });

  it('takes flags over variables over the file over defaults', () => {
    const files = { 'lessor.json': '{"port": 1, "maxWaiters": 1, "shutdownMs": 1000, "logLevel": "warn"}' };
    const env = { LESSOR_PORT: '2', LESSOR_MAX_WAITERS: '2', LESSOR_SHUTDOWN_MS: '2000' };
    const config = loaded({ files, env, argv: ['--port', '3', '--max-waiters=3'] });
    assert.equal(config.port, 3);
    assert.equal(config.maxWaiters, 3);
    assert.equal(config.shutdownMs, 2000);
    assert.equal(config.logLevel, 'warn');
    assert.equal(config.host, '127.0.0.1');
  });

  it('reads every setting from each of the three sources', () => {
    const expected: Config = {
      host: '::1',
      port: 0,
      store: { driver: 'redis', url: 'rediss://u:p@redis:6380/3', prefix: 'jobs:eu', shards: 8, durability: 'default' },
      logLevel: 'debug',
      maxWaiters: 10,
      shutdownMs: 500,
      insecure: true,
    };
    const url = 'rediss://u:p@redis:6380/3';
    const flags = `--host ::1 --port 0 --store ${url} --durability default --prefix jobs:eu --shards 8`;
    const more = '--log-level debug --max-waiters 10 --shutdown-ms 500 --insecure';
    assert.deepEqual(loaded({ argv: `${flags} ${more}`.split(' ') }), expected);
    const env = {
      LESSOR_HOST: '::1',
      LESSOR_PORT: '0',
      LESSOR_STORE: url,
      LESSOR_DURABILITY: 'default',
      LESSOR_PREFIX: 'jobs:eu',
      LESSOR_SHARDS: '8',
      LESSOR_LOG_LEVEL: 'debug',
      LESSOR_MAX_WAITERS: '10',
      LESSOR_SHUTDOWN_MS: '500',
      LESSOR_INSECURE: 'true',
    };
    assert.deepEqual(loaded({ env }), expected);
    const file = {
      host: '::1',
      port: 0,
      store: url,
      durability: 'default',
      prefix: 'jobs:eu',
      shards: 8,
      logLevel: 'debug',
      maxWaiters: 10,
      shutdownMs: 500,
      insecure: true,
    };
    assert.deepEqual(loaded({ files: { 'lessor.json': JSON.stringify(file) } }), expected);
  });

  it('accepts numbers and booleans written as text in the file', () => {
    const config = loaded({ files: { 'lessor.json': '\uFEFF{"port": "8080", "insecure": "false"}' } });
    assert.equal(config.port, 8080);
    assert.equal(config.insecure, false);
  });

  it('reads the file that --config names rather than the one that LESSOR_CONFIG names', () => {
    const files = { 'a.json': '{"port": 1}', 'b.json': '{"port": 2}', 'lessor.json': '{"port": 3}' };
    assert.equal(loaded({ files, env: { LESSOR_CONFIG: 'a.json' } }).port, 1);
    assert.equal(loaded({ files, env: { LESSOR_CONFIG: 'a.json' }, argv: ['--config', 'b.json'] }).port, 2);
    assert.equal(loaded({ files }).port, 3);
  });

  it('needs a file that was asked for, and one that is there to be readable', () => {
    assert.deepEqual(errors({ argv: ['--config=none.json'] }), ['none.json cannot be read: there is no such file']);
    assert.deepEqual(errors({ files: { 'lessor.json': 'EACCES' } }), [
      'lessor.json cannot be read: this user may not read it',
    ]);
  });

  it('ignores variables of other programs', () => {
    loaded({ env: { PORT: 'x', HOST: 'y', LESSORS: 'z', REDIS_URL: 'q' } });
  });

  it('answers --help and --version whatever else is wrong', () => {
    assert.equal(load({ argv: ['--prot', '1', '--help'] }).outcome, 'help');
    assert.equal(load({ argv: ['-h'] }).outcome, 'help');
    assert.equal(load({ argv: ['--version'], env: { LESSOR_PORT: 'x' } }).outcome, 'version');
  });
});

describe('what is unknown is refused, and what was meant is said', () => {
  const cases: [Input, string][] = [
    [{ env: { LESSOR_PROT: '1' } }, 'LESSOR_PROT is not a setting; did you mean LESSOR_PORT?'],
    [{ env: { LESSOR_LOGLEVEL: 'info' } }, 'LESSOR_LOGLEVEL is not a setting; did you mean LESSOR_LOG_LEVEL?'],
    [{ env: { LESSOR_WAITERS: '1' } }, 'LESSOR_WAITERS is not a setting; did you mean LESSOR_MAX_WAITERS?'],
    [{ env: { LESSOR_FROBNICATE: '1' } }, 'LESSOR_FROBNICATE is not a setting; --help lists them'],
    [{ env: { LESSOR_CONFIGS: '1' } }, 'LESSOR_CONFIGS is not a setting; did you mean LESSOR_CONFIG?'],
    [{ argv: ['--prot', '1'] }, '--prot is not a setting; did you mean --port?'],
    [{ argv: ['--maxWaiters=1'] }, '--maxWaiters is not a setting; did you mean --max-waiters?'],
    [{ argv: ['--hepl'] }, '--hepl is not a setting; did you mean --help?'],
    [{ argv: ['--zzzzzz=1'] }, '--zzzzzz is not a setting; --help lists them'],
    [{ argv: ['serve'] }, '"serve" is not a flag: settings are given as --name value; --help lists them'],
    [{ argv: ['-p', '--port=1'] }, '"-p" is not a flag: settings are given as --name value; --help lists them'],
    [
      { files: { 'lessor.json': '{"max_waiters": 1}' } },
      'lessor.json: "max_waiters" is not a setting; did you mean "maxWaiters"?',
    ],
    [{ files: { 'lessor.json': '{"zzzzzz": 1}' } }, 'lessor.json: "zzzzzz" is not a setting; --help lists them'],
    [
      { files: { 'lessor.json': '{"LESSOR_PORT": 1}' } },
      'lessor.json: "LESSOR_PORT" is not a setting; did you mean "port"?',
    ],
  ];
  for (const [input, line] of cases) {
    it(line, () => {
      assert.deepEqual(errors(input), [line]);
    });
  }
});

describe('a bad value is refused with where it came from', () => {
  const port = 'is not a whole number from 0 to 65535';
  const cases: [Input, string][] = [
    [{ env: { LESSOR_PORT: '99999' } }, `LESSOR_PORT: "99999" ${port}`],
    [{ env: { LESSOR_PORT: ' 80' } }, `LESSOR_PORT: " 80" ${port}`],
    [{ env: { LESSOR_PORT: '1e3' } }, `LESSOR_PORT: "1e3" ${port}`],
    [{ argv: ['--port=-1'] }, `--port: "-1" ${port}`],
    [{ argv: ['--port', '0x10'] }, `--port: "0x10" ${port}`],
    [{ files: { 'lessor.json': '{"port": 1.5}' } }, `lessor.json: "port": 1.5 ${port}`],
    [{ files: { 'lessor.json': '{"port": null}' } }, `lessor.json: "port": null ${port}`],
    [{ argv: ['--shards=0'] }, '--shards: "0" is not a whole number from 1 to 1024'],
    [{ argv: ['--max-waiters=0'] }, '--max-waiters: "0" is not a whole number from 1 to 1000000'],
    [{ argv: ['--shutdown-ms=5'] }, '--shutdown-ms: "5" is not a whole number from 100 to 600000'],
    [{ argv: ['--insecure=1'] }, '--insecure: "1" is not true or false'],
    [
      { env: { LESSOR_LOG_LEVEL: 'loud' } },
      'LESSOR_LOG_LEVEL: "loud" is not a log level: use fatal, error, warn, info, debug, trace, silent',
    ],
    [
      { env: { LESSOR_PREFIX: 'a{b}' } },
      'LESSOR_PREFIX: "a{b}" is not a prefix: use 1–64 letters, digits and . _ : - after the first',
    ],
    [
      { env: { LESSOR_HOST: '[::1]' } },
      'LESSOR_HOST: "[::1]" is not an IP address or a host name (no port, no brackets)',
    ],
    [{ files: { 'lessor.json': '{"host": true}' } }, 'lessor.json: "host": true is not an address'],
    [{ env: { LESSOR_PORT: '' } }, 'LESSOR_PORT is empty: give it a value or remove it'],
    [{ argv: ['--port'] }, '--port needs a value'],
    [{ argv: ['--port='] }, '--port needs a value'],
    [{ argv: ['--port', '--insecure'] }, '--port needs a value'],
    [{ argv: ['--port=1', '--port=2'] }, '--port is given more than once'],
    [{ files: { 'lessor.json': '[]' } }, 'lessor.json is not a JSON object of settings, such as {"port": 7420}'],
    [
      { env: { LESSOR_KEYS_FILE: 'keys.json' } },
      'LESSOR_KEYS_FILE: "keys.json" cannot be used: this version does not check API keys yet; remove the setting',
    ],
  ];
  for (const [input, line] of cases) {
    it(line, () => {
      assert.deepEqual(errors(input), [line]);
    });
  }

  it('names the line of broken JSON and never quotes it', () => {
    const text = '{\n  "store": "redis://:hunter2@redis",\n  "port" 1\n}';
    assert.deepEqual(errors({ files: { 'lessor.json': text } }), ['lessor.json is not JSON: look at line 3 column 10']);
    const [line = ''] = errors({ files: { 'lessor.json': '"hunter2' } });
    assert.match(line, /^lessor\.json is not JSON/);
    assert.doesNotMatch(line, /hunter2/);
  });

  it('tells all faults at once, each on a line of its own', () => {
    const files = { 'lessor.json': '{"prot": 1, "shards": -1}' };
    const env = { LESSOR_PROT: '1', LESSOR_PORT: 'x', LESSOR_HOST: '0.0.0.0', LESSOR_DURABILITY: 'default' };
    assert.deepEqual(
      errors({ files, env, argv: ['--what'] }).map((line) => line.split(' ')[0]),
      ['--what', 'LESSOR_PROT', 'lessor.json:', 'LESSOR_PORT:', 'lessor.json:', 'LESSOR_HOST:', 'LESSOR_DURABILITY:'],
    );
  });
});

describe('values from files', () => {
  const files = { '/run/store': 'redis://:hunter2@redis:6379\n', '/run/empty': '\n', '/run/bad': 'hunter2\r\n' };

  it('reads LESSOR_STORE from the file that LESSOR_STORE_FILE names, without the last line break', () => {
    const { store } = loaded({ files, env: { LESSOR_STORE_FILE: '/run/store' } });
    assert.deepEqual(store, {
      driver: 'redis',
      url: 'redis://:hunter2@redis:6379',
      prefix: 'lessor',
      shards: 64,
      durability: 'default',
    });
  });

  it('serves every other setting, LESSOR_PORT_FILE included', () => {
    assert.equal(
      loaded({ files: { p: '81' }, env: { LESSOR_PORT_FILE: 'p', LESSOR_PORT: 'tcp://10.0.0.1:80' } }).port,
      81,
    );
  });

  it('lets a flag win over it', () => {
    const { store } = loaded({ files, env: { LESSOR_STORE_FILE: '/run/store' }, argv: ['--store', 'sqlite:a.db'] });
    assert.equal(store.driver, 'sqlite');
  });

  it('refuses a value that is given twice, is missing, or is empty', () => {
    assert.deepEqual(errors({ files, env: { LESSOR_STORE: 'sqlite:a', LESSOR_STORE_FILE: '/run/store' } }), [
      'LESSOR_STORE and LESSOR_STORE_FILE are both set: remove one of them',
    ]);
    assert.deepEqual(errors({ files, env: { LESSOR_STORE_FILE: '/run/none' } }), [
      'LESSOR_STORE_FILE: /run/none cannot be read: there is no such file',
    ]);
    assert.deepEqual(errors({ files, env: { LESSOR_STORE_FILE: '/run/empty' } }), [
      'LESSOR_STORE_FILE: /run/empty is empty',
    ]);
  });

  it('never repeats what a secret file or a store URL holds', () => {
    for (const input of [
      { files, env: { LESSOR_STORE_FILE: '/run/bad' } },
      { files, env: { LESSOR_PORT_FILE: '/run/bad' } },
      { env: { LESSOR_STORE: 'rediss//:hunter2@redis' } },
      { env: { LESSOR_STORE: 'redis+sentinel://:hunter2@a:1' } },
      { env: { LESSOR_STORE: 'redis+cluster://:hunter2/@a:1' } },
      { argv: ['--store=redis://:hunter2/@redis'] },
      { files: { 'lessor.json': '{"store": "postgres://u:hunter2@db"}' } },
      { files: { 'lessor.json': '{"store": ["hunter2"]}' } },
    ]) {
      const [line = '', ...more] = errors(input);
      assert.deepEqual(more, []);
      assert.doesNotMatch(line, /hunter2/);
    }
  });
});

describe('what Kubernetes injects for a Service is ignored', () => {
  it('when the Service is named lessor', () => {
    const config = loaded({
      env: {
        LESSOR_SERVICE_HOST: '10.0.0.1',
        LESSOR_SERVICE_PORT: '7420',
        LESSOR_SERVICE_PORT_HTTP: '7420',
        LESSOR_PORT: 'tcp://10.0.0.1:7420',
        LESSOR_PORT_7420_TCP: 'tcp://10.0.0.1:7420',
        LESSOR_PORT_7420_TCP_PROTO: 'tcp',
        LESSOR_PORT_7420_TCP_PORT: '7420',
        LESSOR_PORT_7420_TCP_ADDR: '10.0.0.1',
      },
    });
    assert.equal(config.port, 7420);
  });

  it('when the name only begins with lessor', () => {
    loaded({
      env: {
        LESSOR_REDIS_SERVICE_HOST: '10.0.0.1',
        LESSOR_REDIS_SERVICE_PORT: '6379',
        LESSOR_REDIS_SERVICE_PORT_REDIS: '6379',
        LESSOR_REDIS_PORT: 'tcp://10.0.0.1:6379',
        LESSOR_REDIS_PORT_6379_TCP: 'tcp://10.0.0.1:6379',
        LESSOR_REDIS_PORT_6379_TCP_ADDR: '10.0.0.1',
      },
    });
  });

  it('but a flag of that form is a bad port', () => {
    assert.equal(errors({ argv: ['--port', 'tcp://10.0.0.1:7420'] }).length, 1);
  });
});

describe('who can connect', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', 'localhost', 'LOCALHOST']) {
    it(`${host} is loopback and needs nothing`, () => {
      loaded({ env: { LESSOR_HOST: host } });
    });
  }

  for (const host of [
    '0.0.0.0',
    '::',
    '10.1.2.3',
    '128.0.0.1',
    'fe80::1',
    'broker.example.com',
    'localhost.example.com',
  ]) {
    it(`${host} is refused unless LESSOR_INSECURE=true`, () => {
      assert.deepEqual(errors({ argv: ['--host', host] }), [
        `--host: "${host}" can be reached from other machines, and no API keys are checked: use 127.0.0.1, or set LESSOR_INSECURE=true to serve whoever can connect`,
      ]);
      assert.equal(errors({ argv: ['--host', host, '--insecure=false'] }).length, 1);
      assert.equal(loaded({ argv: ['--host', host], env: { LESSOR_INSECURE: 'true' } }).host, host);
      assert.equal(loaded({ argv: ['--insecure', '--host', host] }).host, host);
    });
  }
});

describe('the store', () => {
  const store = (url: string): Config['store'] => loaded({ env: { LESSOR_STORE: url } }).store;
  const fault = (url: string): string => errors({ env: { LESSOR_STORE: url } }).join('\n');

  it('is a file or memory with sqlite', () => {
    const durability = 'full';
    assert.deepEqual(store('sqlite:/var/lib/a b.db'), { driver: 'sqlite', path: '/var/lib/a b.db', durability });
    assert.deepEqual(store('sqlite:rel/x.db'), { driver: 'sqlite', path: 'rel/x.db', durability });
    assert.deepEqual(store('SQLite::memory:'), { driver: 'sqlite', path: ':memory:', durability });
  });

  it('is one server with redis and rediss', () => {
    for (const url of ['redis://localhost', 'redis://u:p%23@h:1/15', 'rediss://[::1]:6379/', 'redis://h/0']) {
      assert.deepEqual(store(url), { driver: 'redis', url, prefix: 'lessor', shards: 64, durability: 'default' });
    }
  });

  it('is several servers with redis+sentinel and redis+cluster', () => {
    for (const url of [
      'redis+sentinel://a:1,b:2/main',
      'redis+sentinel://u:p%2C%40@a,[::1]:26379/my-master.1',
      'rediss+sentinel://a:1/m',
      'redis+cluster://a:1',
      'redis+cluster://:p@10.0.0.1:1,b:2/',
      'rediss+cluster://a:1,b',
    ]) {
      assert.deepEqual(store(url), { driver: 'redis', url, prefix: 'lessor', shards: 64, durability: 'default' });
    }
  });

  const grammar =
    'LESSOR_STORE: the value is not a store: use sqlite:PATH, sqlite::memory:, redis://HOST:PORT, rediss://HOST:PORT, redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY or redis+cluster://HOST:PORT,HOST:PORT';
  for (const url of ['postgres://db', 'lessor.db', './data/x.db', 'memory', 'http://h', 'redi://h']) {
    it(`${url} is refused with the grammar`, () => {
      assert.equal(fault(url), grammar);
    });
  }

  for (const [url, words] of [
    ['sqlite:', /names no file/],
    ['sqlite:///var/x.db', /starts with sqlite:\/\/: write the path right after the colon/],
    ['sqlite::memory', /sqlite::memory: for memory only/],
    ['redis:', /is not a Redis URL/],
    ['redis:localhost', /is not a Redis URL/],
    ['redis:///0', /is not a Redis URL/],
    ['redis://h:99999', /is not a Redis URL/],
    ['redis://h/main', /names no Redis database/],
    ['redis://h/0?tls=true', /holds a \? or #/],
    ['redis://h/0#x', /holds a \? or #/],
    ['redis+sentinel://a:1,b:2', /does not say what the Sentinels call the primary/],
    ['redis+sentinel://a:1/m/0', /is not a Redis URL: use redis\+sentinel:\/\/HOST:PORT,HOST:PORT\/PRIMARY/],
    ['redis+sentinel:///m', /is not a Redis URL/],
    ['redis+cluster://', /is not a Redis URL: use redis\+cluster:\/\/HOST:PORT,HOST:PORT/],
    ['redis+cluster://a:1,,b:2', /names servers that are not HOST:PORT/],
    ['redis+cluster://a:99999', /names servers that are not HOST:PORT/],
    ['redis+cluster://a:1/0', /names a database/],
    ['redis+cluster://a:1?x=1', /is not a Redis URL/],
  ] as const) {
    it(`${url} is refused`, () => {
      assert.match(fault(url), words);
    });
  }

  it('takes full or normal durability with sqlite, and default or replicated:N with Redis', () => {
    const env = (LESSOR_STORE: string, LESSOR_DURABILITY: string) => ({ env: { LESSOR_STORE, LESSOR_DURABILITY } });
    assert.equal(loaded(env('sqlite:a', 'full')).store.durability, 'full');
    assert.equal(loaded(env('sqlite:a', 'normal')).store.durability, 'normal');
    assert.equal(loaded(env('redis://h', 'default')).store.durability, 'default');
    assert.deepEqual(errors(env('sqlite:a', 'default')), [
      'LESSOR_DURABILITY: "default" is for Redis, and the store is sqlite: use full or normal',
    ]);
    assert.equal(loaded(env('redis://h', 'replicated:1')).store.durability, 'replicated:1');
    assert.equal(loaded(env('rediss://h', 'replicated:12')).store.durability, 'replicated:12');
    assert.deepEqual(errors(env('redis://h', 'full')), [
      'LESSOR_DURABILITY: "full" is for sqlite, and the store is Redis: use default, which is as durable as Redis is configured, or replicated:N',
    ]);
    assert.deepEqual(errors(env('sqlite:a', 'replicated:1')), [
      'LESSOR_DURABILITY: "replicated:1" is for Redis, and the store is sqlite: use full or normal',
    ]);
    for (const level of ['fast', 'replicated', 'replicated:', 'replicated:0', 'replicated:01', 'replicated:100']) {
      assert.deepEqual(errors(env('redis://h', level)), [
        `LESSOR_DURABILITY: "${level}" is not a durability: use full or normal (sqlite), or default or replicated:N (Redis), N being 1–99 replicas`,
      ]);
    }
  });
});
