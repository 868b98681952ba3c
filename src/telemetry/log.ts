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
    serializers: { err: withoutSecrets },
    formatters: { level: (label) => ({ level: label }) },
  };
  if (!terminal) return pino(options, pino.destination({ dest: 1, sync: true }));
  const { default: pretty } = await import('pino-pretty');
  return pino(options, pretty({ destination: 1, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' }));
}

/** An error as it is logged: clients hang on theirs the command or the URL that they are about, whose words may be secret. */
function withoutSecrets(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { command: _command, input: _input, ...shown } = { ...pino.stdSerializers.err(error) };
  return shown;
}
