import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface HttpReply {
  status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- the routes promise its shape, and the checker finds what is not as it should be
  body: any;
}

/** No reply: it is not known what became of the request. */
export class NoReply extends Error {
  override readonly name = 'NoReply';
}

/** How long a call is repeated whose outcome stays unknown, and after what pause. */
export const REPEAT = { forMs: 45_000, pauseMs: 100 };

/** JSON over kept-alive connections. Sends nothing twice unless it is told to. */
export class HttpClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });

  /**
   * @param timeoutMs from now to the last byte of the reply
   * @throws NoReply
   */
  call(method: string, url: string, body: unknown, options: { timeoutMs: number; headers?: Record<string, string> }) {
    const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
    const text = body === undefined ? '' : JSON.stringify(body);
    const json =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const sent = request(url, { method, agent: this.#agent, headers: { ...json, ...options.headers } });
    const timer = setTimeout(() => sent.destroy(new Error('timeout')), options.timeoutMs);
    const lost = (error: Error): void => {
      clearTimeout(timer);
      reject(new NoReply(error.message));
    };
    sent.on('error', lost);
    sent.on('response', (reply) => {
      let received = '';
      reply.setEncoding('utf8').on('data', (chunk: string) => (received += chunk));
      reply.on('error', lost);
      reply.on('aborted', () => lost(new Error('cut off')));
      reply.on('end', () => {
        clearTimeout(timer);
        try {
          resolve({ status: reply.statusCode ?? 0, body: received === '' ? null : JSON.parse(received) });
        } catch {
          reject(new NoReply('a reply that is no JSON'));
        }
      });
    });
    sent.end(text);
    return promise;
  }

  /**
   * Makes a call that may be made twice until its outcome is known.
   * @returns the last reply, and whether there was a call before it
   * @throws NoReply when there was none up to the end
   */
  async insist(
    method: string,
    url: string,
    body: unknown,
    options: { timeoutMs: number; headers?: Record<string, string> },
  ): Promise<HttpReply & { again: boolean }> {
    const until = performance.now() + REPEAT.forMs;
    for (let again = false; ; again = true) {
      const last = performance.now() > until;
      try {
        const reply = await this.call(method, url, body, options);
        if (last || !isUnknown(reply.status)) return { ...reply, again };
      } catch (error) {
        if (last || !(error instanceof NoReply)) throw error;
      }
      await sleep(REPEAT.pauseMs);
    }
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Whether a reply tells nothing of what became of its call, so that it is to be made again. 500 is a fault of the broker. */
function isUnknown(status: number): boolean {
  return status === 429 || (status > 500 && status !== 507);
}
