#!/usr/bin/env python3
import json, os, urllib.request

def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    url = os.environ.get("BROKER_URL", "http://127.0.0.1:7420") + path
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))

while True:
    for task in call("/tasks/lease?queue=emails")["tasks"]:
        print("working on", task["payload"])
        call(f"/tasks/{task['id']}/ack", {"leaseToken": task["lease"]["token"], "result": "sent"})
