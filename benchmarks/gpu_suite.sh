#!/usr/bin/env bash
# What needs a GPU, in less than nine minutes: first that it computes what a processor does, then
# how fast.
#
#   benchmarks/gpu_suite.sh RESULTS
#
# PYTHON names the Python to use (python3), SCRATCH a folder to keep networks and bundles in (7 GB),
# SIZES the pixels of the method's networks ("512 448"), LIMIT_S the seconds of all (520). It needs
# PyTorch with CUDA and what the extras `export` and `dev` list; no network. What is not installed
# besides (onnxruntime-gpu, TensorRT-RTX, TensorRT, PyCUDA) is skipped, with the reason. Every part
# writes its figures as soon as it has them, and the others go on where one fails. What there is no
# time left for is cut or skipped: with the same SCRATCH a second run has its networks already and
# gets further. Exit status: 0 all done, 1 something failed, 3 something was cut or skipped for time.
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
has() { timeout 60 "$python" -c "$1" 2>/dev/null; }
has 'import torch; assert torch.cuda.is_available()' || {
    echo "PyTorch sees no GPU" >&2
    exit 2
}
bench=("$python" -m wmh_bench)
export=("$python" -c "from wmh_export.launcher import main; main()")
# Another PyTorch than the pinned one may warn of its own future: that is no failure here.
tests=("$python" -m pytest -q -rs --override-ini=filterwarnings= -p no:cacheprovider)
failed=0 cut=0 running=
trap '[ -z "$running" ] || kill -TERM "$running" 2>/dev/null; exit 130' INT TERM
rm -f "$results"/*.log "$results"/{baseline,latency,throughput,training-step}-*
: >"$results/summary.txt"

print_line() { echo "$1" | tee -a "$results/summary.txt"; }

part() { # NAME LIMIT_S COMMAND…
    local name=$1 limit_s=$2 began=$SECONDS left_s=$((${LIMIT_S:-520} - SECONDS)) status how
    shift 2
    if [ $left_s -lt 10 ]; then
        say "skipped: $name, since no time is left"
        cut=1
        return 1
    fi
    [ "$limit_s" -le $left_s ] || limit_s=$left_s
    timeout -k 5 "$limit_s" "$@" >"$results/$name.log" 2>&1 &
    running=$!
    wait $running
    status=$?
    running=
    case $status in
    0) how=done ;;
    124 | 137) how="cut; what it had measured is written" cut=1 ;;
    *) how="failed, exit $status" failed=1 ;;
    esac
    tail -n 5 "$results/$name.log"
    say "$(printf '%4d s  %s: %s' $((SECONDS - began)) "$name" "$how")"
    return $status
}

part devices 60 "${tests[@]}" tests/runtime/test_devices.py -k real
part backends 90 "${tests[@]}" tests/runtime/test_backends.py -k real

for size in ${SIZES:-512 448}; do
    recipe=wmh-lora
    [ "$size" = 512 ] || recipe=wmh-lora-$size
    of=$scratch/$size bundle=$scratch/$size/bundle of_bundle=()
    [ -e "$of/ready" ] || {
        rm -rf "$of/checkpoint"
        part "stand-in-$size" 200 "${bench[@]}" dev stand-in $recipe --quick --out "$of" &&
            touch "$of/ready"
    }
    [ -e "$of/ready" ] || continue
    if has 'import onnxruntime'; then
        [ -e "$bundle" ] || part "bundle-$size" 150 "${export[@]}" build "$of/checkpoint" \
            --base "$of/base.pth" --out "$bundle" --without-int8
    else
        say "skipped: bundle, latency and throughput, since ONNX Runtime is not installed"
    fi
    if [ -e "$bundle" ]; then
        of_bundle=(--bundle "$bundle")
        for kind in rtx tensorrt; do
            module=tensorrt
            [ $kind = tensorrt ] || module=tensorrt_rtx
            if has "import $module"; then
                part "engines-$kind-$size" 60 "${export[@]}" engines "$bundle" --runtime $kind
            else
                say "skipped: engines of $kind, since $module is not installed"
            fi
        done
        part "latency-$size" 100 "${bench[@]}" latency "$bundle" --precision fp16,fp32 --views 8 \
            --backend rtx,tensorrt,onnxruntime-cuda,onnxruntime-tensorrt --batch 1,4 \
            --results "$results/latency-$size.json"
        part "throughput-$size" 60 "${bench[@]}" throughput "$bundle" "$of/phantoms" \
            --precision fp16 --results "$results/throughput-$size.json" \
            --picture "$results/throughput-$size.png"
    fi
    # Each way is compared with the processor first; torch.compile comes last.
    part "baseline-$size" 200 "${bench[@]}" baseline "$of/checkpoint" --base "$of/base.pth" \
        "${of_bundle[@]}" --results "$results/baseline-$size.json"
done
part training 90 "${tests[@]}" tests/train/test_gpu.py
for recipe in wmh-lora tiny; do
    part "training-step-$recipe" 60 "${bench[@]}" dev training-step $recipe \
        --data "$scratch/512/phantoms" --cache "$scratch/cache" --steps 20 \
        --results "$results/training-step-$recipe.json"
done
[ $failed -eq 0 ] || exit 1
[ $cut -eq 0 ] || exit 3
