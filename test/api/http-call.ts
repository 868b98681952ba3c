import { once } from 'node:events';
import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from 'node:http';
import type { Body } from './api-app.ts';

export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  /** As it came. */
  text: string;
  /** Parsed, where it is JSON; then each test knows which of these fields there are. */
  body: Body;
}

export interface CallOptions {
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is, as JSON unless headers say otherwise. */
  raw?: string | Buffer;
  headers?: Record<string, string>;
}

/** A call on a connection of its own, which has been sent off. */
export class HttpCall {
  /** Fails when the connection ends first. */
  readonly reply: Promise<Reply>;
  readonly #request: ClientRequest;

  constructor(url: string, method: string, options: CallOptions) {
    const raw = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    this.#request = httpRequest(url, {
      method,
      agent: false,
      headers: {
        ...(raw === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(raw) }),
        ...options.headers,
      },
    });
    // A refusal may come, and the connection end, before a large body has been sent.
    this.#request.on('error', () => {});
    this.reply = read(this.#request);
    // A call that is cut off by its test has no reply that anybody waits for.
    this.reply.catch(() => {});
    this.#request.end(raw);
  }

  /** Ends the connection, as a client does that goes away. */
  hangUp(): void {
    this.#request.destroy();
  }
}

async function read(request: ClientRequest): Promise<Reply> {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const isJson = String(response.headers['content-type']).includes('json') && text !== '';
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text,
    body: isJson ? (JSON.parse(text) as Body) : ({} as Body),
  };
}
