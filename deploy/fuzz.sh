#!/bin/bash
# Runs the fuzz targets one after another: fuzz.sh [SECONDS [TARGET...]]. Without a sanitizer of addresses, since the code
# under test has no `unsafe`, so that the compiler of everything else will do; what is looked for are panics, hangs of more
# than ten seconds and more than 2 GiB of memory. What was found lies in fuzz/artifacts, and the run fails.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
version=0.13.1
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/fuzz-tools")
if ! [ -x "$tools/bin/cargo-fuzz" ]; then
  cargo install --locked --quiet --version "$version" --root "$tools" cargo-fuzz || exit 1
fi
export PATH=$tools/bin:$PATH
target=$(realpath -m "${CARGO_TARGET_DIR:-target}/fuzz")
unset CARGO_TARGET_DIR
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list); fi
cargo fuzz build --sanitizer none --target-dir "$target" || exit 1
failed=()
for t in "${targets[@]}"; do
  echo "── $t"
  log=$target/$t.log
  # What is read before anything else, and is too much to be found by chance, is in seeds.
  corpus=(fuzz/corpus/"$t")
  mkdir -p "${corpus[0]}"
  [ -d fuzz/seeds/"$t" ] && corpus+=(fuzz/seeds/"$t")
  if cargo fuzz run --sanitizer none --target-dir "$target" "$t" "${corpus[@]}" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
    sed -n 's/^stat::number_of_executed_units: */  inputs: /p' "$log"
    grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -1 | sed 's/^/  /'
  else
    failed+=("$t")
    tail -40 "$log"
  fi
done
[ ${#failed[@]} -eq 0 ] || { echo "found something: ${failed[*]}"; exit 1; }
