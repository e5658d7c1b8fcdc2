#!/usr/bin/env bash
# What needs a GPU, in less than nine minutes: first that it computes what a processor does, then
# how fast.
#
#   benchmarks/gpu_suite.sh RESULTS
#
# PYTHON names the Python to use (python3), SCRATCH a folder to keep networks and bundles in (7 GB),
# LIMIT_S the seconds of all (530). It needs PyTorch with CUDA and what the extras `export` and `dev`
# list; no network. What is not installed besides (onnxruntime-gpu, TensorRT-RTX, TensorRT, PyCUDA)
# is skipped, with the reason. Every part writes its figures as soon as it has them, and the others
# go on where one fails; what there is no time left for is skipped. In a second run with the same
# SCRATCH the networks are there already, so that it gets further.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:?give a folder for the results}" || exit 2
results=$(cd "$1" && pwd)
if [ -n "${SCRATCH:-}" ]; then
    mkdir -p "$SCRATCH" && scratch=$(cd "$SCRATCH" && pwd) || exit 2
else
    scratch=$(mktemp -d) || exit 2
    trap 'rm -rf "$scratch"' EXIT
fi
python=$(command -v "${PYTHON:-python3}") || exit 2
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$here" || exit 2
export PYTHONPATH=runtime:train:export:benchmarks:.${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
has() { "$python" -c "$1" 2>/dev/null; }
has 'import torch; assert torch.cuda.is_available()' || {
    echo "PyTorch sees no GPU" >&2
    exit 2
}
bench=("$python" -m wmh_bench)
# Another PyTorch than the pinned one may warn of its own future: that is no failure here.
tests=("$python" -m pytest -q -rs --override-ini=filterwarnings= -p no:cacheprovider)
program() { echo "from $1 import $2; $2()"; }
failed=0
running=
trap '[ -z "$running" ] || kill -TERM "$running" 2>/dev/null; exit 130' INT TERM
: >"$results/summary.txt"

say() { echo "$1" | tee -a "$results/summary.txt"; }

part() { # NAME LIMIT_S COMMAND…
    local name=$1 limit_s=$2 began=$SECONDS left_s=$((${LIMIT_S:-530} - SECONDS)) status
    shift 2
    if [ $left_s -lt 10 ]; then
        say "skipped: $name, since no time is left"
        return 1
    fi
    [ "$limit_s" -le $left_s ] || limit_s=$left_s
    timeout -k 5 "$limit_s" "$@" >"$results/$name.log" 2>&1 &
    running=$!
    wait $running
    status=$?
    running=
    [ $status -eq 0 ] || failed=1
    tail -n 5 "$results/$name.log"
    say "$(printf '%4d s  exit %d  %s' $((SECONDS - began)) $status "$name")"
    return $status
}

part devices 60 "${tests[@]}" tests/runtime/test_devices.py -k real
part backends 90 "${tests[@]}" tests/runtime/test_backends.py -k real

for size in 512 448; do
    recipe=wmh-lora
    [ $size = 512 ] || recipe=wmh-lora-$size
    of=$scratch/$size bundle=$scratch/$size/bundle
    [ -e "$of/checkpoint" ] ||
        part "stand-in-$size" 200 "${bench[@]}" dev stand-in $recipe --quick --out "$of"
    [ -e "$of/checkpoint" ] || continue
    # PyTorch's ways need no bundle, and no other library; each is compared with the processor first.
    part "baseline-$size" 120 "${bench[@]}" baseline "$of/checkpoint" --base "$of/base.pth" \
        --batch 1,4 --results "$results/baseline-$size.json"
    if ! has 'import onnxruntime'; then
        say "skipped: bundle, latency and throughput, since ONNX Runtime is not installed"
        continue
    fi
    [ -e "$bundle" ] ||
        part "bundle-$size" 150 "$python" -c "$(program wmh_export.entry main)" build \
            "$of/checkpoint" --base "$of/base.pth" --out "$bundle" --without-int8
    [ -e "$bundle" ] || continue
    for kind in rtx tensorrt; do
        module=tensorrt
        [ $kind = tensorrt ] || module=tensorrt_rtx
        if has "import $module"; then
            part "engines-$kind-$size" 60 "$python" -c "$(program wmh_export.entry main)" engines \
                "$bundle" --runtime $kind
        else
            say "skipped: engines of $kind, since $module is not installed"
        fi
    done
    part "latency-$size" 120 "${bench[@]}" latency "$bundle" --precision fp16,fp32 --views 8 \
        --backend rtx,tensorrt,onnxruntime-cuda,onnxruntime-tensorrt --batch 1,4 \
        --results "$results/latency-$size.json"
    part "throughput-$size" 90 "${bench[@]}" throughput "$bundle" "$of/phantoms" \
        --precision fp16 --results "$results/throughput-$size.json" \
        --picture "$results/throughput-$size.png"
done
part training 90 "${tests[@]}" tests/train/test_gpu.py
for recipe in wmh-lora tiny; do
    part "training-step-$recipe" 120 "${bench[@]}" dev training-step $recipe \
        --data "$scratch/512/phantoms" --cache "$scratch/cache" --steps 20 \
        --results "$results/training-step-$recipe.json"
done
exit $failed
