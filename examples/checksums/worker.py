#!/usr/bin/env python3
"""Leases files, computes their SHA-256 and acknowledges them. SIGTERM ends it after the file in hand.

usage: worker.py [--drain]   (--drain: exit when the queue has nothing left to do)
environment: BROKER_URL (http://127.0.0.1:7420), QUEUE (checksums), MAX (10 tasks at a time)
"""

import base64
import hashlib
import os
import signal
import socket
import sys

from broker import QUEUE, Refused, call

MAX = int(os.environ.get("MAX", "10"))
DRAIN = "--drain" in sys.argv[1:]
WORKER_ID = f"py-{socket.gethostname()}-{os.getpid()}"

stopping = False
polling = False


class Stopped(Exception):
    """Raised out of a long-poll. The broker leases nothing to a client that is gone."""


def stop(_signal, _frame):
    """A poll goes on for a moment: a reply that is on its way already would be missed until its leases run out."""
    global stopping
    stopping = True
    signal.setitimer(signal.ITIMER_REAL, 0.25)


def leave_poll(_signal, _frame):
    if polling:
        raise Stopped


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def work(task):
    """What is to be said about a task to the broker."""
    item = {"id": task["id"], "leaseToken": task["lease"]["token"]}
    if stopping:
        return {**item, "op": "release"}
    try:
        return {**item, "op": "ack", "result": {"sha256": sha256(base64.b64decode(task["payload"]["pathBase64"]))}}
    except OSError as error:
        return {**item, "op": "nack", "error": {"code": "unreadable", "message": str(error)}}


def settle(items):
    """Tells the broker; what it refuses (a lease that was lost) is dropped, because another worker has the task."""
    for _ in range(20):
        results = call("POST", "/leases/settle", {"items": items})["results"]
        items = [item for item, r in zip(items, results) if r["status"] == 429 or r["status"] >= 500]
        if not items:
            return


def lease():
    global polling
    wait_ms = 500 if DRAIN else 20000
    polling = True
    try:
        return call("GET", f"/tasks/lease?queue={QUEUE}&max={MAX}&waitMs={wait_ms}&workerId={WORKER_ID}")["tasks"]
    finally:
        polling = False


def drained():
    stats = call("GET", f"/queues/{QUEUE}/stats")
    return sum(stats[state] for state in ("ready", "scheduled", "blocked", "leased")) == 0


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGALRM, leave_poll)
    while not stopping:
        try:
            tasks = lease()
        except Stopped:
            break
        except (OSError, ValueError):
            continue  # the broker has been away for long; go on asking
        if tasks:
            try:
                settle([work(task) for task in tasks])
            except Refused as refused:
                print(f"dropped {len(tasks)} tasks: {refused}", file=sys.stderr)
        elif DRAIN and drained():
            break


if __name__ == "__main__":
    main()
