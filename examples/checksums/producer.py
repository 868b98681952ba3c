#!/usr/bin/env python3
"""Posts one task for every regular file below a folder. Run again, it posts only what was not posted before.

usage: producer.py FOLDER
environment: BROKER_URL (http://127.0.0.1:7420), QUEUE (checksums), LEASE_MS (60000)
"""

import base64
import hashlib
import os
import sys

from broker import QUEUE, call

LEASE_MS = int(os.environ.get("LEASE_MS", "60000"))
MAX_TASKS = 1000  # of one batch, as GET /limits says
MAX_BYTES = 4_000_000  # half of what GET /limits allows, because keys and names come on top


def files(folder):
    """The paths of all regular files below a folder, as bytes: a file name need not be text."""
    for parent, _, names in os.walk(os.fsencode(os.path.abspath(folder))):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def task(path):
    return {
        "queue": QUEUE,
        "type": "sha256",
        # "path" is for people to read; the workers take the other one, which is exact whatever is in the name.
        "payload": {"path": path.decode("utf-8", "replace"), "pathBase64": base64.b64encode(path).decode()},
        "idempotencyKey": "sha256:" + hashlib.sha256(path).hexdigest(),
    }


def batches(paths):
    batch, size = [], 0
    for path in paths:
        if len(batch) == MAX_TASKS or size > MAX_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(task(path))
        size += 8 * len(path)
    if batch:
        yield batch


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    # By default a queue keeps its last 10,000 completed tasks for ten minutes; the comparison wants all of them.
    retention = {"completedMs": 24 * 3_600_000, "completedMax": 1_000_000}
    call("PUT", f"/queues/{QUEUE}", {"leaseMs": LEASE_MS, "retention": retention})
    posted = 0
    for batch in batches(files(sys.argv[1])):
        call("POST", "/tasks/batch", {"tasks": batch})
        posted += len(batch)
    print(f"posted {posted} tasks")


if __name__ == "__main__":
    main()
