import { DatabaseSync } from 'node:sqlite';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';

/**
 * A process that opens the file named by its first argument and kills itself within the transaction in which an older file is brought
 * up to date: after as many pieces of SQL in there as its second argument says.
 */
const [path = '', pieces = ''] = process.argv.slice(2);
let left = Number(pieces);
const exec: (this: DatabaseSync, sql: string) => void = Reflect.get(DatabaseSync.prototype, 'exec');
DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string): void {
  exec.call(this, sql);
  if (this.isTransaction && left-- === 0) process.kill(process.pid, 'SIGKILL');
};
await new SqliteStore({ path, durability: 'full' }).open();
