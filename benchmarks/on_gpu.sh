#!/usr/bin/env bash
# Runs the tests, examples and benchmarks on a machine with a GPU, from a checkout, without internet access:
#
#     bash benchmarks/on_gpu.sh RESULTS [WHEELS]
#
# python3 needs CuPy, NumPy, pytest, hypothesis, matplotlib, tqdm and setuptools 77 or later. WHEELS is a folder with the
# wheels of missing packages (such as array-api-compat, array-api-strict). Tests whose libraries are missing (scikit-learn,
# SciPy, ONNX, safetensors) are skipped and listed. The script installs the checkout, lists the devices, runs the tests on
# CuPy, the examples with --device cuda, and the benchmarks. Their output and pictures are stored in the folder RESULTS.
# With DEVICE=cpu in the environment the script runs without a GPU, to test the script itself.
set -uo pipefail
cd "$(dirname "$0")/.."
results=${1:?must be a folder for the results}
device=${DEVICE:-cuda}
backend=$([ "$device" = cpu ] && echo numpy || echo cupy)
mkdir -p "$results"
failed=0

run() { # run NAME COMMAND...: shows the output and writes it to RESULTS/NAME.txt
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

skipped=()
for test in tests/test_*.py; do # a test file imports the libraries that it needs at its top
    python3 -m pytest -q --backend "$backend" --collect-only "$test" >/dev/null 2>&1 || skipped+=("--ignore=$test")
done
python3 -c "import sklearn" 2>/dev/null || skipped+=(-k "not digits")
echo "== skipped, because their libraries are missing: ${skipped[*]:-none}" | tee "$results/skipped.txt"

run devices python3 -m xpnet
run compiled python3 -c "
import numpy as np
from xpnet import NeuralNetwork
X = np.linspace(-2, 2, 500)[:, None]
for settings in ({}, {'ensemble': 1000}, {'ensemble': 1000, 'dropout': 0.2, 'optimizer': 'adam'}):
    compiled, eager = (NeuralNetwork([1, 10, 10, 1], device='$device', seed=0, **settings) for _ in range(2))
    for network, compile in ((compiled, True), (eager, False)):
        network.train(X, X**2 / 4, 0.01, epochs=3, batch_size=50, shuffle=True, verbose=False, compile=compile)
    error = np.max(np.abs(compiled.history['loss'] - eager.history['loss']))
    print(settings, 'largest difference of a loss:', error)
    assert error < 1e-10
"
run tests python3 -m pytest -q --backend "$backend" -p no:cacheprovider "${skipped[@]}"
run sine python3 examples/sine.py --device "$device" --epochs 100 --verbose_epoch 20 --output "$results"
run sine_in_batches python3 examples/sine.py --device "$device" --batch-size 50 --learning-rate 0.5 --no-plots
run spirals python3 examples/spirals.py --device "$device" --output "$results"
run sweep python3 examples/sweep.py --device "$device" --output "$results"
run uncertainty python3 examples/uncertainty.py --device "$device" --output "$results"
run per_sample python3 benchmarks/per_sample.py --device "$device" --processes 2 --rounds 3 --output "$results/per_sample.json"
run ensembles python3 benchmarks/ensembles.py --device "$device" --processes 2 --rounds 3 --output "$results/ensembles.json"
# Peers that are not installed are reported as such.
run peers python3 -m benchmarks --device "$device" --quick $([ "$device" = cpu ] && echo --case sine) --output "$results"
run kernels python3 benchmarks/kernels.py --device "$device" --rounds 3 --output "$results/kernels.json"
run seeds python3 benchmarks/seeds.py --device "$device" --epochs 20 --output "$results/seeds.json"
exit $failed
