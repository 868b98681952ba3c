import type { StoreDescription } from '../store/store.ts';

export interface BannerFacts {
  version: string;
  /** Base URL of the API, reachable from this machine. */
  url: string;
  /** As the store itself reports it. */
  store: StoreDescription;
  /** Whether other machines can reach an API that asks for no keys. */
  exposed: boolean;
}

/** What people see when the broker listens. Its three curl lines run one after another in any POSIX shell. */
export function bannerText({ version, url, store, exposed }: BannerFacts): string {
  const auth = exposed
    ? 'OFF, and other machines can connect: whoever reaches this port can read and change every task'
    : 'off; only this machine can connect';
  return `
  Lessor ${version}

  API      ${url}
  Docs     ${url}/docs
  Storage  ${store.product}, ${store.location}
           durability ${store.durability}: ${store.note}
  Auth     ${auth}

  Try it: enqueue a task, lease it, acknowledge it.

${curlLines(url).join('\n')}

`;
}

/** Enqueue, lease, ack. The lease is kept in a variable, from which the last line cuts the id and the token. */
function curlLines(url: string): readonly [enqueue: string, lease: string, ack: string] {
  const field = (name: string): string =>
    `$(echo "$LEASE" | grep -o '"${name}":"[^"]*"' | head -n 1 | cut -d '"' -f 4)`;
  const json = `-H 'Content-Type: application/json'`;
  return [
    `curl -s '${url}/tasks' ${json} -d '{"queue":"hello","payload":{"name":"Ada"}}'`,
    `LEASE=$(curl -s '${url}/tasks/lease?queue=hello'); echo "$LEASE"`,
    `curl -s "${url}/tasks/${field('id')}/ack" ${json} -d "{\\"leaseToken\\":\\"${field('token')}\\"}"`,
  ];
}
