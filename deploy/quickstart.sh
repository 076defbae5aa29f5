#!/usr/bin/env bash
# Shows a rotation under live traffic: gets what is missing, builds, starts a stack, rotates, stops it.
# Writes only inside the checkout (and cargo's own cache); safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || { echo "quickstart: Rust is missing; install it from https://rustup.rs" >&2; exit 1; }
nats=$(deploy/get-nats.sh)
PATH="$(dirname "$nats"):$PATH"
export PATH
# The stack's own settings must not come from the caller's environment.
unset "${!KEYWHEEL_@}"

echo "Building (a few minutes the first time) …"
cargo build --release --locked --quiet -p keywheel -p keywheel-tests --bin keywheel --bin quickstart

home=.cache/quickstart
rm -rf "$home"
mkdir -p "$home"
target/release/quickstart target/release/keywheel "$home"
