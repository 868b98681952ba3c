import { Connection } from './connection.ts';
import { httpFraming, httpRequest, statusOf } from './http.ts';

/** Connections that are being made at once: fewer than a server at its limit keeps free to refuse them with. */
const AT_ONCE = 64;

export interface ParkArgs {
  port: number;
  polls: number;
  /** What is asked for; must be answered late or never. */
  path: string;
}

/** What became of polls that were sent. */
export interface Parked {
  /** Still waiting. */
  waiting: number;
  /** Answered at once, by status. */
  answered: Record<string, number>;
  /** Not connected, or hung up on, by reason. */
  failed: Record<string, number>;
}

const waiting = new Set<Connection>();
/** Polls that were sent again, because their wait had run out. */
let renewed = 0;

/**
 * Sends polls, each on a connection of its own, and holds them until {@link unpark}. A poll whose wait runs out is
 * sent again. Answers once all have been sent and those that are refused have been heard of.
 */
export async function park({ port, polls, path }: ParkArgs): Promise<Parked> {
  const poll = httpRequest('GET', path);
  const parked: Parked = { waiting: 0, answered: {}, failed: {} };
  const count = (counts: Record<string, number>, key: string): void => {
    counts[key] = (counts[key] ?? 0) + 1;
  };
  let left = polls;

  async function hold(connection: Connection): Promise<void> {
    try {
      for (;;) {
        const status = statusOf(await connection.request(poll));
        if (!waiting.has(connection)) return;
        if (status === 200) {
          renewed++;
          continue;
        }
        count(parked.answered, String(status));
        break;
      }
    } catch (error) {
      count(parked.failed, error instanceof Error ? error.message : String(error));
    }
    if (waiting.delete(connection)) connection.close();
  }

  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left > 0) {
        left--;
        let connection: Connection;
        try {
          connection = await Connection.open(port, httpFraming);
        } catch (error) {
          count(parked.failed, error instanceof Error ? error.message : String(error));
          continue;
        }
        waiting.add(connection);
        void hold(connection);
      }
    }),
  );
  await settled(parked);
  parked.waiting = waiting.size;
  return parked;
}

/** Waits until a second has passed in which nothing was refused. */
async function settled(parked: Parked): Promise<void> {
  let before = '';
  for (let now = JSON.stringify(parked); now !== before; now = JSON.stringify(parked)) {
    before = now;
    await new Promise((resolve) => {
      setTimeout(resolve, 1000);
    });
  }
}

/** Hangs up on every poll that is still waiting. */
export function unpark(): void {
  const connections = [...waiting];
  waiting.clear();
  for (const connection of connections) connection.close();
}

/** Polls that are waiting right now, and how often one had to be sent again so far. */
export function parkedNow(): { waiting: number; renewed: number } {
  return { waiting: waiting.size, renewed };
}
