import assert from 'node:assert/strict';
import { STATUS_CODES } from 'node:http';
import { describe, it } from 'node:test';
import { isProblemCode, PROBLEM_CODES, PROBLEMS } from '../../src/domain/problems.ts';

/** The catalogue as it is published: codes are added to, never renamed or given another status. */
const PUBLISHED: Record<number, string> = {
  400: 'malformed_request',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'task_not_found queue_not_found operation_not_found route_not_found',
  405: 'method_not_allowed',
  409: 'lease_lost already_settled task_cancelled task_active not_redrivable unique_conflict queue_not_empty',
  413: 'payload_too_large',
  415: 'unsupported_media_type',
  422: 'validation_failed idempotency_key_reused',
  429: 'queue_full rate_limited too_many_waiters',
  500: 'internal_error',
  503: 'store_unavailable shutting_down',
  507: 'store_full',
};

describe('the catalogue of problems', () => {
  it('has the published codes, each with its status', () => {
    const published = Object.entries(PUBLISHED).flatMap(([status, codes]) =>
      codes.split(' ').map((code) => [code, Number(status)]),
    );
    assert.deepEqual(Object.fromEntries(PROBLEM_CODES.map((code) => [code, PROBLEMS[code].status])), {
      ...Object.fromEntries(published),
    });
  });

  it('says for every code what it is and what to do, in whole sentences', () => {
    for (const code of PROBLEM_CODES) {
      const { title, help, status } = PROBLEMS[code];
      assert.match(code, /^[a-z]+(_[a-z]+)*$/);
      assert.match(title, /^[A-Z][A-Za-z ]+[a-z]$/, code);
      assert.match(help, /^[A-Z].{20,}\.$/s, code);
      assert.doesNotMatch(help, /\n/, code);
      assert.ok(STATUS_CODES[status], code);
    }
    assert.equal(new Set(PROBLEM_CODES.map((code) => PROBLEMS[code].title)).size, PROBLEM_CODES.length);
  });

  it('calls only 429 and 5xx worth another try', () => {
    for (const code of PROBLEM_CODES) {
      const { status, retryable } = PROBLEMS[code];
      assert.equal(retryable, status === 429 || status >= 500, code);
    }
  });

  it('knows its codes, and nothing that every object has', () => {
    assert.ok(PROBLEM_CODES.every(isProblemCode));
    for (const code of ['', 'lease', 'constructor', 'toString', '__proto__']) assert.equal(isProblemCode(code), false);
  });
});
