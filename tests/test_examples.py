"""The examples run from the command line on every available device, and draw what they learned."""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from pathlib import Path

import digits
import estimators
import numpy as np
import pytest
import search
import sine
import spirals
import sweep
import uncertainty
from matplotlib import pyplot as plt
from matplotlib.image import imread
from PIL import Image, ImageSequence

SCRIPT = Path(sine.__file__)
SHORT = ["--epochs", "12", "--samples", "40", "--verbose_epoch", "5"]
PICTURES = ["sine_data.png", "sine_epochs.png", "sine_fit.png", "sine_loss.png"]


def test_the_documents_command_line_runs(tmp_path):
    """In a separate process whose output is a pipe, so that no progress bar is drawn."""
    command = ["--layers", "1", "10", "10", "1", "--learning_rate", "0.01", "--epochs", "20", "--verbose_epoch", "10"]
    result = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, *command, "--output", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    assert re.findall(r"^Epoch (\d+) Loss : 0\.06\d+$", result.stdout, re.MULTILINE) == ["0", "10", "19"]
    assert re.search(r"^Device : cpu \(numpy", result.stdout, re.MULTILINE)
    assert re.search(r"^Sample by sample : 20 epochs in [\d.]+ s, final loss 0\.06", result.stdout, re.MULTILINE)
    assert re.search(r"^In batches of 50 : \d+ epochs in [\d.]+ s, final loss 0\.06", result.stdout, re.MULTILINE)


def test_the_pictures_are_drawn(tmp_path, capsys):
    assert sine.main([*SHORT, "--output", str(tmp_path / "new" / "folder")]) == 0
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == PICTURES
    for file in files:
        pixels = imread(file)
        assert min(pixels.shape[:2]) > 200
        assert np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0).shape[0] > 50
    assert capsys.readouterr().out.count("Picture : ") == len(PICTURES)


def frames_of(file):
    """The pixels of every frame of a GIF, and how many milliseconds each is shown."""
    with Image.open(file) as gif:
        frames = [
            (np.asarray(frame.convert("RGB"), dtype=int), frame.info["duration"])
            for frame in ImageSequence.Iterator(gif)
        ]
    pixels, durations = zip(*frames, strict=True)
    return np.stack(pixels), list(durations)


