import { BACKUP_HELP, backup, BackupRefusal } from './backup/backup.ts';
import { type Config, type ConfigInput, loadConfig } from './config.ts';
import { DOCTOR_HELP, examine } from './doctor/doctor.ts';
import { urlOf } from './startup/address.ts';
import { StoreError, StoreRefusal } from './store/store.ts';

/** What a command has to say. */
export interface CommandOutput {
  /** For stdout. */
  text: string;
  /** For stderr, one line each. */
  faults: readonly string[];
  exitCode: number;
}

/** The first word of a command line that asks for something else than a broker. */
export type Command = 'doctor' | 'backup';

/** Runs a command to its end. `argv` comes after its name; what is not the command's own is a setting. */
export async function runCommand(command: Command, { argv, env, readFile }: ConfigInput): Promise<CommandOutput> {
  const words = [...argv];
  const flags = command === 'doctor' ? takeDoctorFlags(words) : takeBackupFlags(words);
  const loaded = loadConfig({ argv: words, env, readFile });
  if (loaded.outcome === 'refused') return refused(...loaded.errors);
  if (loaded.outcome !== 'loaded') {
    return { text: command === 'doctor' ? DOCTOR_HELP : BACKUP_HELP, faults: [], exitCode: 0 };
  }
  try {
    return await ('mend' in flags ? runDoctor(flags, loaded.config) : runBackup(flags, loaded.config));
  } catch (error) {
    const isExpected = error instanceof StoreRefusal || error instanceof StoreError || error instanceof BackupRefusal;
    if (!isExpected) throw error;
    return refused(error.message);
  }
}

function refused(...faults: string[]): CommandOutput {
  return { text: '', faults, exitCode: 1 };
}

interface DoctorFlags {
  mend: boolean;
  json: boolean;
}

interface BackupFlags {
  to: string | null;
  from: string | null;
}

function takeDoctorFlags(words: string[]): DoctorFlags {
  return { mend: takeSwitch(words, '--mend'), json: takeSwitch(words, '--json') };
}

function takeBackupFlags(words: string[]): BackupFlags {
  return { to: takeValue(words, '--to'), from: takeValue(words, '--from') };
}

async function runDoctor(flags: DoctorFlags, { store }: Config): Promise<CommandOutput> {
  const { report, exitCode } = await examine(store, flags);
  return { text: report, faults: [], exitCode };
}

async function runBackup({ to, from }: BackupFlags, { host, port }: Config): Promise<CommandOutput> {
  if (to === null) return refused('name the file to write: lessor backup --to FILE');
  const url = from ?? urlOf(host, port);
  if (!URL.canParse(url)) return refused('--from is not a URL, such as http://127.0.0.1:7420');
  const bytes = await backup(url, to);
  return { text: `${to}: ${bytes} bytes, the store of ${url} as of this moment\n`, faults: [], exitCode: 0 };
}

/** Takes a flag that stands alone out of the words. */
function takeSwitch(words: string[], flag: string): boolean {
  const at = words.indexOf(flag);
  if (at < 0) return false;
  words.splice(at, 1);
  return true;
}

/** Takes `--flag value` or `--flag=value` out of the words; null when it is not there, or has no value. */
function takeValue(words: string[], flag: string): string | null {
  const at = words.findIndex((word) => word === flag || word.startsWith(`${flag}=`));
  const [word] = at < 0 ? [] : words.splice(at, 1);
  if (word === undefined) return null;
  const value = word === flag ? words.splice(at, 1)[0] : word.slice(flag.length + 1);
  return value === undefined || value === '' ? null : value;
}
