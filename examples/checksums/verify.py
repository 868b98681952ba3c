#!/usr/bin/env python3
"""Compares what the workers computed with what sha256sum says, for every regular file below a folder.

usage: verify.py FOLDER
environment: BROKER_URL (http://127.0.0.1:7420), QUEUE (checksums)
Ends with 1 when a file has no result, a result no file, or the two differ.
"""

import base64
import os
import subprocess
import sys
import urllib.parse

from broker import QUEUE, call
from producer import files


def expected(folder):
    """What sha256sum says of every file: {path: checksum}."""
    paths = b"\0".join(files(folder))
    if not paths:
        return {}
    # --zero: names as they are, however odd, with no escapes.
    lines = subprocess.run(
        ["xargs", "-0", "sha256sum", "--zero", "--"], input=paths, stdout=subprocess.PIPE, check=True
    ).stdout.split(b"\0")[:-1]
    return {line[66:]: line[:64].decode() for line in lines}


def completed():
    """Every completed task of the queue, page by page."""
    query = {"queue": QUEUE, "state": "completed", "view": "full", "limit": 100}
    while True:
        page = call("GET", "/tasks?" + urllib.parse.urlencode(query))
        yield from page["tasks"]
        if page["nextCursor"] is None:
            return
        query["cursor"] = page["nextCursor"]


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    files_left = expected(sys.argv[1])
    counts = {"files": len(files_left), "equal": 0, "different": 0, "missing": 0, "unexpected": 0}

    def fault(kind, path):
        counts[kind] += 1
        print(f"{kind}: {os.fsdecode(path)!a}", file=sys.stderr)

    for task in completed():
        path = base64.b64decode(task["payload"]["pathBase64"])
        checksum = files_left.pop(path, None)
        if checksum is None:
            fault("unexpected", path)
        elif checksum != task["result"]["sha256"]:
            fault("different", path)
        else:
            counts["equal"] += 1
    for path in files_left:
        fault("missing", path)
    print(" ".join(f"{name}={count}" for name, count in counts.items()))
    sys.exit(0 if counts["equal"] == counts["files"] and counts["unexpected"] == 0 else 1)


if __name__ == "__main__":
    main()
