#!/usr/bin/env bash
# Build the image for CPUs, run it as a hospital would, and compare its mask with that of a pip
# installation. Needs Docker 23 or later, Python, and the internet for the build.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

docker build --file containers/Dockerfile --target cpu --tag wmh-lora:cpu .

echo "With pip:"
"${PYTHON:-python3}" -m venv "$work/venv"
PIP_CONSTRAINT="$PWD/constraints.txt" "$work/venv/bin/pip" install --quiet ".[cpu]"
"$work/venv/bin/wmh-infer" examples "$work/pip"

echo "With the image: read-only, without network, as a user that it does not know:"
mkdir "$work/image"
docker run --rm --read-only --tmpfs /tmp --network none --user "$(id -u):$(id -g)" \
    --cap-drop ALL --security-opt no-new-privileges \
    --volume "$PWD/examples:/data:ro" --volume "$work/image:/out" \
    wmh-lora:cpu /data /out participant

mask=sub-01_label-WMH_mask.nii.gz
cmp <(gzip -dc "$work/pip/$mask") <(gzip -dc "$work/image/$mask")
echo "Both masks are equal, byte for byte."