def test_the_predictions_over_the_epochs_are_drawn_as_a_gif(tmp_path, capsys):
    assert sine.main([*SHORT, "--learning-rate", "1", "--output", str(tmp_path), "--animate"]) == 0
    assert f"Picture : {tmp_path / 'sine.gif'}\n" in capsys.readouterr().out
    frames, durations = frames_of(tmp_path / "sine.gif")
    assert durations == [100] * 12 + [2000]
    # The predictions and the loss change from frame to frame; the labels of the axes do not.
    (_, height, width, _) = frames.shape
    changes = np.abs(np.diff(frames, axis=0)).max(axis=-1) > 50
    fit, loss = np.split(changes[:, height // 10 :], [6 * width // 10], axis=2)
    assert fit.any(axis=(1, 2)).all()
    assert loss.any(axis=(1, 2)).all()
    assert not changes[:, -height // 8 :].any()
    assert not changes[:, :, : width // 17].any()


def test_the_pictures_and_the_gif_agree_in_lines_and_labels(tmp_path, monkeypatch):
    drawn = {"fit": [], "loss": []}

    def recorder(function, kind):
        def draw(axes, *args, **options):
            drawn[kind].append(axes)
            function(axes, *args, **options)

        return draw

    monkeypatch.setattr(sine, "draw_fit", recorder(sine.draw_fit, "fit"))
    monkeypatch.setattr(sine, "draw_epoch_loss", recorder(sine.draw_epoch_loss, "loss"))
    assert sine.main([*SHORT, "--batch-size", "all", "--output", str(tmp_path), "--animate"]) == 0
    # The predictions: twice in sine_epochs (after 10 and 12 epochs), in sine_fit, and in the GIF.
    assert (len(drawn["fit"]), len(drawn["loss"])) == (4, 3)
    assert {axes.get_ylabel() for axes in drawn["loss"]} == {"Loss (half the mean squared error)"}
    for axes in drawn["fit"]:
        for lines in (axes.lines, axes.get_legend().get_lines()):
            assert [(line.get_label(), line.get_linestyle()) for line in lines] == [("Actual", "-"), ("Predicted", "-")]


def test_a_gif_changes_neither_the_training_nor_the_other_pictures(tmp_path, capsys):
    printed = []
    for name, options in (("without", []), ("with", ["--animate"])):
        sine.main([*SHORT, "--batch-size", "8", "--output", str(tmp_path / name), *options])
        printed.append(re.findall(r"[lL]oss :? ?(\S+)$", capsys.readouterr().out, re.MULTILINE))
    assert printed[0] == printed[1]
    assert len(printed[0]) == 5
    for picture in PICTURES:
        assert (tmp_path / "with" / picture).read_bytes() == (tmp_path / "without" / picture).read_bytes()


def test_the_frames_are_evenly_spaced_in_the_logarithm_from_0_to_the_last_epoch():
    assert sine.frames(5) == {0, 1, 2, 3, 4, 5}
    frames = np.array(sorted(sine.frames(1000)))
    assert frames.size == 60
    assert frames[[0, -1]].tolist() == [0, 1000]
    assert np.all(np.diff(frames, n=2) >= -1)  # because they are rounded
    steps = np.diff(np.log(frames + 50))
    np.testing.assert_allclose(steps, steps.mean(), atol=1 / 50)


def test_without_pictures_there_is_no_gif(tmp_path, capsys):
    assert sine.main([*SHORT, "--output", str(tmp_path), "--animate", "--no-plots"]) == 0
    assert "Picture" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spelled", [
    ["--learning_rate", "0.5", "--batch_size", "all", "--no_plots", "--verbose_epoch", "7"],
    ["--learning-rate", "0.5", "--batch-size", "all", "--no-plots", "--verbose-epoch", "7"],
])  # fmt: skip
def test_options_take_underscores_and_dashes(spelled, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sine.main([*SHORT[:4], *spelled]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"Epoch (\d+) Loss", printed) == ["0", "7", "11"]
    assert "Full batch : 12 epochs" in printed
    assert "In batches" not in printed
    assert list(tmp_path.iterdir()) == []


def test_it_runs_on_the_given_device(backend, dtype, capsys, tmp_path):
    assert sine.main([*SHORT, *on_device(backend, dtype), "--no-plots", "--batch-size", "8"]) == 0
    assert f"Device : {backend.device} ({backend.name}" in capsys.readouterr().out


def test_the_same_seed_repeats_the_run(capsys):
    losses = []
    for seed in ("3", "3", "4"):
        sine.main([*SHORT, "--no-plots", "--batch-size", "all", "--seed", seed])
        losses.append(re.findall(r"Loss : (\S+)", capsys.readouterr().out))
    assert losses[0] == losses[1] != losses[2]


def test_the_help_text_says_how_the_default_seed_compares(capsys):
    with pytest.raises(SystemExit):
        sine.main(["--help"])
    assert "a quarter of 200 tested seeds reach a loss below 0.0004" in " ".join(capsys.readouterr().out.split())


def test_batches_reach_the_loss_of_the_run_sample_by_sample(capsys):
    assert sine.main(["--epochs", "150", "--samples", "100", "--learning-rate", "0.05", "--no-plots"]) == 0
    one, batches = re.findall(r"final loss (\S+)", capsys.readouterr().out)
    assert float(batches) <= float(one)


@pytest.mark.parametrize(("arguments", "says"), [
    (["--layers", "1", "0", "1"], r"layer_list\[1\] must be a positive integer, got 0"),
    (["--layers", "1", "10"], "last number of --layers must be 1 because the sine has one target, got 1 10"),
    (["--layers", "2", "1"], "first number of --layers must be 1 because the sine has one input, got 2 1"),
    (["--layers", "1"], "layer"),
    (["--learning-rate", "-1"], "learning_rate must be a positive number, finite"),
    (["--epochs", "0"], "epochs must be a positive integer"),
    (["--epochs", "-60", "--animate"], "epochs must be a positive integer"),
    (["--samples", "0"], "samples"),
    (["--batch-size", "0"], "batch_size must be a positive integer"),
    (["--batch-size", "some"], "batch"),
    (["--dtype", "float16"], "dtype must be 'float32' or 'float64', got 'float16'"),
    (["--device", "gpu"], "device must be .* got 'gpu'"),
    (["--seed", "-1"], "seed must not be negative"),
])  # fmt: skip
def test_a_bad_command_line_is_one_sentence_and_exit_code_2(arguments, says, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        sine.main([*SHORT, "--output", str(tmp_path), *arguments])
    assert ended.value.code == 2
    assert re.search(says, capsys.readouterr().err.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []


def test_divergence_is_one_sentence_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as ended:
        sine.main([*SHORT, "--learning-rate", "1e200", "--no-plots"])
    assert ended.value.code == 1
    assert "the loss became NaN or infinite in epoch" in capsys.readouterr().err


def test_ctrl_c_draws_the_pictures_of_the_epochs_so_far(capsys, tmp_path, monkeypatch):
    train = sine.NeuralNetwork.train

    def interrupted(self, *args, callbacks, **options):
        def interrupt(network):
            if network.epochs_trained == 7:
                raise KeyboardInterrupt
            callbacks(network)

        train(self, *args, callbacks=interrupt, **options)

    monkeypatch.setattr(sine.NeuralNetwork, "train", interrupted)
    assert sine.main([*SHORT, "--output", str(tmp_path), "--animate"]) == 130
    printed = capsys.readouterr().out
    assert "interrupted in epoch 7" in printed
    assert "Sample by sample : 7 epochs" in printed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sine.gif", *PICTURES]
    assert frames_of(tmp_path / "sine.gif")[1] == [100] * 7 + [2000]


class Terminal(io.StringIO):
    """A terminal whose final lines are the text that was written, where a carriage return overwrites a line."""

    def isatty(self):
        return True

    def lines(self):
        shown = []
        for line in self.getvalue().split("\n"):
            row = ""
            for part in line.split("\r"):
                row = part + row[len(part) :]
            shown.append(row.replace("\x1b[A", "").rstrip())
        return shown


def test_a_terminal_gets_a_progress_bar_and_reports_above_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("xpnet.training.reports._BAR_SECONDS", 0)
    assert sine.main([*SHORT, "--no-plots", "--batch-size", "all"]) == 0
    assert "/12 [" in terminal.getvalue()
    reports = [line for line in terminal.lines() if "Loss" in line]
    assert [re.sub(r"0\.\d+$", "…", line) for line in reports] == [
        f"Epoch {epoch} Loss : …" for epoch in (0, 5, 10, 11)
    ]


def test_a_pipe_gets_no_progress_bar(monkeypatch, capsys):
    monkeypatch.setattr("xpnet.training.reports._BAR_SECONDS", 0)
    sine.main([*SHORT, "--no-plots", "--batch-size", "all"])
    assert "/12 [" not in "".join(capsys.readouterr())


def test_ctrl_c_in_the_comparison_leaves_the_pictures_of_the_run(capsys, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sine, "compare", interrupt)
    with pytest.raises(SystemExit) as ended:
        sine.main([*SHORT, "--output", str(tmp_path)])
    assert ended.value.code == 130
    assert sorted(file.name for file in tmp_path.iterdir()) == PICTURES


def test_a_comparison_that_does_not_reach_the_loss_says_so(capsys):
    _, X, y = sine.sine(20)
    sine.compare(X, y, loss=0.0, options=sine.parser().parse_args(["--epochs", "2"]))
    assert re.fullmatch(r"In batches of 20 : 20 epochs in .* \(did not reach 0\)\n", capsys.readouterr().out)


def test_a_folder_that_cannot_be_created_is_an_error_before_training(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        sine.main([*SHORT, "--output", str(tmp_path / "file" / "folder")])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(r"error: \[Errno 20\] Not a directory: .*folder", printed.err)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_the_optimizer_can_be_chosen(optimizer, capsys):
    assert sine.main([*SHORT, "--no-plots", "--batch-size", "8", "--optimizer", optimizer]) == 0
    losses = [float(loss) for loss in re.findall(r"Loss : (\S+)", capsys.readouterr().out)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("example", [sine, spirals, digits, estimators, search])
def test_every_example_rejects_an_unknown_device(example, capsys):
    with pytest.raises(SystemExit) as ended:
        example.main(["--device", "gpu", "--no-plots"])
    assert ended.value.code == 2
    assert "got 'gpu'" in capsys.readouterr().err


def on_device(backend, dtype):
    if backend.name not in ("numpy", "cupy"):
        pytest.skip(f"the devices of {backend.name} cannot be named on the command line")
    return ["--device", backend.device, "--dtype", dtype]


def test_the_spirals_are_classified(backend, dtype, capsys, tmp_path):
    assert spirals.main([*on_device(backend, dtype), "--epochs", "150", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (accuracy,) = re.findall(r"accuracy ([\d.]+) on 100 held-out points", printed)
    assert float(accuracy) >= 0.97
    assert imread(tmp_path / "spirals.png").std() > 0.1


def test_the_digits_are_classified(backend, dtype, capsys, tmp_path):
    assert digits.main([*on_device(backend, dtype), "--output", str(tmp_path)]) == 0
    (accuracy,) = re.findall(r"accuracy ([\d.]+) on 359 held-out digits", capsys.readouterr().out)
    assert float(accuracy) >= 0.97
    assert imread(tmp_path / "digits.png").std() > 0.1


SWEEP = ["--rates", "3", "--seeds", "4", "--lowest", "0.1", "--highest", "100", "--epochs", "20"]
UNCERTAINTY = ["--networks", "8", "--epochs", "60", "--samples", "80"]
ENSEMBLES = [(sweep, SWEEP, "sweep.png"), (uncertainty, UNCERTAINTY, "uncertainty.png")]


def best_network(printed):
    """The seed, the learning rate and the loss of the best network of a sweep."""
    ((seed, rate, loss),) = re.findall(r"^Best network : seed (\d+), learning rate (\S+), loss (\S+)$", printed, re.M)
    return int(seed), float(rate), float(loss)


def test_a_sweep_finds_the_best_learning_rate(backend, dtype, capsys, tmp_path):
    assert sweep.main([*on_device(backend, dtype), *SWEEP, "--seed", "5", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^One training : 12 networks × 20 epochs in [\d.]+ s$", printed, re.MULTILINE)
    assert "\nDiverged : 8 of 12 networks\n" in printed
    ((rate, median),) = re.findall(r"^Best median : learning rate (\S+), loss (\S+)$", printed, re.MULTILINE)
    assert rate == "0.1"
    seed, _, loss = best_network(printed)
    assert 5 <= seed <= 8
    assert 0.0 < loss <= float(median) < 0.0625  # the loss of predicting the mean
    assert imread(tmp_path / "sweep.png").std() > 0.1


def test_the_best_network_of_a_sweep_learns_the_same_when_trained_individually(capsys):
    sweep.main([*SWEEP, "--no-plots"])
    seed, rate, loss = best_network(capsys.readouterr().out)
    sweep.main([*SWEEP, "--no-plots", "--rates", "1", "--seeds", "1", "--seed", str(seed), "--lowest", str(rate)])
    assert best_network(capsys.readouterr().out) == (seed, rate, pytest.approx(loss, rel=0.01))


def test_a_sweep_marks_the_networks_that_diverged_and_the_best_one():
    options = argparse.Namespace(lowest=0.1, highest=10.0, rates=3, seeds=2, seed=7)
    losses = np.array([[0.05, 0.04], [0.001, np.inf], [np.inf, np.inf]])
    figure, axes = plt.subplots()
    sweep.draw_losses(axes, sweep.learning_rates(options), losses, 0.06, options)
    cells, crosses, star = axes.collections
    assert np.ma.getmaskarray(cells.get_array()).tolist() == [[False, False, True], [False, True, True]]
    np.testing.assert_allclose(crosses.get_offsets(), [[1, 8], [10, 7], [10, 8]])
    np.testing.assert_allclose(star.get_offsets(), [[1, 7]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["3 diverged", "Best network"]
    plt.close(figure)


def test_the_curve_of_a_learning_rate_that_diverges_leaves_the_axes():
    options = argparse.Namespace(lowest=0.1, highest=10.0, rates=3, seeds=2, seed=7)
    medians = np.array([[0.1, 0.1, 1e300], [0.05, 0.01, np.inf]])
    figure, axes = plt.subplots()
    sweep.draw_curves(axes, sweep.learning_rates(options), medians, 0.06, options)
    *_, diverged, best = axes.lines
    assert min(diverged.get_ydata()) > axes.get_ylim()[1]
    assert best.get_ydata().tolist() == [0.1, 0.01]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Best: learning rate 1"]
    plt.close(figure)


def test_a_sweep_in_which_every_network_diverges_is_one_sentence_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as ended:
        sweep.main([*SWEEP, "--no-plots", "--lowest", "1e100", "--highest", "1e200"])
    assert ended.value.code == 1
    assert "the loss became NaN or infinite in epoch" in capsys.readouterr().err


@pytest.mark.parametrize("size", [["--rates", "1", "--seeds", "1"], ["--seeds", "1"], ["--rates", "1"]])
def test_the_smallest_sweeps_are_drawn(size, tmp_path):
    assert sweep.main([*SWEEP, *size, "--epochs", "2", "--output", str(tmp_path)]) == 0
    assert imread(tmp_path / "sweep.png").std() > 0.1


def test_the_networks_differ_most_where_data_are_missing(backend, dtype, capsys, tmp_path):
    assert uncertainty.main([*on_device(backend, dtype), *UNCERTAINTY, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^One training : 8 networks × 60 epochs in [\d.]+ s$", printed, re.MULTILINE)
    regions, spreads = zip(*re.findall(r"^(.*) : spread (\S+)$", printed, re.MULTILINE), strict=True)
    assert regions == ("Where there is data", "In the gap", "Outside the data")
    data, gap, outside = map(float, spreads)
    assert gap > 2 * data
    assert outside > data
    assert imread(tmp_path / "uncertainty.png").std() > 0.1


def test_the_legend_of_the_uncertainty_fits_into_the_picture(tmp_path, monkeypatch):
    def check(figures, options):
        (figure,) = figures.values()
        figure.canvas.draw()
        (legend,) = figure.legends
        assert figure.bbox.containsx(legend.get_window_extent().x0)
        assert figure.bbox.containsx(legend.get_window_extent().x1)
        plt.close(figure)
        checked.append(len(legend.get_texts()))

    checked = []
    monkeypatch.setattr(uncertainty, "save", check)
    assert uncertainty.main([*UNCERTAINTY, "--epochs", "1", "--output", str(tmp_path)]) == 0
    assert checked == [6]


def test_there_is_no_data_in_the_gap():
    x, y = uncertainty.noisy_points(5000, np.random.default_rng(0))
    low, high = uncertainty.GAP
    assert not np.any((x > low) & (x < high))
    for start, stop in ((-np.pi, low), (high, np.pi)):
        share = np.mean((x >= start) & (x <= stop))
        assert share == pytest.approx((stop - start) / (2 * np.pi - (high - low)), abs=0.03)
    assert np.std(y - uncertainty.true_function(x)) == pytest.approx(uncertainty.NOISE, rel=0.05)


def test_a_bootstrap_sample_has_as_many_samples_as_the_data():
    counts = uncertainty.bootstrap(50, 200, np.random.default_rng(0))
    assert counts.shape == (50, 200)
    assert np.all(counts.sum(axis=1) == 200)
    assert np.mean(counts == 0) == pytest.approx(np.exp(-1), abs=0.01)


@pytest.mark.parametrize(("example", "short", "picture"), ENSEMBLES)
def test_an_ensemble_is_reproducible_with_and_without_pictures(example, short, picture, capsys, tmp_path):
    printed = []
    for options in (["--output", str(tmp_path)], ["--output", str(tmp_path / "none"), "--no_plots"]):
        assert example.main([*short, *options]) == 0
        printed.append(re.sub(r" in [\d.]+ s$", "", capsys.readouterr().out, flags=re.MULTILINE))
    assert printed[0] == f"{printed[1]}Picture : {tmp_path / picture}\n"
    assert [file.name for file in tmp_path.iterdir()] == [picture]


@pytest.mark.parametrize(("example", "arguments", "says"), [
    (sweep, ["--rates", "0"], "rates must be a positive integer, got 0"),
    (sweep, ["--seeds", "-2"], "seeds must be a positive integer, got -2"),
    (sweep, ["--lowest", "0"], "lowest must be positive and below highest, got 0 and 100"),
    (sweep, ["--lowest", "100"], "lowest must be positive and below highest, got 100 and 100"),
    (sweep, ["--highest", "inf"], "lowest must be positive and below highest, got 0.1 and inf"),
    (sweep, ["--highest", "nan"], "lowest must be positive and below highest, got 0.1 and nan"),
    (sweep, ["--epochs", "0"], "epochs must be a positive integer"),
    (sweep, ["--seed", "-1"], "seed must not be negative"),
    (sweep, ["--device", "gpu"], "got 'gpu'"),
    (uncertainty, ["--networks", "0"], "networks must be a positive integer, got 0"),
    (uncertainty, ["--samples", "-1"], "samples must be a positive integer, got -1"),
    (uncertainty, ["--epochs", "0"], "epochs must be a positive"),
    (uncertainty, ["--seed", "-1"], "expected non-negative integer"),
    (uncertainty, ["--device", "gpu"], "got 'gpu'"),
])  # fmt: skip
def test_a_bad_ensemble_is_one_sentence_and_exit_code_2(example, arguments, says, capsys, tmp_path):
    short = SWEEP if example is sweep else UNCERTAINTY
    with pytest.raises(SystemExit) as ended:
        example.main([*short, "--output", str(tmp_path), *arguments])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_estimators_take_arrays_of_all_kinds_and_their_intervals_hold_new_points(backend, dtype, capsys, tmp_path):
    arguments = [*on_device(backend, dtype), "--epochs", "10", "--output", str(tmp_path)]
    assert estimators.main(arguments) == 0
    printed = capsys.readouterr().out
    kinds = re.findall(r"^(.*) : [\d.]+ s with \S+ on \S+, accuracy (0\.9\d+) on 359 held-out digits$", printed, re.M)
    assert [kind for kind, _ in kinds[:3]] == ["NumPy array", "Data frame", "Sparse matrix"]
    unavailable = re.findall(r"^(\w+) : not available, ", printed, re.M)
    arrays = [kind.removesuffix(" array") for kind, _ in kinds[3:]]
    assert sorted(arrays + unavailable) == ["array_api_strict", "cupy", "jax", "torch"]
    accuracies = [float(accuracy) for _, accuracy in kinds]
    assert max(accuracies) - min(accuracies) < 0.02
    (inside,) = re.findall(r"^Intervals of 90% : .* s, ([\d.]+)% of 1500 new points are inside", printed, re.M)
    assert 87.0 < float(inside) < 93.0
    (difference,) = re.findall(r"^Losses : the largest relative difference to scikit-learn's is (\S+)$", printed, re.M)
    assert float(difference) < {"float64": 1e-9, "float32": 1e-3}[dtype]
    assert imread(tmp_path / "estimators.png").std() > 0.1


SEARCH = ["--penalties", "2", "--rates", "3", "--folds", "3", "--epochs", "3", "--jobs", "1"]


def test_a_search_has_the_scores_of_scikit_learn_and_draws_them(backend, dtype, capsys, tmp_path):
    assert search.main([*on_device(backend, dtype), *SEARCH, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^All at once : 18 networks × 3 epochs in [\d.]+ s$", printed, re.MULTILINE)
    (best,) = re.findall(r"^Best : alpha \S+, learning rate \S+, mean accuracy (\S+)$", printed, re.MULTILINE)
    assert float(best) > 0.85
    (difference,) = re.findall(r"^Scores : the largest difference to scikit-learn's is (\S+)$", printed, re.MULTILINE)
    assert float(difference) <= {"float64": 1e-12, "float32": 0.01}[dtype]
    assert imread(tmp_path / "search.png").std() > 0.1


def test_the_smallest_search_without_scikit_learns_networks_is_drawn(capsys, tmp_path):
    size = ["--penalties", "1", "--rates", "1", "--without-scikit-learn", "--output", str(tmp_path)]
    assert search.main([*SEARCH, *size]) == 0
    assert "One by one" not in capsys.readouterr().out
    assert imread(tmp_path / "search.png").std() > 0.05


def test_a_search_without_candidates_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        search.main([*SEARCH, "--rates", "0", "--no-plots"])
    assert ended.value.code == 2
    assert "rates must be a positive integer, got 0" in capsys.readouterr().err
