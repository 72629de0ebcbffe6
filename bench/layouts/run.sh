#!/usr/bin/env bash
# Runs bench_layouts over layouts, journals, workloads and variants, one after the other, about half an hour.
#
#   bench/layouts/run.sh [PROGRAM [OUTPUT-DIRECTORY [PART...]]]     parts: main nosync fanout deep variants trickle
#
# A run that fails leaves its words in the output and makes the exit code 1.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program=${1:-build/release/bench/bench_layouts}
output=${2:-/tmp/layouts}
shift $(($# < 2 ? $# : 2))
parts=("$@")
((${#parts[@]})) || parts=(main nosync fanout deep variants trickle)
mkdir -p "$output"
failed=0

run() {  # name options...
  local name=$1
  shift
  echo "$(date +%T) $name" >&2
  "$program" --directory "build/layouts-data-$$" "$@" >"$output/$name.txt" 2>&1 || { echo "failed $name" >&2; failed=1; }
}

# Both workloads on every layout.
matrix() {  # "journals..." suffix options...
  local counts=$1 suffix=$2 journals layout workload
  shift 2
  for journals in $counts; do
    for layout in direct moved indexed files; do
      for workload in backlog settled; do
        run "$workload-$layout-$journals$suffix" --layout "$layout" --workload "$workload" --journals "$journals" "$@"
      done
    done
  done
}

main() { matrix "1 1000 1000000" "" --prefill 1000000 --messages 400000,100000,12000 --seconds-max 30; }

nosync() {
  matrix "1 1000 1000000" -nosync --no-sync --prefill 1000000 --messages 800000,800000,800000 --seconds-max 20
}

fanout() {
  matrix "1000 1000000" -fanout10 --fanout 10 --prefill 300000 --messages 200000,30000,3000 --seconds-max 25 \
    --segment-mib 16
}

# A large backlog at a million journals: what follows it should cost no more than what came first.
deep() {
  local layout messages
  for messages in 3000000 9000000; do
    for layout in moved indexed files; do
      run "deep-$layout-$messages" --layout "$layout" --journals 1000000 --prefill "$messages" --commits 1000 \
        --messages 800000 --seconds-max 30
    done
  done
}

variants() {
  local journals layout workload
  local -a common=(--prefill 1000000 --messages 400000,100000,12000 --seconds-max 20)
  for journals in 1 1000000; do
    for layout in direct moved indexed; do
      run "backlog-$layout-$journals-writemap" --layout "$layout" --writemap --journals "$journals" "${common[@]}"
    done
    for workload in backlog settled; do
      for layout in moved indexed; do
        run "$workload-$layout-$journals-tables" --layout "$layout" --tables --workload "$workload" \
          --journals "$journals" "${common[@]}"
      done
    done
  done
  for workload in backlog settled; do
    for kind in none reserve zero reuse; do
      run "$workload-files-1000000-$kind" --layout files --preallocate "$kind" --workload "$workload" \
        --journals 1000000 "${common[@]}"
    done
  done
}

trickle() {
  local journals layout
  for journals in 1000 1000000; do
    for layout in direct moved indexed files; do
      run "trickle-$layout-$journals" --layout "$layout" --workload trickle --journals "$journals" --segment-mib 16 \
        --backlog-mib 256 --prefill 3000000 --messages 600000,60000,6000 --seconds-max 30
    done
  done
  for layout in indexed files; do
    run "trickle-$layout-1000000-share40" --layout "$layout" --workload trickle --journals 1000000 --segment-mib 16 \
      --backlog-mib 256 --collect-share 40 --prefill 3000000 --messages 600000,60000,6000 --seconds-max 30
  done
}

for part in "${parts[@]}"; do "$part"; done
exit $failed
