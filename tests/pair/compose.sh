#!/usr/bin/env bash
# compose.sh <calm's sources> <folder of calm-convert and calm-pair> <folder of test data> <folder to write>
#
# The whole of scripts/compose on two real models that are tiny: it trains, is interrupted and goes on to the same
# bytes, measures, saves, continues prompts, and says in one sentence what is wrong.
set -euo pipefail
project=$1 tools=$2 data=${CALM_TEST_DATA:-$3} work=$4
compose=$project/scripts/compose

if ! [ -e "$data/stories260K/stories260K.bin" ] || ! [ -e "$data/gpt-nano-sort/gpt-nano-sort-model.json" ]; then
  echo "skipped: no stories260K and gpt-nano-sort in $data; set CALM_TEST_DATA"
  exit 0
fi
rm -rf "$work"
mkdir -p "$work"
cd "$work"
export CALM_TOOLS=$tools CALM_BUILD_TYPE=None CXXFLAGS="-O1" OMP_NUM_THREADS=1

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
# expect <text> <command...>: the command succeeds and says it.
expect() {
  local text=$1
  shift
  "$@" >said 2>&1 || { cat said >&2 && fail "$* does not succeed"; }
  grep -qF -- "$text" said || { cat said >&2 && fail "$* does not say: $text"; }
}
# refuse <text> <command...>: the command fails with one line that has it.
refuse() {
  local text=$1
  shift
  ! "$@" >said 2>error || fail "$* succeeds"
  { [ "$(wc -l <error)" = 1 ] && grep -qF -- "$text" error; } || { cat error >&2 && fail "$* does not say: $text"; }
}

"$tools/calm-convert" llama2c "$data/stories260K/stories260K.bin" models/stories \
  --tokenizer "$data/stories260K/tok512.bin"
"$tools/calm-convert" mingpt "$data/gpt-nano-sort/gpt-nano-sort-model.json" models/sort --digits
"$project/examples/compose/sort_lines" | sed -n 1~12p >sort.jsonl

# What is wrong is said before anything is compiled.
refuse "no such directory" "$compose" models/stories models/none --out one
refuse "--links 3:1: the augment has no layer 3" "$compose" models/stories models/sort --links 3:1 --out one
refuse "--data none.jsonl: no such file" "$compose" models/stories models/sort --data none.jsonl --out one
refuse "no config.json" "$compose" models models/sort --out one
refuse "expected two directories" "$compose" models/stories --out one
refuse "holds no composition" "$compose" --generate x --out none

run=(--data sort.jsonl --held-out 8 --batch 4 --learning-rate 0.01 --warmup 2 --evaluate-every 5 --save-every 5)
pair=(models/stories models/sort)
expect "trained   30 steps" \
  "$compose" "${pair[@]}" "${run[@]}" --links 2:4 --bridge local --steps 30 --out one --control
grep -q "47 lines to train on, 6 to choose the best bridges by, 8 held out" said || fail "what the lines are for"
grep -q "features  not kept: an augment has a tokenizer of its own" said || fail "what becomes of features is not said"
grep -q "anchor alone .* 0.0 %" said || fail "the anchor alone sorts"
grep -q "random augment .* %" said || fail "no control"
[ "$(grep -c eval_loss one/metrics.jsonl)" = 6 ] || fail "six evaluations are expected in metrics.jsonl"

mv one/bridge reference
rm -r one/control one/run one/run.json one/metrics.jsonl
echo 0 >code
{ "$compose" "${pair[@]}" "${run[@]}" --steps 30 --out one >interrupted 2>&1 || echo $? >code; } &
until [ -s one/metrics.jsonl ]; do sleep 0.02; done
pkill -INT --parent $! calm-compose || true # it may have come to its end
wait
case $(cat code) in
  130) grep -q "interrupted behind step" interrupted || fail "an interrupted run does not say so" ;;
  0) echo "it was faster than the signal" ;;
  *) cat interrupted >&2 && fail "an interrupted run" ;;
esac
refuse "begun with another seed" "$compose" "${pair[@]}" "${run[@]}" --seed 5 --out one
expect "trained   30 steps" "$compose" "${pair[@]}" "${run[@]}" --steps 30 --out one
cmp reference/adapter_model.safetensors one/bridge/adapter_model.safetensors ||
  fail "an interrupted run does not end with the same bridges"

# What was saved is used, from other folders, too.
expect "Sort 0 1 0 2 2 1:" "$compose" --out one --generate "Sort 0 1 0 2 2 1:" --max-new-tokens 12
cd /
expect '"finish":"length"' "$compose" --out "$work/one" --generate "Sort 2 1:" --max-new-tokens 2 --json
refuse "context is 512" "$compose" --out "$work/one" --generate "Sort" --max-new-tokens 1000
echo "composed, interrupted, resumed and asked"
