#!/usr/bin/env bash
# Everything that a change has to pass, in one command, here as in CI. Writes only below .cache/ and target/ (and
# into cargo's own cache).
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/run.sh [all]      format, lints, documentation, build, tests, plain client, dependencies
       tests/run.sh fuzz [--minutes N] [ENTRANCE...]
                               looks for bytes that break a promise, N minutes in all (10)
       tests/run.sh faults [--minutes N] [--seed S] [--cluster 3] [--output json]
                               attacks an installation for N minutes (5) and judges its answers
       tests/run.sh faults power [--cuts N] [--seed S]
                               cuts the power N times (25) under load; needs root, for loop mounts
       tests/run.sh bench edge [--only NAME] [--seed N] [--quick]
                               figures of the edge beside their floors, as a table
       tests/run.sh bench fleet [--quick]
                               commands for a whole tenant, beside bare batches
       tests/run.sh bench past [--quick]
                               figures of questions to the past
       tests/run.sh mutants    reserved: whether the tests notice broken code
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

mode=${1:-all}
case "$mode" in
all) ;;
bench)
    which=edge
    case "${2:-}" in
    edge) shift 2 ;;
    fleet)
        shift 2
        set -- --only fleet "$@"
        ;;
    past)
        which=past
        shift 2
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    ;;
fuzz)
    shift
    exec bash tests/fuzz/run.sh "$@"
    ;;
faults)
    shift
    if [ "${1:-}" = power ]; then
        mode=power cuts=25 seed=""
        shift
        while [ $# -gt 0 ]; do
            case "$1" in
            --cuts) cuts=${2:-} ;;
            --seed) seed=${2:-} ;;
            *) cuts="" ;;
            esac
            shift $(($# > 1 ? 2 : 1))
        done
        if ! [[ $cuts =~ ^[1-9][0-9]*$ && $seed =~ ^[0-9]*$ ]]; then
            usage >&2
            exit 2
        fi
    fi
    ;;
-h | --help | help)
    usage
    exit 0
    ;;
mutants)
    echo "run.sh: '$1' is not there yet" >&2
    exit 2
    ;;
*)
    echo "run.sh: unknown argument '$1'" >&2
    usage >&2
    exit 2
    ;;
