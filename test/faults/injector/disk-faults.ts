import type { DiskFault } from '../disk/recorder.ts';
import type { Fault } from './fault.ts';

function onDisk(fault: Exclude<DiskFault, 'none'>, title: string): Fault {
  return {
    name: `disk-${fault}`,
    title,
    homes: ['failing-disk'],
    holdMs: 1500,
    silences: false,
    flawless: false,
    async inject({ home }) {
      const { failDisk } = home;
      if (failDisk === undefined) throw new Error(`the disk of home ${home.name} cannot fail`);
      failDisk(fault);
      return { what: `the disk is ${fault}`, heal: async () => failDisk('none') };
    },
  };
}

/** The broker holds the file; nothing is restarted. */
export const diskFull = onDisk('full', 'A full disk under the embedded store');
export const diskUnsyncable = onDisk('unsyncable', 'A disk that fails to sync under the embedded store');
