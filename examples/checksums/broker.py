"""One call to the broker, tried again for as long as trying again can help. Standard library only."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request

BROKER = os.environ.get("BROKER_URL", "http://127.0.0.1:7420")
QUEUE = os.environ.get("QUEUE", "checksums")


class Refused(Exception):
    """A 4xx other than 429: the same call would be refused again."""


def call(method, path, body=None, tries=20):
    """Returns the decoded reply. A timeout, a broken connection, a 429 or a 5xx mean that the outcome is unknown:
    the call is repeated as it is, with its keys and tokens, so that nothing happens twice."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(BROKER + path, data=data, headers=headers, method=method)
    for attempt in range(tries):
        wait = min(5, 0.1 * 2**attempt)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 429 and error.code < 500:
                raise Refused(f"{error.code} {error.read().decode('utf-8', 'replace')}") from None
            failure = error
            wait = max(wait, int(error.headers.get("Retry-After") or 0))
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = error
        if attempt < tries - 1:
            time.sleep(wait)
    raise failure
