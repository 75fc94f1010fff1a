"""Each setting is defined once, is validated once, and does not change."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from xpnet import NeuralNetwork
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.core.settings import Settings
from xpnet.losses import LOSSES, huber

SIGNATURE = {name: p for name, p in inspect.signature(NeuralNetwork).parameters.items() if name != "device"}


def test_the_signature_of_a_network_names_every_setting_with_its_default():
    assert SIGNATURE.keys() == {field.name for field in fields(Settings)}
    for field in fields(Settings):
        assert SIGNATURE[field.name].default == field.default, field.name


@pytest.mark.parametrize("name", SIGNATURE)
def test_every_setting_can_be_read_and_has_a_docstring(name):
    described = getattr(NeuralNetwork, name).__doc__
    assert described == next(field.metadata["doc"] for field in fields(Settings) if field.name == name)
    assert described.endswith(".")
    settings = NeuralNetwork([2, 3, 1], seed=0).settings
    value = getattr(NeuralNetwork([2, 3, 1], seed=0), name)
    by_name = {"loss": LOSSES, "activations": ACTIVATIONS}
    if name not in ("optimizer", "initializer", *by_name):
        assert settings[name] == value
    assert name in NeuralNetwork.__doc__


def test_settings_do_not_change():
    settings = Settings(layer_list=[2, 3, 1], seed=0)
    with pytest.raises(FrozenInstanceError):
        settings.seed = 1
    assert copy.copy(settings) is copy.deepcopy(settings) is settings


def test_settings_of_any_form_are_stored_in_one_form():
    settings = Settings(layer_list=range(1, 4), dropout=0.5, ensemble=2, seed=3, l2=[0.1, 0.2])
    assert settings.layer_list == (1, 2, 3)
    assert settings.dropout == (0.5,)
    assert [*settings.seeds] == [3, 4]
    assert (settings.l2, settings.l1) == ((0.1, 0.2), 0.0)
    assert settings.ensemble_shape == (2,)
    assert settings.layout.size == 2 * 2 + 3 * 3


def test_settings_by_name_build_equal_settings():
    own, custom = Activation(lambda xp, Z: Z, lambda xp, dA, Z, A: dA), huber(delta=2.0)
    settings = Settings(layer_list=[2, 3, 1], activations=[own, "identity"], loss=custom, ensemble=2, l1=[0.1, 0.0])
    again = Settings(**settings.by_name())
    assert again.by_name() == settings.by_name()
    assert again.activations == settings.activations
    assert again.loss is custom
    assert settings.by_name()["activations"] == [own, "identity"]


def test_built_in_parts_keep_their_names_after_a_pickle():
    settings = pickle.loads(pickle.dumps(Settings(layer_list=[2, 3, 1], loss="huber", seed=0)))
    assert settings.loss is LOSSES["huber"]
    assert settings.by_name()["loss"] == "huber"


def test_a_member_has_its_own_values():
    settings = Settings(layer_list=[2, 3, 1], ensemble=3, seed=5, l2=[0.1, 0.2, 0.3], clip_norm=1.0)
    member = settings.member(1)
    assert (member.ensemble, member.seed, member.l2, member.clip_norm) == (None, 6, 0.2, 1.0)


def test_a_seed_is_drawn_if_none_is_given():
    assert Settings().seed != Settings().seed
