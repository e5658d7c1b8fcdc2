#!/usr/bin/env bash
# What needs a GPU, in minutes: first that it computes what a processor does, then how fast.
#
#   benchmarks/gpu_suite.sh RESULTS
#
# PYTHON names the Python to use (python3), SCRATCH a folder to keep the networks in (6 GB). It needs
# PyTorch with CUDA and what the extras `export` and `dev` list; no network. What is not installed
# besides (onnxruntime-gpu, TensorRT-RTX, TensorRT, PyCUDA) is skipped, with the reason. Every part
# writes its figures as soon as it has them, and the others go on where one fails.
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
"$python" -c 'import torch; assert torch.cuda.is_available(), "PyTorch sees no GPU"' || exit 2
bench=("$python" -m wmh_bench)
# Another PyTorch than the pinned one may warn of its own future: that is no failure here.
tests=("$python" -m pytest -q -rs --override-ini=filterwarnings= -p no:cacheprovider)
failed=0
running=
trap '[ -z "$running" ] || kill -TERM "$running" 2>/dev/null; exit 130' INT TERM
: >"$results/summary.txt"

part() { # NAME LIMIT_S COMMAND…
    local name=$1 limit_s=$2 began=$SECONDS status
    shift 2
    timeout -k 10 "$limit_s" "$@" >"$results/$name.log" 2>&1 &
    running=$!
    wait $running
    status=$?
    running=
    [ $status -eq 0 ] || failed=1
    tail -n 5 "$results/$name.log"
    printf '%4d s  exit %d  %s\n' $((SECONDS - began)) $status "$name" | tee -a "$results/summary.txt"
}

part devices 60 "${tests[@]}" tests/runtime/test_devices.py -k real
part backends 120 "${tests[@]}" tests/runtime/test_backends.py -k real
part training 60 "${tests[@]}" tests/train/test_gpu.py
part ways 120 "${tests[@]}" tests/benchmarks/test_gpu_views.py
if "$python" -c 'import onnxruntime as o; assert "CUDAExecutionProvider" in o.get_available_providers()' \
    2>/dev/null; then
    run() { echo "from wmh_runtime.cli.entry import $1; $1()"; }
    part phantoms 60 "$python" -c "$(run phantom)" "$scratch/few" --subjects 3 --seed 7
    part infer 120 "$python" -c "$(run infer)" "$scratch/few" "$scratch/masks" --bundle demo \
        --backend onnxruntime-cuda --precision fp16
else
    echo "skipped: wmh-infer on the GPU, since onnxruntime-gpu is not installed" | tee -a "$results/summary.txt"
fi
for size in 512 448; do
    recipe=wmh-lora
    [ $size = 512 ] || recipe=wmh-lora-$size
    part "stand-in-$size" 300 "${bench[@]}" stand-in $recipe --out "$scratch/$size"
    part "views-$size" 300 "${bench[@]}" gpu-views "$scratch/$size/checkpoint" \
        --base "$scratch/$size/base.pth" --results "$results/views-$size.json"
done
for recipe in wmh-lora tiny; do
    part "training-step-$recipe" 120 "${bench[@]}" training-step $recipe --data "$scratch/512/phantoms" \
        --cache "$scratch/cache" --steps 20 --results "$results/training-step-$recipe.json"
done
exit $failed
