#!/usr/bin/env bash
# Installs hashed Python requirements into a folder of this checkout's .cache and prints that folder's path.
#
#   deploy/pip-into.sh NAME REQUIREMENTS...     the files are installed in this order
#
# The folder's name carries a hash of the requirements and the Python version: a new pin is a new folder, and a
# finished folder is never touched again. Two runs at once are safe: each installs aside and renames.
set -euo pipefail

die() {
    echo "pip-into: $1" >&2
    exit 1
}

[ $# -ge 2 ] || die "usage: deploy/pip-into.sh NAME REQUIREMENTS..."
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
name=$1
shift

command -v python3 >/dev/null 2>&1 || die "python3 is not on PATH; install Python 3.9 or newer (Debian: apt-get install python3 python3-pip)"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || die "$(python3 --version) is too old; install Python 3.9 or newer"

key=$(python3 - "$@" <<'PY'
import hashlib, platform, sys, sysconfig
hasher = hashlib.sha256()
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        hasher.update(file.read())
tag = f"{platform.python_implementation()}{sys.version_info[0]}.{sys.version_info[1]}-{sysconfig.get_platform()}"
print(f"{tag.lower()}-{hasher.hexdigest()[:12]}")
PY
) || die "cannot read the requirements: $*"
target="$root/.cache/$name/$key"
if [ -d "$target" ]; then
    echo "$target"
    exit 0
fi

python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip; install it (Debian: apt-get install python3-pip, elsewhere: python3 -m ensurepip)"

mkdir -p "$root/.cache/$name"
aside=$(mktemp -d "$root/.cache/$name/aside.XXXXXX")
trap 'rm -rf "$aside"' EXIT
trap 'exit 130' INT TERM HUP
for requirements in "$@"; do
    # A user's own pip settings must not redirect the install; nothing is written outside the checkout; what an earlier
    # file installed is there to build a later one's packages with.
    if ! PYTHONPATH="$aside/site" TMPDIR="$aside" PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 \
        python3 -m pip install --quiet --no-input --no-cache-dir --no-deps --require-hashes --no-build-isolation --no-warn-script-location \
        --upgrade --target "$aside/site" --requirement "$requirements" >"$aside/log" 2>&1; then
        cat "$aside/log" >&2
        if grep -q 'No matching distribution\|is not a supported wheel' "$aside/log"; then
            die "no package fits $(uname -sm), or the package index cannot be reached; see the lines above"
        fi
        die "pip failed on ${requirements#"$root"/}; with no network, run this once where there is one and copy .cache/$name here"
    fi
done
# Renaming fails on a folder that another run has put there meanwhile; then that one is as good.
if ! python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$aside/site" "$target" 2>/dev/null; then
    [ -d "$target" ] || die "cannot write $target"
fi
echo "$target"
