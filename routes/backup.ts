import { Readable } from 'node:stream';
import { z } from 'zod';
import { operation } from '../src/http/operation.ts';
import { sendProblem } from '../src/http/problem.ts';
import type { Deps } from './deps.ts';

const MEDIA_TYPE = 'application/vnd.sqlite3';
/** A client that takes nothing for this long has gone: the copy it would read takes room on the disk. */
const IDLE_MS = 60_000;

export const getBackup = operation(
  {
    id: 'getBackup',
    tag: 'Service',
    summary: 'A copy of the store as of now',
    description:
      'The embedded store as one SQLite file, which can be put in the place of the old one while no broker runs. Other calls go on while it is made. It holds every payload. One copy is made at a time; a broker that is told to stop gives it up, and sends what it has made to the end. On Redis there is none: copies are made by Redis itself.',
    replies: {
      200: {
        description: 'The file.',
        mediaType: MEDIA_TYPE,
        schema: z.string(),
        example: 'SQLite format 3\u0000…',
        headers: { 'Content-Disposition': 'The name of a file to save it as.' },
      },
    },
    problems: ['route_not_found', 'rate_limited', 'store_unavailable', 'shutting_down'],
  },
  ({ broker }: Deps) =>
    async (_request, reply) => {
      const made = await broker.backup();
      if (made === null) {
        return sendProblem(
          reply,
          'route_not_found',
          'The store is Redis, which makes its copies itself: keep its append-only file, or save a snapshot with BGSAVE and copy that.',
        );
      }
      if (made === 'busy')
        return sendProblem(reply, 'rate_limited', 'A copy is being made or read. Try again when that is done.');
      reply.raw.once('close', () => void made.discard());
      if (reply.raw.destroyed) await made.discard();
      reply.raw.setTimeout(IDLE_MS, () => reply.raw.destroy());
      return reply
        .header('content-type', MEDIA_TYPE)
        .header('content-length', made.bytes)
        .header('content-disposition', 'attachment; filename="lessor.db"')
        .send(Readable.from(made.chunks));
    },
);
