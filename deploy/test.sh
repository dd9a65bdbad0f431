#!/bin/bash
# Everything that has to pass, stage by stage, each with its time; all stages run even if one fails. The last line
# counts tests (a check without tests of its own counts as one). Logs are in target/test-logs.
set -uo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
logs=$target/test-logs
mkdir -p "$logs"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto} NO_COLOR=1
# What would make the next compilation faster takes gigabytes, and time in this one.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
passed=0 failed=0 begun=$SECONDS summary=()

# Adds up what a stage's log says: sum FILE LINES WORD, the numbers before WORD in the lines that match.
sum() { grep -E "$2" "$1" | grep -oE "[0-9]+ $3" | awk '{ n += $1 } END { print n + 0 }'; }

# stage NAME KIND COMMAND...: KIND says how its output counts: one, cargo, vitest, pytest.
stage() {
  local name=$1 kind=$2 log=$logs/${1// /-}.log start=$SECONDS ok=0 good=0 bad=0
  shift 2
  echo; echo "── $name"
  "$@" 2>&1 | tee "$log" || ok=1
  local lines=''
  case $kind in
    cargo) lines='^test result: ' ;;
    vitest) lines='^ *Tests ' ;;
    pytest) lines=' in [0-9.]+s' ;;
  esac
  if [ -n "$lines" ]; then
    good=$(sum "$log" "$lines" passed) bad=$(($(sum "$log" "$lines" failed) + $(sum "$log" "$lines" error)))
  else
    good=$((1 - ok))
  fi
  # A stage that fails without a failed test (it did not compile) is one failure.
  if [ $ok -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad))
  summary+=("$(printf '%-24s %5d s   %s' "$name" $((SECONDS - start)) "$([ $ok -eq 0 ] && echo ok || echo FAILED)")")
  return $ok
}

rushes() { echo "$target/debug/rushes"; }

# A nearly full disk explains much of what may fail below.
free() { df -Pm . | awk 'NR == 2 { print $4 }'; }
echo "$(free) MiB of disk are free"

# First the pages, which the binary carries; then what is fast to fail.
stage "web install" one make --no-print-directory web/node_modules/.package-lock.json
stage "web types" one npm --prefix web run --silent typecheck
stage "web tests" vitest npm --prefix web test --silent
stage "web build" one make --no-print-directory web
stage "format" one cargo fmt --all --check
stage "licences" one python3 deploy/licences.py
# A real S3 server, for the tests of the store and of all that is kept in one.
if stage "s3 server" one deploy/s3.sh; then
  RUSHES_S3=$(deploy/s3.sh)
  export RUSHES_S3
fi
stage "unit tests" cargo cargo test --workspace --locked --no-fail-fast
stage "clippy" one cargo clippy --workspace --all-targets --locked -- -D warnings
if stage "binary" one cargo build --locked -p rushes -p rushes-camera; then
  if python=$(deploy/venv.sh); then
    # Two files at a time: most of a test is waiting, for media that take as long as they last.
    RUSHES_BIN=$(rushes) stage "end to end" pytest "$python" -m pytest -n 2 --dist loadfile tests
  else
    stage "end to end" one false
  fi
fi

echo
printf '%s\n' "${summary[@]}"
echo "$(free) MiB of disk are free"
echo "total $((SECONDS - begun)) s; logs in $logs"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
