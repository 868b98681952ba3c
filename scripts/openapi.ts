import { readFileSync, writeFileSync } from 'node:fs';
import { apiDocument } from '../routes/index.ts';

/** Writes the API's document, from which clients are generated; a test compares it with what the routes say. */
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const target = new URL('../openapi/openapi.json', import.meta.url);
writeFileSync(target, `${JSON.stringify(apiDocument(version), null, 2)}\n`);
console.log('openapi/openapi.json written');
