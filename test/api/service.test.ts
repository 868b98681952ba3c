import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LIMITS } from '../../src/domain/limits.ts';
import { PROBLEM_CODES, PROBLEMS } from '../../src/domain/problems.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { ApiApp, assertInvalid, assertProblem, VERSION } from './api-app.ts';

describe('the service itself', () => {
  const harness = STORE_HARNESSES.sqlite();
  let app: ApiApp;
  before(async () => {
    app = await ApiApp.start(harness);
  });
  after(async () => {
    await app.stop();
    await harness.stop();
  });

  test('GET / says where to go on', async () => {
    const { text, status } = await app.get('/');
    assert.equal(status, 200);
    const { name, version, ...paths } = JSON.parse(text) as Record<string, string>;
    assert.deepEqual([name, version], ['lessor', VERSION]);
    assert.equal(Object.keys(paths).length, 4);
    for (const path of Object.values(paths)) assert.equal((await app.get(path)).status, 200, path);
  });

  test('GET /limits tells every bound', async () => {
    const { body } = await app.get('/limits');
    assert.deepEqual(body, LIMITS);
    assert.equal(body.maxPayloadBytes, 262_144);
    assert.equal(body.maxBodyBytes, 8_388_608);
  });

  test('GET /livez asks nothing of the store', async () => {
    app.readiness.value = { ...app.readiness.value, ready: false };
    assert.deepEqual((await app.get('/livez')).body, { status: 'ok' });
    assert.equal((await app.call('HEAD', '/livez')).status, 200);
    app.readiness.value = { ...app.readiness.value, ready: true };
  });

  test('GET /readyz tells the checks and the durability only when asked', async () => {
    const ready = app.readiness.value;
    assert.deepEqual((await app.get('/readyz')).body, { status: 'ready' });
    for (const query of ['?verbose', '?verbose=true', '?verbose=']) {
      const { body } = await app.get(`/readyz${query}`);
      assert.deepEqual(body, { status: 'ready', checks: ready.checks, durability: 'full' });
    }
    assert.deepEqual((await app.get('/readyz?verbose=false')).body, { status: 'ready' });
    assertInvalid(await app.get('/readyz?verbose=1'), '/verbose');
    assertInvalid(await app.get('/readyz?v'), '/v');
  });

  test('GET /readyz is a problem while the store fails or the process drains', async () => {
    const ready = app.readiness.value;
    const checks = [
      { name: 'shutdown', ok: true, detail: 'running' },
      { name: 'store', ok: false, detail: 'does not answer' },
    ] as const;
    app.readiness.value = { ready: false, checks, durability: null };
    const failing = await app.get('/readyz?verbose');
    assertProblem(failing, 503, 'store_unavailable');
    assert.deepEqual(failing.body.checks, checks);
    assert.equal(failing.body.durability, null);
    assert.match(String(failing.headers['retry-after']), /^\d+$/);
    assert.equal((await app.get('/readyz')).body.checks, undefined);

    app.readiness.value = {
      ready: false,
      checks: [{ name: 'shutdown', ok: false, detail: 'draining' }],
      durability: 'full',
    };
    const draining = await app.get('/readyz');
    assertProblem(draining, 503, 'shutting_down');
    assert.equal(draining.body.detail, 'draining');
    app.readiness.value = ready;
  });

  test('every code has an entry and a page, as JSON for programs and HTML for browsers', async () => {
    const { body } = await app.get('/problems');
    assert.deepEqual(
      body.problems.map(({ code }) => code),
      PROBLEM_CODES,
    );
    for (const code of PROBLEM_CODES) {
      const { body: entry } = await app.get(`/problems/${code}`);
      assert.deepEqual(entry, { code, type: `/problems/${code}`, ...PROBLEMS[code] });
      const page = await app.get(`/problems/${code}`, { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' });
      assert.match(String(page.headers['content-type']), /^text\/html/);
      assert.match(page.text, new RegExp(`<code>${code}</code>, HTTP status ${PROBLEMS[code].status}`));
      assert.equal(page.headers['vary'], 'accept');
    }
    assertProblem(await app.get('/problems/nonsense'), 404, 'route_not_found');
    assertProblem(await app.get('/problems/constructor'), 404, 'route_not_found');
  });

  test('a page is chosen by the Accept header, JSON unless HTML is wanted more', async () => {
    const wants = async (accept: string): Promise<string> =>
      String((await app.get('/problems/lease_lost', { accept })).headers['content-type']).split(';')[0] ?? '';
    assert.equal(await wants('*/*'), 'application/json');
    assert.equal(await wants('application/json'), 'application/json');
    assert.equal(await wants('application/json, text/html;q=0.5'), 'application/json');
    assert.equal(await wants('TEXT/HTML'), 'text/html');
    assert.equal(await wants('text/html;q=0'), 'application/json');
  });

  test('pages run no inline script, load nothing from elsewhere and cannot be framed', async () => {
    const html = { accept: 'text/html' };
    for (const path of ['/docs', '/docs/', '/problems/lease_lost']) {
      const { headers, text, status } = await app.get(path, html);
      assert.equal(status, 200);
      const policy = String(headers['content-security-policy']);
      assert.match(policy, /default-src 'none'/);
      assert.match(policy, /frame-ancestors 'none'/);
      assert.doesNotMatch(policy, /unsafe|https?:|upgrade-insecure/);
      assert.doesNotMatch(text, /<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|(?:src|href)="(?:https?:)?\/\//);
      assert.equal(headers['strict-transport-security'], undefined);
    }
  });

  test('everything that /docs loads is served', async () => {
    const { text } = await app.get('/docs/');
    const assets = [...text.matchAll(/(?:src|href)="\.?([^"]+)"/g)].map(([, path]) => `/docs${path}`);
    assert.ok(assets.length >= 5);
    for (const path of [...assets, '/docs/json']) {
      const reply = await app.get(path);
      assert.equal(reply.status, 200, path);
      assert.equal(reply.headers['x-content-type-options'], 'nosniff');
    }
    assertProblem(await app.get('/docs/static/nonsense.js'), 404, 'route_not_found');
  });

  test('what /docs loads is not sent again to whoever has it, and HEAD says how long it is', async () => {
    const path = '/docs/static/swagger-ui.css';
    const whole = await app.get(path);
    const again = await app.get(path, { 'if-none-match': String(whole.headers['etag']) });
    assert.equal(again.status, 304);
    assert.equal(again.text, '');
    const head = await app.call('HEAD', path);
    assert.equal(head.status, 200);
    assert.equal(head.text, '');
    assert.equal(head.headers['content-length'], whole.headers['content-length']);
  });

  test('GET /openapi.json is what /docs shows', async () => {
    const [one, other] = [await app.get('/openapi.json'), await app.get('/docs/json')];
    assert.equal(one.body.openapi, '3.1.0');
    assert.equal(one.body.info.version, VERSION);
    assert.deepEqual(one.body, other.body);
  });
});
