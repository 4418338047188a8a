"""Small pools and views, and no way for a user's own data to leak into a test."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

# Read when numpy, torch and the hub's library are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run on all cores already
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import ArrayLike

from pairbench import Pool, View, make_env
from pairbench.cli.app import main
from pairbench.design.registry import DESIGNS
from pairbench.estimators import ESTIMATORS
from pairbench.oracles.annotators import STAGES
from pairbench.training import TRAINERS
from pairbench.view.budget import Ledger
from pairbench.worlds import data
from pairbench.worlds.registry import ENVIRONMENTS

MakePool = Callable[..., Pool]
MakeView = Callable[..., View]
Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
Write = Callable[..., Path]
Install = Callable[..., Path]

# Cores are shared with other tests, so how long an example takes says nothing of the code.
settings.register_profile("pairbench", settings(), deadline=None)
settings.load_profile("pairbench")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip(f"torch {torch.__version__} sees no GPU")


@pytest.fixture(autouse=True, scope="session")
def _no_user_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRBENCH_DATA", str(tmp_path_factory.mktemp("no-data")))
        patch.setenv("PAIRBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def make_pool() -> MakePool:
    """Random pools of any small shape; ragged ones miss completions at any place."""

    def make(
        seed: int = 0,
        prompts: int = 5,
        completions: int = 4,
        dim: int = 3,
        *,
        ragged: bool = False,
        weighted: bool = False,
        duplicates: bool = False,
        constant: bool = False,
    ) -> Pool:
        rng = np.random.default_rng(seed)
        shape = (prompts, completions)
        phi = rng.normal(size=(*shape, dim))
        if duplicates:
            phi[:, 1 : max(2, completions - 1)] = phi[:, :1]
        if constant:
            phi[:, :, -1] = 3.7
        valid = np.ones(shape, dtype=np.bool_)
        if ragged:
            rank = rng.permuted(np.tile(np.arange(completions), (prompts, 1)), axis=1)
            valid = (rng.random(shape) < 0.6) | (rank < 2)
        return Pool(
            phi,
            log_ref=rng.normal(size=shape),
            lengths=rng.integers(1, 50, size=shape),
            valid=valid,
            prompt_weights=rng.uniform(0.2, 2.0, size=prompts) if weighted else None,
        )

    return make


@pytest.fixture(scope="session")
def make_view() -> MakeView:
    """A design's view of a pool, with n labels left to buy."""

    def make(
        pool: Pool,
        pairs: ArrayLike = (),
        labels: ArrayLike = (),
        *,
        n: int = 10,
        ridge: float = 1.0,
        beta: float = 1.0,
        seed: int = 0,
    ) -> View:
        asked = np.asarray(pairs, dtype=np.int64).reshape(-1, 3)
        answers = np.asarray(labels, dtype=np.float64)
        assert len(asked) == len(answers)
        asked.flags.writeable = answers.flags.writeable = False
        before = (len(asked),) if len(asked) else ()
        return View(
            pool=pool,
            beta=beta,
            ridge=ridge,
            pairs=asked,
            labels=answers,
            ledger=Ledger((*before, len(asked) + n), len(before), len(asked)),
            rng=np.random.default_rng(seed),
        )

    return make


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny GPT-2 of random weights, with a tokenizer of bytes and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("model"))
    names = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(names), n_embd=8, n_layer=1, n_head=1, eos_token_id=0, bos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def alpaca_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small made-up folder of the form of github.com/tatsu-lab/alpaca_eval.

    Twelve instructions, the last two of them equal, from five sources. Of the first model, one
    record has no preference, one no output, and one is of an instruction that nobody else has.
    """
    module = importlib.import_module(type(make_env("pairbench/AlpacaEval57-v1")).__module__)
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("alpaca_eval")
    instructions = [f"Instruction {min(k, 10)}" for k in range(12)]
    for number, model in enumerate(module.MODELS):
        outputs, annotations = [], []
        for k, instruction in enumerate(instructions):
            words = [f"word{w}" for w in rng.integers(150, size=25)]
            record = {"instruction": instruction, "dataset": f"source {k % 5}"}
            outputs.append({**record, "output": f"{' '.join(words)}, says {model} of {k}."})
            annotations.append({**record, "preference": float(rng.uniform(1, 2))})
        if number == 0:
            annotations[3]["preference"] = None
            annotations[5]["preference"] = 2.0
            del outputs[4]["output"]
            outputs.insert(0, {"instruction": "Another one", "output": "Not of the pool"})
        results = folder / "results" / model
        annotator = results / module.ANNOTATOR
        annotator.mkdir(parents=True)
        (results / "model_outputs.json").write_text(json.dumps(outputs))
        if model != module.BASELINE:
            order = [*rng.permutation(10).tolist(), 10, 11]
            (annotator / "annotations.json").write_text(json.dumps([annotations[k] for k in order]))
    return folder


@pytest.fixture(scope="session")
def alpaca_file(alpaca_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data file built from that folder."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRBENCH_DATA", str(folder))
        data.build("alpaca-eval", alpaca_clone)
    return folder / "alpaca-eval.npz"


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "data"
    monkeypatch.setenv("PAIRBENCH_DATA", str(folder))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Give a command in this process, which is quicker; what escapes it fails the test."""

    def call(*arguments: str, **variables: str) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pairbench", *arguments])
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        code: object = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        return Done(arguments, code, out, err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return written


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a fake distribution with entry points, as pip would leave it."""

    def installed(group: str, entries: dict[str, str], **modules: str) -> Path:
        site = tmp_path / "site"
        info = site / "fake_plugin-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugin\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
        for name, text in modules.items():
            (site / f"{name}.py").write_text(dedent(text))
        monkeypatch.syspath_prepend(site)
        return site

    return installed


@pytest.fixture(autouse=True)
def _registrations_are_undone() -> Iterator[None]:
    ENVIRONMENTS.names()  # built-in environments register themselves on import
    registries = (DESIGNS, ENVIRONMENTS, STAGES, ESTIMATORS, TRAINERS)
    tables = [registry._registered for registry in registries]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
