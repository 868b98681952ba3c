import { type Logger, type LoggerOptions, pino } from 'pino';
import type { Config } from '../config.ts';

/**
 * The process's log, on stdout: JSON lines, or readable ones for a terminal. Written synchronously, so that the
 * last line before an exit is never lost; pino's default would also wait forever at the exit when nobody reads
 * stdout any more.
 */
export async function createLog(level: Config['logLevel'], terminal: boolean): Promise<Logger> {
  const options: LoggerOptions = {
    level,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  };
  if (!terminal) return pino(options, pino.destination({ dest: 1, sync: true }));
  const { default: pretty } = await import('pino-pretty');
  return pino(options, pretty({ destination: 1, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' }));
}
