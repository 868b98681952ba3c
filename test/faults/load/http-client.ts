import { Agent, request } from 'node:http';

export interface HttpReply {
  status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- the routes promise its shape, and the checker finds what is not as it should be
  body: any;
}

/** No reply: it is not known what became of the request. */
export class NoReply extends Error {
  override readonly name = 'NoReply';
}

/** JSON over kept-alive connections. Sends nothing twice. */
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

  close(): void {
    this.#agent.destroy();
  }
}
