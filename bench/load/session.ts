/** One client of a server, working by itself on a connection of its own. */
export interface Session {
  /** One full cycle: a task is put in, taken out, and acknowledged, one request for each step. */
  cycle(): Promise<void>;
  close(): void;
}

export type OpenSession = (port: number) => Promise<Session>;