esac
if [ "$mode" = all ] && [ $# -gt 1 ]; then
    usage >&2
    exit 2
fi

# A user's own stack and compiler flags have no part in this.
unset KEYWHEEL_HOME KEYWHEEL_BIN KEYWHEEL_TEST_NATS KEYWHEEL_TEST_GATEWAYS KEYWHEEL_TEST_LOOPS RUSTFLAGS RUSTDOCFLAGS
export CARGO_NET_RETRY=5
if [ ! -t 1 ]; then
    export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never
fi
if [ -n "${CI:-}" ]; then
    # What is compiled once gains nothing from being prepared for the next time.
    export CARGO_INCREMENTAL=0
fi
mkdir -p .cache
TMPDIR=$(mktemp -d "$root/.cache/tmp.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM HUP

passed=0 failed=0 skipped=0 summary="" ready=yes began=$SECONDS

note() { # VERDICT SECONDS HEADLINE
    summary+=$(printf '  %-7s %5s  %s' "$1" "$2" "$3")$'\n'
}

step() { # HEADLINE COMMAND...
    local headline=$1 start=$SECONDS
    shift
    printf '\n==> %s\n' "$headline"
    if "$@" </dev/null; then
        passed=$((passed + 1))
        note ok "$((SECONDS - start)) s" "$headline"
    else
        failed=$((failed + 1))
        note FAILED "$((SECONDS - start)) s" "$headline"
        return 1
    fi
}

# A step that makes sense only if the build and the bus are there.
step_if_ready() {
    if [ "$ready" = yes ]; then
        step "$@" || true
    else
        skipped=$((skipped + 1))
        note skipped - "$1"
    fi
}

components() {
    if ! cargo fmt --version || ! cargo clippy --version; then
        echo "rustfmt or clippy is missing: rustup component add rustfmt clippy (or your distribution's packages)" >&2
        return 1
    fi
}

nats() {
    KEYWHEEL_TEST_NATS=$(bash deploy/get-nats.sh) || return 1
    export KEYWHEEL_TEST_NATS
    "$KEYWHEEL_TEST_NATS" --version
}

# The gateways that can be had. What is behind one that cannot is skipped, but not in CI.
gateways() {
    local status=0
    KEYWHEEL_TEST_GATEWAYS=$(bash deploy/get-gateways.sh nginx caddy haproxy envoy libfaketime) || status=$?
    export KEYWHEEL_TEST_GATEWAYS
    [ -n "$KEYWHEEL_TEST_GATEWAYS" ] && { [ -z "${CI:-}" ] || [ "$status" = 0 ]; }
}

note_missing_gateways() {
    local name
    for name in nginx caddy haproxy envoy libfaketime; do
        if [ ! -f "${KEYWHEEL_TEST_GATEWAYS:-}/$name" ]; then
            skipped=$((skipped + 1))
            note skipped - "tests with $name"
        fi
    done
}

# Whether disks can be mounted whose power is then cut: mostly root alone may. Where not, their tests skip themselves.
find_loop_mounts() {
    local at=$TMPDIR/loop
    mkdir "$at" && truncate -s 8M "$at.img"
    if mkfs.ext4 -q "$at.img" && mount -o loop "$at.img" "$at" && umount "$at"; then
        export KEYWHEEL_TEST_LOOPS=yes
    else
        skipped=$((skipped + 1))
        note skipped - "power cuts: no loop mounts here"
    fi 2>/dev/null
    rm -rf "$at" "$at.img"
}

scripts() {
    local script count=0 bad=0
    while IFS= read -r script; do
        count=$((count + 1))
        bash -n "$script" || bad=1
    done < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
    echo "$count scripts"
    [ "$count" -gt 0 ] && [ "$bad" = 0 ]
}

run_tests() {
    if command -v cargo-nextest >/dev/null 2>&1; then
        # Most of the time tests wait for processes, so that more of them run at once than there are cores.
        cargo nextest run --workspace --locked --no-fail-fast --test-threads $((2 * $(nproc)))
    else
        cargo test --workspace --locked --no-fail-fast --lib --bins --tests
    fi
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

# As a service that verifies keys by itself has it: alone, and before its routes.
library() {
    cargo check --locked -p keywheel-edge --no-default-features &&
        cargo check --locked -p keywheel-edge --no-default-features --features axum --lib --examples
}

# An installation under attack. What is written lies below .cache/faults, and stays there where a promise was broken.
faults() {
    nats >&2 || return 1
    # Where it cannot be had no clock is stepped, and the summary says so.
    local found
    found=$(bash deploy/get-gateways.sh libfaketime) && set -- --faketime "$found/libfaketime" "$@"
    # Beside the tests everything is built already. These two alone have other features, and more would be built anew.
    [ "$mode" = all ] || cargo build --quiet --locked -p keywheel -p keywheel-tests --bins || return 1
    KEYWHEEL_BIN="$root/target/debug/keywheel" target/debug/faults --dir .cache/faults "$@"
}

# On optimised binaries, with nothing else of ours running.
bench() {
    nats || return 1
    # What cannot be had is said to be missing, in its row.
    KEYWHEEL_TEST_GATEWAYS=$(bash deploy/get-gateways.sh nginx wrk redis-server) || true
    export KEYWHEEL_TEST_GATEWAYS
    cargo build --release --locked -p keywheel
    KEYWHEEL_BIN="$root/target/release/keywheel" cargo bench --locked -p keywheel-tests --bench "$which" -- "$@"
}

power() {
    nats || return 1
    cargo build --locked -p keywheel
    export KEYWHEEL_TEST_LOOPS=yes KEYWHEEL_POWER_CUTS="$cuts"
    if [ -n "$seed" ]; then export KEYWHEEL_POWER_SEED="$seed"; fi
    cargo test --locked -p keywheel-tests --test power -- --nocapture nothing_acknowledged
}

deny() {
    if command -v cargo-deny >/dev/null 2>&1; then
        cargo deny --config .deny.toml check bans licenses sources
    else
        echo "cargo-deny is not installed; tests/tests/audit.rs has checked the same lists"
    fi
}

if [[ $mode =~ ^(bench|faults|power)$ ]]; then
    "$mode" "$@"
    exit
fi

step "toolchain" components || true
step "scripts parse" scripts || true
step "nats-server" nats || ready=no
step "gateways" gateways || true
note_missing_gateways
find_loop_mounts
step "dependencies" cargo fetch --locked || true
step "format" cargo fmt --all --check || true
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings || true
step "documentation" documentation || true
step "build" cargo build --workspace --all-targets --locked || ready=no
step_if_ready "library without the server" library
step_if_ready "tests" run_tests
step_if_ready "documentation tests" cargo test --workspace --locked --doc
step_if_ready "figures can be taken" cargo test -q --locked -p keywheel-tests --bench edge -- --quick
step_if_ready "figures of the past can be taken" cargo test -q --locked -p keywheel-tests --bench past -- --quick
step_if_ready "a short fault campaign" faults --minutes 1.2 --seed "${KEYWHEEL_FAULTS_SEED:-6}"
step_if_ready "plain NATS client" bash tests/plain_client/run.sh
step "licences, sources, bans" deny || true

printf '\n==> summary (%s s)\n%s\n' "$((SECONDS - began))" "$summary"
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ]
