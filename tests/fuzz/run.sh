#!/usr/bin/env bash
# The campaign: every entrance under libFuzzer for a while, from the committed corpus on. Writes only below .cache/;
# what breaks a promise is kept there, and is to be committed to the corpus with its repair.
set -euo pipefail

version=0.13.2
minutes=10
entrances=()

usage() {
    cat <<'TEXT'
usage: tests/run.sh fuzz [--minutes N] [ENTRANCE...]

Looks for bytes that break a promise at each entrance, N minutes in all (10). The entrances are the folders of
tests/fuzz/corpus. Ends with 1 when something was found; the bytes lie in .cache/fuzz/found.
Example: tests/run.sh fuzz --minutes 5 command event
TEXT
}

while [ $# -gt 0 ]; do
    case "$1" in
    --minutes)
        minutes=${2:-}
        [[ $minutes =~ ^[1-9][0-9]{0,4}$ ]] || { echo "fuzz: --minutes takes a whole number from 1" >&2; exit 2; }
        shift 2
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*)
        echo "fuzz: unknown option '$1'" >&2
        usage >&2
        exit 2
        ;;
    *)
        entrances+=("$1")
        shift
        ;;
    esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
corpus=tests/fuzz/corpus
[ ${#entrances[@]} -gt 0 ] || mapfile -t entrances < <(ls "$corpus")
for entrance in "${entrances[@]}"; do
    [ -d "$corpus/$entrance" ] || { echo "fuzz: no entrance is called '$entrance'; there are: $(ls "$corpus" | xargs)" >&2; exit 2; }
done

cannot() {
    echo "fuzz: cannot run: $1" >&2
    exit 3
}

command -v cargo >/dev/null || cannot "cargo is missing"
command -v c++ >/dev/null || cannot "a C++ compiler is missing (libFuzzer is built with it); on Debian: apt-get install g++"
case "$(uname -s)-$(uname -m)" in
Linux-x86_64 | Linux-aarch64) ;;
*) cannot "only Linux on x86_64 and aarch64 was tried" ;;
esac

# A user's own compiler flags have no part in this.
unset RUSTFLAGS
tool=$root/.cache/cargo-fuzz
if ! "$tool/bin/cargo-fuzz" --version 2>/dev/null | grep -q " $version\$"; then
    echo "==> cargo-fuzz $version into .cache"
    cargo install cargo-fuzz --version "$version" --locked --root "$tool" --quiet ||
        cannot "cargo-fuzz $version could not be installed; is the registry of crates reachable?"
fi

# The code is safe Rust, so overflows, panics and broken promises are looked for, not stray pointers: that needs no
# nightly compiler.
echo "==> build"
built=$root/.cache/fuzz-target
# The project's own versions; only what the fuzzer adds is looked up.
cp Cargo.lock tests/fuzz/Cargo.lock
PATH=$tool/bin:$PATH cargo fuzz build --fuzz-dir tests/fuzz --target-dir "$built" --sanitizer none ||
    cannot "the instrumented build failed"
host=$(rustc -vV | sed -n 's/^host: //p')

work=$root/.cache/fuzz
mkdir -p "$work/found"
seconds=$((minutes * 60 / ${#entrances[@]}))
[ "$seconds" -ge 5 ] || seconds=5
failed=0
for entrance in "${entrances[@]}"; do
    mkdir -p "$work/$entrance"
    log=$work/$entrance.log
    if "$built/$host/release/$entrance" "$work/$entrance" "$corpus/$entrance" -max_total_time="$seconds" \
        -timeout=25 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$work/found/$entrance-" >"$log" 2>&1 </dev/null; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
        printf '  ok      %-10s %10s runs in %s s, %s places reached\n' "$entrance" "${runs:-?}" "$seconds" "${covered:-?}"
    else
        failed=$((failed + 1))
        printf '  FOUND   %-10s see %s\n' "$entrance" ".cache/fuzz/$entrance.log"
        grep -m 3 -E 'panicked at|ERROR: libFuzzer|Test unit written' -A 1 "$log" | sed 's/^/          /' || true
    fi
done
[ "$failed" = 0 ] || { echo "fuzz: $failed of ${#entrances[@]} entrances broke; the bytes lie in .cache/fuzz/found" >&2; exit 1; }
echo "fuzz: nothing found at ${#entrances[@]} entrances"
