import { LIMITS } from '../src/domain/limits.ts';
import { isProblemCode, PROBLEM_CODES, PROBLEMS, type ProblemCode } from '../src/domain/problems.ts';
import { operation } from '../src/http/operation.ts';
import { sendProblem } from '../src/http/problem.ts';
import { prefersHtml, problemPage } from '../src/http/problem-page.ts';
import type { Deps } from './deps.ts';
import {
  about,
  alive,
  limits,
  problemCatalogue,
  problemKind,
  problemParams,
  ready,
  readyQuery,
} from './schemas/service.ts';

const ABOUT = { name: 'lessor', docs: '/docs', openapi: '/openapi.json', limits: '/limits', problems: '/problems' };

export const getAbout = operation(
  {
    id: 'getAbout',
    tag: 'Service',
    summary: 'What is served here',
    replies: { 200: { description: 'Where to go on.', schema: about, example: { ...ABOUT, version: '0.1.0' } } },
    problems: [],
  },
  ({ version }: Deps) =>
    async () => ({ ...ABOUT, version }),
);

export const getLimits = operation(
  {
    id: 'getLimits',
    tag: 'Service',
    summary: 'Every bound of the broker',
    replies: { 200: { description: 'The limits.', schema: limits, example: LIMITS } },
    problems: [],
  },
  () => async () => LIMITS,
);

function catalogueEntry(code: ProblemCode): Record<string, unknown> {
  const { status, title, retryable, help } = PROBLEMS[code];
  return { code, type: `/problems/${code}`, status, title, retryable, help };
}

export const listProblems = operation(
  {
    id: 'listProblems',
    tag: 'Service',
    summary: 'Every error there is',
    replies: {
      200: {
        description: 'The catalogue.',
        schema: problemCatalogue,
        example: { problems: [catalogueEntry('lease_lost')] },
      },
    },
    problems: [],
  },
  () => {
    const catalogue = { problems: PROBLEM_CODES.map(catalogueEntry) };
    return async () => catalogue;
  },
);

export const getProblem = operation(
  {
    id: 'getProblem',
    tag: 'Service',
    summary: 'What an error means and what to do',
    description: 'The page that the "type" of a problem points to: HTML for browsers, JSON for everything else.',
    params: problemParams,
    replies: { 200: { description: 'The error.', schema: problemKind, example: catalogueEntry('lease_lost') } },
    problems: ['route_not_found'],
  },
  () =>
    async ({ params: { code }, headers }, reply) => {
      if (!isProblemCode(code)) {
        return sendProblem(reply, 'route_not_found', 'There is no problem of this name. GET /problems lists them.');
      }
      reply.header('vary', 'accept');
      if (!prefersHtml(headers.accept)) return catalogueEntry(code);
      return reply.header('content-type', 'text/html; charset=utf-8').send(problemPage(code));
    },
);

export const getLivez = operation(
  {
    id: 'getLivez',
    tag: 'Service',
    summary: 'Whether the process lives',
    description: 'Says nothing about the store: a process that waits for its store must not be restarted for it.',
    replies: { 200: { description: 'It does.', schema: alive, example: { status: 'ok' } } },
    problems: [],
  },
  () => async () => ({ status: 'ok' }),
);

export const getReadyz = operation(
  {
    id: 'getReadyz',
    tag: 'Service',
    summary: 'Whether to send requests here',
    query: readyQuery,
    replies: {
      200: {
        description: 'Ready.',
        schema: ready,
        example: {
          status: 'ready',
          checks: [
            { name: 'shutdown', ok: true, detail: 'running' },
            { name: 'store', ok: true, detail: 'stores and leases' },
          ],
          durability: 'full',
        },
      },
    },
    problems: ['store_unavailable', 'shutting_down'],
  },
  ({ readiness }: Deps) =>
    async ({ query: { verbose } }, reply) => {
      const { ready: isReady, checks, durability } = await readiness();
      const more = verbose ? { checks, durability } : {};
      reply.header('cache-control', 'no-store');
      if (isReady) return { status: 'ready', ...more };
      const failed = checks.find(({ ok }) => !ok);
      const code = failed?.name === 'shutdown' ? 'shutting_down' : 'store_unavailable';
      return sendProblem(reply, code, failed?.detail ?? PROBLEMS[code].help, undefined, more);
    },
);
