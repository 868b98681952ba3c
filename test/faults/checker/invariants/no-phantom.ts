import type { Violation } from '../invariant.ts';
import type { Ledger, Post } from '../ledger.ts';

/** Nothing is leased or found that nobody tried to post, and payloads, queues and groups are what they were. */
export function* noPhantom({ tasks, posts }: Ledger): Iterable<Violation> {
  for (const { id, grants, found } of tasks.values()) {
    for (const { mark, hash, queue, groupKey, call } of grants) {
      const post = posts.get(mark);
      const strange = post !== undefined && post.posted.groupKey !== groupKey;
      const says =
        wrong(post, hash, queue) ?? (strange ? `is of group ${groupKey} instead of ${post.posted.groupKey}` : null);
      if (says !== null) yield { task: id, at: call.to, says: `was leased and ${says}` };
    }
    const says = found === null ? null : wrong(posts.get(found.mark), found.hash, found.queue);
    if (says !== null) yield { task: id, at: found?.createdAt ?? 0, says: `was found and ${says}` };
  }
}

function wrong(post: Post | undefined, hash: string, queue: string): string | null {
  if (!post) return 'nobody ever tried to post it';
  if (post.posted.hash !== hash) return 'its payload is not what was posted';
  return post.posted.queue === queue ? null : `is in queue ${queue} instead of ${post.posted.queue}`;
}
