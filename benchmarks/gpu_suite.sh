#!/usr/bin/env bash
# Test and measure everything that needs a GPU, in less than nine minutes. Tests come first: they
# compare the results of the GPU with those of the CPU.
#
#   benchmarks/gpu_suite.sh RESULTS
#
# RESULTS is the folder for the results. Environment variables, with defaults:
#   PYTHON   the Python to use (python3)
#   SCRATCH  folder for networks and bundles, 7 GB (a temporary folder)
#   SIZES    slice sizes of the networks in pixels ("512 448")
#   LIMIT_S  time limit in seconds (520)
#
# Needs PyTorch with CUDA and the libraries of the extras `export` and `dev`, but no network. Parts
# that need onnxruntime-gpu, TensorRT-RTX, TensorRT or PyCUDA are skipped if it is not installed.
# Every part writes its results at once, and a part that fails does not stop the others. Parts that
# exceed the time limit are stopped or skipped. A second run with the same SCRATCH reuses the
# networks and gets further.
#
# Exit status: 0 all parts done, 1 a part failed, 3 a part was stopped or skipped for lack of time.
set -u
repository=$(cd "$(dirname "$0")/.." && pwd)
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
cd "$repository" || exit 2
export PYTHONPATH=runtime:train:export:benchmarks:.${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
can_run() { timeout 60 "$python" -c "$1" 2>/dev/null; }
can_run 'import torch; assert torch.cuda.is_available()' || {
    echo "PyTorch finds no GPU" >&2
    exit 2
}
bench=("$python" -m wmh_bench)
dev=("$python" -m benchmarks.dev)
export=("$python" -c "from wmh_export.launcher import main; main()")
# Other versions of PyTorch than the pinned one may emit deprecation warnings: not a failure here.
tests=("$python" -m pytest -q -rs --override-ini=filterwarnings= -p no:cacheprovider)
failed=0 out_of_time=0 running=
trap '[ -z "$running" ] || kill -TERM "$running" 2>/dev/null; exit 130' INT TERM
rm -f "$results"/*.log "$results"/{baseline,latency,throughput,training-step}-*
: >"$results/summary.txt"

print_line() { echo "$1" | tee -a "$results/summary.txt"; }

part() { # NAME LIMIT_S COMMAND…
    local name=$1 limit_s=$2 started=$SECONDS left_s=$((${LIMIT_S:-520} - SECONDS)) status outcome
    shift 2
    if [ $left_s -lt 10 ]; then
        print_line "skipped: $name, no time left"
        out_of_time=1
        return 1
    fi
    [ "$limit_s" -le $left_s ] || limit_s=$left_s
    timeout -k 5 "$limit_s" "$@" >"$results/$name.log" 2>&1 &
    running=$!
    wait $running
    status=$?
    running=
    case $status in
    0) outcome=done ;;
    124 | 137) outcome="stopped at the time limit; results so far are written" out_of_time=1 ;;
    *) outcome="failed, exit status $status" failed=1 ;;
    esac
    tail -n 5 "$results/$name.log"
    print_line "$(printf '%4d s  %s: %s' $((SECONDS - started)) "$name" "$outcome")"
    return $status
}

part gpus 60 "${tests[@]}" tests/runtime/backends/test_gpus.py -k real
part backends 90 "${tests[@]}" tests/runtime/backends/test_backends.py -k real

for size in ${SIZES:-512 448}; do
    recipe=wmh-lora
    [ "$size" = 512 ] || recipe=wmh-lora-$size
    model=$scratch/$size bundle=$scratch/$size/bundle bundle_option=()
    # With --quick, masks are so uncertain that FP16 may differ by more than its tolerance.
    [ -e "$model/ready" ] || {
        rm -rf "$model/checkpoint"
        part "surrogate-model-$size" 200 "${dev[@]}" surrogate-model $recipe \
            --out "$model" && touch "$model/ready"
    }
    [ -e "$model/ready" ] || continue
    if can_run 'import onnxruntime'; then
        [ -e "$bundle" ] || part "bundle-$size" 150 "${export[@]}" build "$model/checkpoint" \
            --pretrained "$model/pretrained.pth" --out "$bundle" --without-int8
    else
        print_line "skipped: bundle, latency and throughput, ONNX Runtime is not installed"
    fi
    if [ -e "$bundle" ]; then
        bundle_option=(--bundle "$bundle")
        for kind in rtx tensorrt; do
            module=tensorrt
            [ $kind = tensorrt ] || module=tensorrt_rtx
            if can_run "import $module"; then
                part "engines-$kind-$size" 60 "${export[@]}" engines "$bundle" --runtime $kind
            else
                print_line "skipped: engines of $kind, $module is not installed"
            fi
        done
        part "latency-$size" 100 "${bench[@]}" latency "$bundle" --precision fp16,fp32 --views 8 \
            --backend rtx,tensorrt,onnxruntime-cuda-graph,onnxruntime-cuda,onnxruntime-tensorrt \
            --batch 1,4 \
            --results "$results/latency-$size.json"
        part "throughput-$size" 60 "${bench[@]}" throughput "$bundle" "$model/phantoms" \
            --precision fp16 --results "$results/throughput-$size.json" \
            --picture "$results/throughput-$size.png"
    fi
    # Every variant is first compared with the CPU. torch.compile comes last.
    part "baseline-$size" 200 "${bench[@]}" baseline "$model/checkpoint" \
        --pretrained "$model/pretrained.pth" "${bundle_option[@]}" \
        --results "$results/baseline-$size.json"
done
part training 90 "${tests[@]}" tests/train/test_gpu.py
for recipe in wmh-lora tiny; do
    part "training-step-$recipe" 60 "${dev[@]}" training-step $recipe \
        --data "$scratch/512/phantoms" --cache "$scratch/cache" --steps 20 \
        --results "$results/training-step-$recipe.json"
done
[ $failed -eq 0 ] || exit 1
[ $out_of_time -eq 0 ] || exit 3
