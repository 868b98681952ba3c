const LENGTH = /\r\ncontent-length: *(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding:/i;

/** Where an HTTP/1.1 reply ends; those that are not sent by length are refused. */
export function httpFraming(text: string): number | null {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const length = LENGTH.exec(text);
  if (length === null || length.index > headEnd) {
    if (CHUNKED.test(text.slice(0, headEnd))) throw new Error('a reply in chunks, which this load cannot read');
    return headEnd + 4;
  }
  const end = headEnd + 4 + Number(length[1]);
  return text.length < end ? null : end;
}

/** A request as text; `body` is JSON in Latin-1. */
export function httpRequest(method: string, path: string, body?: string, headers = ''): string {
  const head = `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}`;
  if (body === undefined) return `${head}\r\n`;
  return `${head}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body, 'latin1')}\r\n\r\n${body}`;
}

export function statusOf(reply: string): number {
  return Number(reply.slice(9, 12));
}

export function bodyOf(reply: string): string {
  return reply.slice(reply.indexOf('\r\n\r\n') + 4);
}

/** The reply, or an error that quotes it when it has another status. */
export function expectStatus(reply: string, status: number): string {
  if (statusOf(reply) !== status) throw new Error(`expected ${status}: ${reply.slice(0, 600)}`);
  return reply;
}

/** The text between `before` and the next quote, from `from` on. */
export function quoted(text: string, before: string, from = 0): string {
  const start = text.indexOf(before, from);
  if (start < 0) throw new Error(`no ${before} in ${text.slice(0, 600)}`);
  return text.slice(start + before.length, text.indexOf('"', start + before.length));
}
