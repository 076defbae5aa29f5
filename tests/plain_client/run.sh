#!/usr/bin/env bash
# Installs the plain client's libraries into .cache/plain_client and runs the rotation against target/debug/keywheel
# (or $KEYWHEEL_BIN).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here="$root/tests/plain_client"
site=$(bash "$root/deploy/pip-into.sh" plain_client "$here/build-requirements.txt" "$here/requirements.txt")
KEYWHEEL_TEST_NATS=${KEYWHEEL_TEST_NATS:-$(bash "$root/deploy/get-nats.sh")}
export KEYWHEEL_TEST_NATS
export KEYWHEEL_BIN=${KEYWHEEL_BIN:-"$root/target/debug/keywheel"}
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$site" exec python3 -s "$here/rotation.py" "$@"
