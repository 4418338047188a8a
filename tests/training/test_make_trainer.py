"""Trainers by name, and what is said when a name leads nowhere."""

import importlib

import pytest

from pairbench import (
    InvalidParameter,
    LogLinearCDPO,
    LogLinearDavidson,
    LogLinearDPO,
    LogLinearIPO,
    LogLinearRaoKupper,
    LogLinearRDPO,
    LogLinearSELM,
    LogLinearXPO,
    make_trainer,
)
from pairbench.errors import UnknownTrainer
from pairbench.training import TRAINERS, Trainer


@pytest.mark.parametrize(
    ("spec", "trainer"),
    [
        ("dpo", LogLinearDPO(0.5)),
        (" dpo() ", LogLinearDPO(0.5)),
        ("xpo", LogLinearXPO(0.5, 1e-5)),
        ("xpo(alpha=0.01)", LogLinearXPO(0.5, 0.01)),
        ("xpo(alpha=1)", LogLinearXPO(0.5, 1.0)),
        ("selm", LogLinearSELM(0.5, 1e-3)),
        ("selm(alpha=0.01)", LogLinearSELM(0.5, 0.01)),
        ("cdpo", LogLinearCDPO(0.5, 0.1)),
        ("cdpo(flip_rate=0)", LogLinearCDPO(0.5, 0.0)),
        ("rdpo", LogLinearRDPO(0.5, 0.1)),
        ("rdpo(flip_rate=0.2)", LogLinearRDPO(0.5, 0.2)),
        ("ipo", LogLinearIPO(0.5, None)),
        ("ipo(tau=0.25)", LogLinearIPO(0.5, 0.25)),
        ("ipo(tau=None)", LogLinearIPO(0.5)),
        ("rao-kupper", LogLinearRaoKupper(0.5, 3.0)),
        ("rao-kupper(nu=2)", LogLinearRaoKupper(0.5, 2.0)),
        ("davidson", LogLinearDavidson(0.5, 1.0)),
        ("davidson(nu=0.5)", LogLinearDavidson(0.5, 0.5)),
    ],
)
def test_a_spec_is_a_trainer(spec: str, trainer: Trainer) -> None:
    made = make_trainer(spec, 0.5)
    assert type(made) is type(trainer)
    assert made == trainer
    assert made.ridge == 0.5


def test_every_name_leads_to_a_trainer_that_needs_no_parameter() -> None:
    for name, home in TRAINERS.built_in.items():
        module, kind = home.split(":")
        assert type(make_trainer(name, 2.0)) is getattr(importlib.import_module(module), kind)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "xpoo",
            r"no trainer 'xpoo'\. Did you mean 'xpo'\? There are: cdpo, davidson, dpo, ipo, "
            "rao-kupper, rdpo, selm, xpo",
        ),
        ("rao_kupper", r"no trainer 'rao_kupper'\. Did you mean 'rao-kupper'\?"),
        ("DPO", r"no trainer 'DPO'\. Did you mean 'dpo'\?"),
        ("", r"no trainer ''\. There are: cdpo"),
    ],
)
def test_an_unknown_name_names_the_nearest(spec: str, message: str) -> None:
    with pytest.raises(UnknownTrainer, match=message):
        make_trainer(spec, 1.0)


@pytest.mark.parametrize(
    ("spec", "ridge", "message"),
    [
        ("xpo(alhpa=1)", 1.0, "trainer 'xpo' has no parameter 'alhpa'. Did you mean 'alpha'"),
        ("dpo(alpha=1)", 1.0, "trainer 'dpo' has no parameter 'alpha'"),
        ("xpo(alpha=-1)", 1.0, "alpha must be a finite number, 0 or more, got -1"),
        ("xpo(alpha='much')", 1.0, "trainer 'xpo': alpha: .* got 'much'"),
        ("xpo(alpha=", 1.0, "cannot read the parameters of 'xpo"),
        (
            "xpo(ridge=2)",
            1.0,
            r"ridge of trainer 'xpo' is 1\.0 already, .* 'xpo\(ridge=2\)'",
        ),
        ("rdpo(flip_rate=0.5)", 1.0, "flip_rate must be at least 0 and below 0.5, got 0.5"),
        ("cdpo(rate=0.1)", 1.0, "trainer 'cdpo' has no parameter 'rate'. .* flip_rate"),
        ("ipo(tau=0)", 1.0, "tau must be positive and finite, or None for β, got 0"),
        ("ipo(tau='beta')", 1.0, "trainer 'ipo': tau: .* got 'beta'"),
        ("rao-kupper(nu=1)", 1.0, "nu must be more than 1 and finite, got 1.* 'dpo'"),
        ("davidson(nu=0)", 1.0, "nu must be positive and finite, got 0.* 'dpo'"),
        ("dpo", 0.0, "ridge must be positive and finite, got 0"),
        ("selm", -1.0, "ridge must be positive and finite, got -1"),
    ],
)
def test_a_bad_parameter_is_refused(spec: str, ridge: float, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_trainer(spec, ridge)
