"""The examples run from the command line, on every device that can be had, and draw what they learned."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import common
import digits
import numpy as np
import pytest
import sine
import spirals
from matplotlib.image import imread

SCRIPT = Path(sine.__file__)
SHORT = ["--epochs", "12", "--samples", "40", "--verbose_epoch", "5"]
PICTURES = ["sine_data.png", "sine_epochs.png", "sine_fit.png", "sine_loss.png"]


def test_the_documents_command_line_runs(tmp_path):
    """As a process of its own, in a pipe, where no progress bar is drawn."""
    command = ["--layers", "1", "10", "10", "1", "--learning_rate", "0.01", "--epochs", "20", "--verbose_epoch", "10"]
    result = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, *command, "--output", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    assert re.findall(r"^Epoch (\d+) Loss : 0\.06\d+$", result.stdout, re.MULTILINE) == ["0", "10"]
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


@pytest.mark.parametrize("spelled", [
    ["--learning_rate", "0.5", "--batch_size", "all", "--no_plots", "--verbose_epoch", "7"],
    ["--learning-rate", "0.5", "--batch-size", "all", "--no-plots", "--verbose-epoch", "7"],
])  # fmt: skip
def test_options_take_underscores_and_dashes(spelled, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sine.main([*SHORT[:4], *spelled]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"Epoch (\d+) Loss", printed) == ["0", "7"]
    assert "The whole set at once : 12 epochs" in printed
    assert "In batches" not in printed
    assert list(tmp_path.iterdir()) == []


def test_it_runs_on_the_device_asked_for(backend, dtype, capsys, tmp_path):
    assert sine.main([*SHORT, *on_device(backend, dtype), "--no-plots", "--batch-size", "8"]) == 0
    assert f"Device : {backend.device} ({backend.name}" in capsys.readouterr().out


def test_the_same_seed_repeats_the_run(capsys):
    losses = []
    for seed in ("3", "3", "4"):
        sine.main([*SHORT, "--no-plots", "--batch-size", "all", "--seed", seed])
        losses.append(re.findall(r"Loss : (\S+)", capsys.readouterr().out))
    assert losses[0] == losses[1] != losses[2]


def test_the_help_text_says_that_the_seed_was_chosen(capsys):
    with pytest.raises(SystemExit):
        sine.main(["--help"])
    assert "one that fits well, most seeds do not" in " ".join(capsys.readouterr().out.split())


def test_batches_reach_the_loss_of_the_run_sample_by_sample(capsys):
    assert sine.main(["--epochs", "150", "--samples", "100", "--learning-rate", "0.05", "--no-plots"]) == 0
    one, batches = re.findall(r"final loss (\S+)", capsys.readouterr().out)
    assert float(batches) <= float(one)


@pytest.mark.parametrize(("arguments", "says"), [
    (["--layers", "1", "0", "1"], r"layer_list\[1\] must be a positive integer, got 0"),
    (["--layers", "2", "1"], "X has the shape .* first layer has size 2"),
    (["--learning-rate", "-1"], "learning_rate must be a positive, finite number"),
    (["--epochs", "0"], "epochs must be a positive integer"),
    (["--samples", "0"], "samples"),
    (["--batch-size", "0"], "batch_size must be a positive integer"),
    (["--batch-size", "some"], "batch"),
    (["--dtype", "float16"], "dtype must be 'float32' or 'float64', got 'float16'"),
    (["--device", "gpu"], "unknown device 'gpu'"),
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


def test_ctrl_c_draws_what_was_learned(capsys, tmp_path, monkeypatch):
    def interrupt(network):
        if network.epochs_trained == 7:
            raise KeyboardInterrupt

    train = sine.NeuralNetwork.train
    monkeypatch.setattr(
        sine.NeuralNetwork,
        "train",
        lambda self, *args, **options: train(self, *args, **{**options, "callback": interrupt}),
    )
    assert sine.main([*SHORT, "--output", str(tmp_path)]) == 130
    printed = capsys.readouterr().out
    assert "interrupted in epoch 7" in printed
    assert "Sample by sample : 7 epochs" in printed
    assert sorted(file.name for file in tmp_path.iterdir()) == PICTURES


class Terminal(io.StringIO):
    """What stands on a terminal in the end is what was written, but for what a carriage return has taken back."""

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
    monkeypatch.setattr(common, "BAR_AFTER", 0)
    assert sine.main([*SHORT, "--no-plots", "--batch-size", "all"]) == 0
    assert "12/12" in terminal.getvalue() or "/12 [" in terminal.getvalue()
    reports = [line for line in terminal.lines() if "Loss" in line]
    assert [re.sub(r"0\.\d+$", "…", line) for line in reports] == [f"Epoch {epoch} Loss : …" for epoch in (0, 5, 10)]


def test_a_pipe_gets_no_progress_bar(monkeypatch, capsys):
    monkeypatch.setattr(common, "BAR_AFTER", 0)
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


def test_a_comparison_that_gives_up_says_so(capsys):
    _, X, y = sine.sine(20)
    sine.compare(X, y, loss=0.0, options=sine.parser().parse_args(["--epochs", "2"]))
    assert re.fullmatch(r"In batches of 20 : 20 epochs in .* \(not as well yet\)\n", capsys.readouterr().out)


def test_a_folder_that_cannot_be_made_is_said_before_training(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        sine.main([*SHORT, "--output", str(tmp_path / "file" / "folder")])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "sine.py: error:" in printed.err or "error: [Errno" in printed.err


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_the_optimizer_can_be_chosen(optimizer, capsys):
    assert sine.main([*SHORT, "--no-plots", "--batch-size", "8", "--optimizer", optimizer]) == 0
    losses = [float(loss) for loss in re.findall(r"Loss : (\S+)", capsys.readouterr().out)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("example", [sine, spirals, digits])
def test_every_example_says_when_a_device_cannot_be_had(example, capsys):
    with pytest.raises(SystemExit) as ended:
        example.main(["--device", "gpu", "--no-plots"])
    assert ended.value.code == 2
    assert "unknown device 'gpu'" in capsys.readouterr().err


def on_device(backend, dtype):
    if backend.name == "array_api_strict":
        pytest.skip("the command line names devices, and this library's are made up")
    return ["--device", backend.device, "--dtype", dtype]


def test_the_spirals_are_told_apart(backend, dtype, capsys, tmp_path):
    assert spirals.main([*on_device(backend, dtype), "--epochs", "150", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (share,) = re.findall(r"([\d.]+)% of the samples on the right side", printed)
    assert float(share) >= 99
    assert imread(tmp_path / "spirals.png").std() > 0.1


def test_the_digits_are_read(backend, dtype, capsys, tmp_path):
    assert digits.main([*on_device(backend, dtype), "--output", str(tmp_path)]) == 0
    (accuracy,) = re.findall(r"accuracy ([\d.]+) on 359 digits held out", capsys.readouterr().out)
    assert float(accuracy) >= 0.97
    assert imread(tmp_path / "digits.png").std() > 0.1
