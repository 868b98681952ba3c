import { Buffer } from 'node:buffer';
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PROBLEM_MEDIA_TYPE, pathOf, problemDocument } from './problem.ts';

/** What went wrong while a request was being received; `code` is Node's. */
interface ReceiveError extends Error {
  code?: string;
}

/** Answers what Node's HTTP parser refuses with a problem document, and ends the connection. */
export function answerUnreadable(error: ReceiveError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy(error);
    return;
  }
  const body = documentText(detailOf(error), '/');
  socket.end(
    'HTTP/1.1 400 Bad Request\r\n' +
      `Content-Type: ${PROBLEM_MEDIA_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n` +
      'Cache-Control: no-store\r\n' +
      'X-Content-Type-Options: nosniff\r\n' +
      `Connection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

/** Answers an Expect header that asks for anything but 100-continue, which Node would refuse without a body. */
export function answerExpectations(server: Server): void {
  server.on('checkExpectation', (request, response: ServerResponse) => {
    const body = documentText('The Expect header may only ask for "100-continue".', pathOf(request.url));
    response.writeHead(400, {
      'content-type': PROBLEM_MEDIA_TYPE,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      connection: 'close',
    });
    response.end(body);
  });
}

function documentText(detail: string, instance: string): string {
  return JSON.stringify(problemDocument('malformed_request', detail, instance));
}

function detailOf(error: ReceiveError): string {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'The request line and headers are too long.';
  if (error.code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return 'The chunk extensions of the body are too long.';
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'The request was not received in time.';
  return 'The request is not valid HTTP/1.1.';
}
