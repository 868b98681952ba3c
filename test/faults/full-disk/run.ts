/** node test/faults/full-disk/run.ts: a broker on a disk that is full, and on one that fails to sync. Takes ten seconds. */
import { endureFailingDisk } from './failing-disk.ts';

for (const fault of ['full', 'unsyncable'] as const) process.stdout.write(`ok   ${await endureFailingDisk(fault)}\n`);
