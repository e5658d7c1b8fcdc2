#!/usr/bin/env bash
# What to run on a machine with a GPU: correctness first, then speed. Results go to the folder given.
#   benchmarks/gpu_suite.sh results/my-gpu
set -euo pipefail
OUT=${1:?give a folder for the results}
mkdir -p "$OUT"
python -c "import torch; assert torch.cuda.is_available(), 'PyTorch sees no GPU'"

# Correctness against the CPU.
python -m pytest tests/train/test_gpu.py -q
python -m pytest tests/runtime/test_devices.py tests/runtime/test_backends.py -k real -q

wmh-phantom "$OUT/phantoms" --subjects 12 --seed 3
for recipe in tiny wmh-lora wmh-lora-448 wmh-lora-budget; do
    wmh-bench training-step "$recipe" --data "$OUT/phantoms" --cache "$OUT/cache" --steps 20 \
        --results "$OUT/training-step-$recipe.json"
done
