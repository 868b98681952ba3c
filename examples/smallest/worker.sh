#!/usr/bin/env bash
broker=${BROKER_URL:-http://127.0.0.1:7420}

while reply=$(curl -sS --fail "$broker/tasks/lease?queue=emails"); do
  id=$(grep -oE '"id":"[^"]+"' <<<"$reply" | head -n 1 | cut -d '"' -f 4)
  token=$(grep -oE '"lease":\{"token":"[^"]+"' <<<"$reply" | tail -n 1 | cut -d '"' -f 6)
  [ -n "$id" ] || continue # nothing came within 20 s
  echo "working on task $id"
  curl -sS --fail --json "{\"leaseToken\":\"$token\",\"result\":\"sent\"}" "$broker/tasks/$id/ack" && echo
done
