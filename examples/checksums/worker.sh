#!/usr/bin/env bash
# Leases files, computes their SHA-256 and acknowledges them, with nothing but bash, curl, grep and coreutils.
# SIGTERM ends it after the file in hand.
#
# usage: worker.sh [--drain]   (--drain: exit when the queue has nothing left to do)
# environment: BROKER_URL (http://127.0.0.1:7420), QUEUE (checksums), MAX (20 tasks at a time)
set -u
export LC_ALL=C

broker=${BROKER_URL:-http://127.0.0.1:7420}
queue=${QUEUE:-checksums}
max=${MAX:-20}
drain=no wait_ms=20000
[ "${1:-}" = --drain ] && drain=yes wait_ms=500
lease_url="/tasks/lease?queue=$queue&max=$max&waitMs=$wait_ms&workerId=sh-$HOSTNAME-$$"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
stop=no polling=no
trap 'stop=yes' TERM INT

# Runs a command in the background and waits for it: bash would act on a signal only after one in the foreground.
# While polling a signal ends it after a moment: a reply that is on its way already would be missed until its leases
# run out. All else is finished first.
run() {
  "$@" &
  while kill -0 $! 2>/dev/null; do
    if [ $stop = yes ] && [ $polling = yes ]; then
      for _ in 1 2 3 4 5; do kill -0 $! 2>/dev/null && sleep 0.05; done
      kill $! 2>/dev/null
    fi
    wait $!
  done
}

# call TRIES URL [CURL OPTION…]: one call, its body left in $dir/reply. A timeout, a broken connection, a 429 or a 5xx
# mean that the outcome is unknown: it is repeated as it is, with its tokens, so that nothing happens twice.
# Fails when the broker refuses it, when the tries are used up, or when a signal ends a poll.
call() {
  local tries=$1 url=$2 exit status after pause=1
  shift 2
  while ((tries-- > 0)); do
    run curl -s --max-time 30 -o "$dir/reply" -w '%{exitcode} %{http_code} %header{retry-after}\n' "$@" "$broker$url" \
      >"$dir/status"
    exit=1 status=000 after=0
    read -r exit status after <"$dir/status"
    after=${after//[!0-9]/}
    [ "$exit" = 0 ] || status=000
    case $status in
      # In a batch one entry may fail like a call of its own. Those that did not are answered as they were before.
      207) grep -qE '"status":(429|5[0-9][0-9])' "$dir/reply" || return 0 ;;
      2??) return 0 ;;
      429 | 5?? | 000) ;;
      *) return 1 ;;
    esac
    [ $stop = yes ] && [ $polling = yes ] && return 1
    run sleep $((after > pause ? after : pause))
    pause=$((pause < 4 ? pause * 2 : 5))
  done
  return 1
}

# Adds to $items what is to be said about the task with $id, $token and $path64.
work() {
  local item="{\"id\":\"$id\",\"leaseToken\":\"$token\"" path sum
  # The x keeps $( ) from cutting newlines off the end of the name.
  path=$(base64 -d <<<"$path64" && echo x)
  if [ $stop = yes ]; then
    item+=',"op":"release"}'
  elif sum=$(sha256sum 2>/dev/null <"${path%x}"); then
    item+=",\"op\":\"ack\",\"result\":{\"sha256\":\"${sum%% *}\"}}"
  else
    item+=',"op":"nack","error":{"code":"unreadable","message":"The file cannot be read."}}'
  fi
  items+="${items:+,}$item"
}

while [ $stop = no ]; do
  polling=yes
  call 1000000 "$lease_url" || break
  polling=no

  # Inside a JSON string every quote has a backslash before it, so no text can look like one of these fields.
  fields=$(grep -oE '"(id|token|pathBase64)":"[^"\\]*"' "$dir/reply")
  id='' items=''
  while read -r field; do
    value=${field%\"} value=${value##*\"}
    case $field in
      '"id"'*)
        [ -n "$id" ] && work
        id=$value token='' path64=''
        ;;
      '"token"'*) token=$value ;;
      '"pathBase64"'*) path64=$value ;;
    esac
  done <<<"$fields"
  [ -n "$id" ] && work

  if [ -n "$items" ]; then
    call 20 /leases/settle -H 'Content-Type: application/json' -d "{\"items\":[$items]}" ||
      echo "dropped the tasks in hand: $(cat "$dir/reply")" >&2
  elif [ $drain = yes ] && call 20 "/queues/$queue/stats"; then
    grep -qE '"(ready|scheduled|blocked|leased)":[1-9]' "$dir/reply" || break
  fi
done
