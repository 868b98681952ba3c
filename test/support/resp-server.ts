import net from 'node:net';

/** What a RESP server may answer: null is nothing at all, ever; an Error is an error reply. */
export type RespReply = string | number | Error | null | readonly RespReply[];

export type RespRule = (words: readonly string[]) => RespReply | Promise<RespReply>;

/** A server that speaks as much of RESP as a client needs to be let in, and answers by a rule: for what real servers do seldom. */
export interface RespServer {
  readonly port: number;
  /** What clients have sent since the start, but for HELLO and INFO. */
  readonly commands: readonly (readonly string[])[];
  /** Connections that were made since the start. */
  connections(): number;
  /** Connections that there are. */
  open(): number;
  /** Sends this to every client, unasked. */
  push(words: readonly (string | number)[]): void;
  stop(): Promise<void>;
}

const LOADING = 'redis_version:7.2.0\r\nloading:1\r\nloading_eta_seconds:60\r\n';

function encode(reply: RespReply): string {
  if (reply === null) return '';
  if (reply instanceof Error) return `-${reply.message}\r\n`;
  if (typeof reply === 'number') return `:${reply}\r\n`;
  if (typeof reply === 'string') return `$${Buffer.byteLength(reply)}\r\n${reply}\r\n`;
  return `*${reply.length}\r\n${reply.map(encode).join('')}`;
}

/** Takes whole commands off the front of what has come. */
function readCommands(text: string): { commands: string[][]; rest: string } {
  const commands: string[][] = [];
  let rest = text;
  for (;;) {
    const head = /^\*(\d+)\r\n/.exec(rest);
    if (head === null) return { commands, rest };
    let at = head[0].length;
    const words: string[] = [];
    while (words.length < Number(head[1])) {
      const size = /^\$(\d+)\r\n/.exec(rest.slice(at));
      if (size === null) return { commands, rest };
      const from = at + size[0].length;
      const to = from + Number(size[1]);
      if (rest.length < to + 2) return { commands, rest };
      words.push(rest.slice(from, to));
      at = to + 2;
    }
    commands.push(words);
    rest = rest.slice(at);
  }
}

/**
 * @param answer what each command is answered, the name of the command in capitals
 * @param loading whether the server says that it loads its data, which takes another minute
 */
export async function startRespServer(answer: RespRule, loading: () => boolean = () => false): Promise<RespServer> {
  const sockets = new Set<net.Socket>();
  const seen: string[][] = [];
  let connections = 0;
  const reply = async (words: readonly string[]): Promise<string> => {
    const [name = ''] = words;
    if (name === 'HELLO') return '%1\r\n$5\r\nproto\r\n:3\r\n';
    if (name === 'INFO') return encode(loading() ? LOADING : 'redis_version:7.2.0\r\nloading:0\r\n');
    return encode(await answer(words));
  };
  const server = net.createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.setEncoding('latin1');
    let text = '';
    let before = Promise.resolve();
    socket.on('data', (piece) => {
      const read = readCommands(text + String(piece));
      text = read.rest;
      for (const [name = '', ...others] of read.commands) {
        const words = [name.toUpperCase(), ...others];
        if (words[0] !== 'HELLO' && words[0] !== 'INFO') seen.push(words);
        const ready = reply(words);
        before = before.then(async () => void socket.write(await ready));
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return {
    port: address.port,
    commands: seen,
    connections: () => connections,
    open: () => sockets.size,
    push(words) {
      for (const socket of sockets) socket.write(encode(words).replace(/^\*/, '>'));
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
