import type { Endpoint } from './location.ts';

const SLOTS = 16_384;

/** CRC-16/XMODEM, by which a cluster places keys. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

/** The slot of a key of which a part in braces decides. */
export function slotOfKey(key: string): number {
  const open = key.indexOf('{');
  const close = key.indexOf('}', open + 1);
  const hashed = open !== -1 && close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(hashed)) crc = ((crc << 8) ^ (TABLE[((crc >> 8) ^ byte) & 0xff] ?? 0)) & 0xffff;
  return crc % SLOTS;
}

/** A range of slots and who serves it: the primary first, then its replicas. */
export interface SlotRange {
  first: number;
  last: number;
  nodes: readonly Endpoint[];
}

/** Reads the reply to CLUSTER SLOTS. A node that does not know its own address is the one that was asked. */
export function readSlots(reply: unknown, asked: Endpoint): SlotRange[] {
  if (!Array.isArray(reply)) return [];
  return reply.flatMap((range: unknown) => {
    if (!Array.isArray(range)) return [];
    const first: unknown = range[0];
    const last: unknown = range[1];
    if (typeof first !== 'number' || typeof last !== 'number') return [];
    return [{ first, last, nodes: range.slice(2).flatMap((node: unknown) => readNode(node, asked)) }];
  });
}

function readNode(node: unknown, asked: Endpoint): Endpoint[] {
  if (!Array.isArray(node) || typeof node[1] !== 'number') return [];
  const host: unknown = node[0];
  // "?" is a node with a host name that it has not been told.
  return [{ host: typeof host === 'string' && host !== '' && host !== '?' ? host : asked.host, port: node[1] }];
}

/** Where a reply such as `MOVED 3999 10.0.0.1:6381` points; null where it names no node. */
export function readMoved(message: string, asked: Endpoint): Endpoint | null {
  const [, host, port] = /^MOVED \d+ (.*):(\d+)$/.exec(message) ?? [];
  return port === undefined || Number(port) === 0 ? null : { host: host || asked.host, port: Number(port) };
}
