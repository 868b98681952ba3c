import { PROBLEMS, type ProblemCode } from '../domain/problems.ts';

/** The page of an error for people. It needs no script and no style, so that the strictest policy fits. */
export function problemPage(code: ProblemCode): string {
  const { status, title, retryable, help } = PROBLEMS[code];
  return `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>${escape(title)} (${code})</title></head>
<body>
<h1>${escape(title)}</h1>
<p><code>${code}</code>, HTTP status ${status}. ${
    retryable ? 'The same request may succeed later.' : 'The same request will fail again.'
  }</p>
<p>${escape(help)}</p>
<p><a href="/problems">All errors</a> · <a href="/docs">API</a></p>
</body>
</html>
`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** Whether an Accept header names HTML, and not JSON with a higher weight. */
export function prefersHtml(accept: string | undefined): boolean {
  if (accept === undefined) return false;
  const weights = new Map(
    accept.split(',').map((range) => {
      const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
      const q = parameters.find((parameter) => parameter.startsWith('q='));
      return [type, q === undefined ? 1 : Number(q.slice('q='.length)) || 0];
    }),
  );
  const html = weights.get('text/html') ?? 0;
  return html > 0 && html >= (weights.get('application/json') ?? 0);
}
