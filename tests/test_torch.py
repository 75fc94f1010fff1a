"""PyTorch: tensors are data, they stay on their device, and devices have PyTorch's names."""

from __future__ import annotations

import re

import numpy as np
import pytest
from test_docs import blocks

from xpnet import DeviceUnavailable, NeuralNetwork, get_backend

pytestmark = [pytest.mark.only("torch"), pytest.mark.usefixtures("backend")]


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_a_tensor_that_requires_a_gradient_is_data(torch, backend, dtype):
    X, y = (torch.rand(6, 2, dtype=getattr(torch, dtype), requires_grad=True) for _ in range(2))
    network = NeuralNetwork([2, 3, 2], dtype=dtype, optimizer="adam", seed=0)
    network.train(X, y, 0.1, epochs=2, verbose=False)
    for array in (network.theta, network.predict(X), network.deep_forward(X.T)):
        assert type(array) is torch.Tensor
        assert not array.requires_grad
    assert X.grad is None


def test_the_gradients_of_the_caller_are_still_recorded(torch, backend, dtype):
    weight = torch.ones(2, requires_grad=True)
    network = NeuralNetwork([2, 1], dtype=dtype, device=backend, seed=0)
    network.train(torch.rand(4, 2), torch.rand(4), 0.1, verbose=False)
    torch.sum(weight * weight).backward()
    assert weight.grad.tolist() == [2.0, 2.0]


def test_a_tensor_is_not_copied_and_does_not_pass_through_the_host(torch, backend, dtype, monkeypatch):
    from xpnet.backends import torch_backend

    tensor = torch.ones(3, dtype=getattr(torch, dtype), requires_grad=True)
    monkeypatch.delattr(torch_backend, "host_array")
    assert backend.asarray(tensor).data_ptr() == tensor.data_ptr()
    assert backend.asarray(tensor, "float32").dtype == torch.float32


@pytest.mark.parametrize("kind", ["read-only", "reversed", "empty", "no axes"])
def test_any_array_of_the_host_becomes_a_tensor(kind, backend, dtype):
    x = np.arange(0.0 if kind == "empty" else 6.0, dtype=dtype)
    x = {"reversed": x[::-1], "no axes": np.asarray(x[:1].sum())}.get(kind, x)
    x.flags.writeable = kind != "read-only"
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(x)), x)


def test_sparse_tensors_are_refused(torch, backend):
    with pytest.raises(TypeError, match=re.escape("X cannot be converted to an array: it is a sparse tensor")):
        NeuralNetwork([2, 1], device=backend, seed=0).predict(torch.eye(2).to_sparse())


def test_new_arrays_are_on_the_device_if_the_process_has_another_default(torch, backend):
    with torch.device("meta"), backend.on_device():
        assert backend.xp.ones(3).device == torch.device("cpu")


def test_the_networks_in_the_guide_learn_the_parabola(torch):
    (block,) = [block for block in blocks("docs/guide.md") if "import torch" in block]
    names = {}
    exec(block, names)
    assert type(names["outputs"]) is torch.Tensor
    assert names["network"].epoch_loss[-1] < 0.001
    assert type(names["there"].theta) is torch.Tensor
    assert names["there"].epoch_loss == names["network"].epoch_loss


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_regressor_on_the_page_on_scikit_learn_learns_from_a_tensor(torch):
    (block,) = [block for block in blocks("docs/scikit-learn.md") if "import torch" in block]
    names = {}
    exec(block, names)
    assert type(names["predictions"]) is torch.Tensor
    assert torch.abs(names["predictions"] - names["X"][:, 0] ** 2).max() < 0.1


@pytest.fixture
def machine(torch, monkeypatch):
    """Make PyTorch report accelerators that this machine does not have."""

    def reports(kind, count):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: kind and torch.device(kind))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: count - 1)

    return reports


@pytest.mark.parametrize(
    ("kind", "count", "devices"),
    [(None, 0, ["cpu"]), ("cuda", 2, ["cpu", "cuda:0", "cuda:1"]), ("mps", 1, ["cpu", "mps"])],
    ids=["no accelerator", "CUDA", "Apple"],
)
def test_devices_have_pytorchs_names(kind, count, devices, backend, machine):
    machine(kind, count)
    assert type(backend).devices() == devices
    with pytest.raises(DeviceUnavailable, match=f"torch has no device 'cuda:7', only {', '.join(map(repr, devices))}"):
        get_backend("cuda:7", name="torch")


@pytest.mark.parametrize(("device", "means"), [("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_a_device_that_cannot_compute_raises_a_one_sentence_error(device, means, backend, machine, torch, monkeypatch):
    def no_tensors(*_):
        msg = "no kernel image\nis available"
        raise RuntimeError(msg)

    machine("cuda", 2)
    monkeypatch.setattr(torch, "ones", no_tensors)
    with pytest.raises(DeviceUnavailable) as raised:
        get_backend(device, name="torch")
    assert str(raised.value) == f"torch cannot compute on {means} (RuntimeError: no kernel image)"
