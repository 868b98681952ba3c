import { StoreRefusal } from '../store.ts';

/** What this code writes, and all that it reads. */
export const DATA_VERSION = 3;

/** Why data of another version are not used, and what to do. */
export function otherVersion(location: string, version: number): StoreRefusal {
  const which =
    version > DATA_VERSION
      ? `were written by a newer version of Lessor (their format is ${version}, this one knows ${DATA_VERSION}): start that version, or use another LESSOR_PREFIX`
      : `are of format ${version}, which this version of Lessor does not read (it knows ${DATA_VERSION}): let the version that wrote them work them off, or use another LESSOR_PREFIX`;
  return new StoreRefusal(`the data at ${location} ${which}`);
}
