import { pathOf } from '../src/http/problem.ts';

/** A Link header to the next page: the request's own URL with another cursor. */
export function nextPage(url: string | undefined, cursor: string): string {
  const path = pathOf(url);
  const query = new URLSearchParams(url?.slice(path.length));
  query.set('cursor', cursor);
  return `<${path}?${query.toString()}>; rel="next"`;
}
