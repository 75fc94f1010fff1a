#!/usr/bin/env bash
# Everything there is to see on a machine with a GPU, from a checkout and without a network:
#
#     bash benchmarks/on_gpu.sh RESULTS [WHEELS]
#
# The Python in use needs CuPy, NumPy, pytest, hypothesis, matplotlib, tqdm and setuptools 77 or later; a folder of wheels
# brings what is missing (such as array-api-compat, array-api-strict). Tests that need more (scikit-learn, SciPy, ONNX,
# safetensors) are left out where it is missing, which is said. Installs the checkout, lists the devices, runs the tests on
# CuPy, the examples with --device cuda, and the benchmarks, and leaves in the folder RESULTS what they printed and drew.
# DEVICE=cpu in the environment tries the script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
results=${1:?a folder for the results}
device=${DEVICE:-cuda}
backend=$([ "$device" = cpu ] && echo numpy || echo cupy)
mkdir -p "$results"
failed=0

run() { # run NAME COMMAND...: its output goes to the terminal and to RESULTS/NAME.txt
    local name=$1
    shift
    echo "== $name: $*"
    "$@" 2>&1 | tee "$results/$name.txt"
    local code=${PIPESTATUS[0]}
    [ "$code" -eq 0 ] || { failed=1; echo "== $name FAILED with exit code $code"; }
}

install() { python3 -m pip install --no-index --no-deps --no-build-isolation --quiet "$@" || exit 1; }
[ -z "${2:-}" ] || install --upgrade "$2"/*.whl
install .

left_out=()
for test in tests/test_*.py; do # each names at its head what it needs
    python3 -m pytest -q --backend "$backend" --collect-only "$test" >/dev/null 2>&1 || left_out+=("--ignore=$test")
done
python3 -c "import sklearn" 2>/dev/null || left_out+=(-k "not digits")
echo "== left out, for their libraries are missing: ${left_out[*]:-none}" | tee "$results/left_out.txt"

run devices python3 -m xpnet
run tests python3 -m pytest -q --backend "$backend" -p no:cacheprovider "${left_out[@]}"
run sine python3 examples/sine.py --device "$device" --epochs 100 --verbose_epoch 20 --output "$results"
run sine_in_batches python3 examples/sine.py --device "$device" --batch-size 50 --learning-rate 0.5 --no-plots
run spirals python3 examples/spirals.py --device "$device" --output "$results"
run sweep python3 examples/sweep.py --device "$device" --output "$results"
run uncertainty python3 examples/uncertainty.py --device "$device" --output "$results"
run per_sample python3 benchmarks/per_sample.py --device "$device" --processes 2 --rounds 3 --output "$results/per_sample.json"
run ensembles python3 benchmarks/ensembles.py --device "$device" --processes 2 --rounds 3 --output "$results/ensembles.json"
run seeds python3 benchmarks/seeds.py --device "$device" --epochs 20 --output "$results/seeds.json"
exit $failed
