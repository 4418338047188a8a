"""Pins of what the program computes, whatever its parts are called.

Pairs, labels and gaps of every design and of many kinds of worlds, optimal weights, and the figures
of every table that is published. Only public names, the command line and files of the repository
are used. ``python tests/guard/test_guard.py`` writes the pins anew; do so only where a computation
is meant to change.

Figures are compared bit for bit on the platform that the pins were made on, and to 1e-9 elsewhere;
to 1e-5 on all where a transformer is trained in float32, whose rounding depends on the processor.
"""

import hashlib
import html
import importlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are imported

import numpy as np
import pytest

import pairbench

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("pins.json")
DATA = ROOT.parent / "shared" / "data"
PINS: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
RTOL, FLOAT32_RTOL = 1e-9, 1e-5
FLOAT32_CELLS = {"TinyLM", "IMDb"}

# Designs that choose other pairs under another BLAS kernel: many pairs are equally good to them,
# and rounding decides.
LOOSE = {"e-optimal", "g-optimal"}

WORLDS = {
    "plain": (
        "pairbench/LogLinear-v1(prompts=12, held_out_prompts=12, completions=4, dim=4)",
        (12, 24),
    ),
    "ragged": (
        "pairbench/LogLinear-v1(prompts=10, held_out_prompts=10, completions=6, dim=6, decay=1.0, "
        "duplicates=0.4, clusters=2, skew=1.0, sharpness=1.5, misspecification=0.5, missing=0.3, "
        "score_noise=0.5)",
        (10, 20, 30),
    ),
}
SEED = 3


def small(more: str) -> str:
    return (
        "pairbench/LogLinear-v1(prompts=12, held_out_prompts=12, completions=5, dim=4, "
        f"reward_scale=3.0, {more})"
    )


MONEY = "unit='money', prices='label=0.2, token_read=0.005'"
GENERATION = "given=2, unit='money', prices='label=1, completion=0.1'"
LABELS, COINS = (15, 30), (10, 20)

# Name, environment, design, budgets.
CELLS: list[tuple[str, str, str, tuple[int, ...]]] = [
    ("thurstone", small("annotator='thurstone(temperature=0.7)'"), "greedy-i", LABELS),
    ("heavy-tailed", small("annotator='heavy-tailed(agreement=0.72)'"), "bald", LABELS),
    ("b-pref-equal", small("annotator='b-pref-equal'"), "uncertainty", LABELS),
    ("b-pref-mistake", small("annotator='b-pref-mistake'"), "dts", LABELS),
    ("b-pref-myopic", small("steps=4, annotator='b-pref-myopic'"), "greedy-d", LABELS),
    ("b-pref-oracle", small("annotator='b-pref-oracle'"), "badge", LABELS),
    ("b-pref-skip", small("annotator='b-pref-skip'"), "apl", LABELS),
    ("b-pref-stochastic", small("annotator='b-pref-stochastic'"), "eubo", LABELS),
    ("crowd", small("annotator='crowd(votes=3, tastes=3, deviation=2)'"), "coreset", LABELS),
    (
        "crowd of soft labels",
        small("annotator='crowd(votes=5, aggregate=\"soft\")'"),
        "epig",
        LABELS,
    ),
    ("intransitive", small("annotator='intransitive(strength=2)'"), "maxminlcb", LABELS),
    ("drift", small("annotator='drift(size=2, period=20)'"), "i-optimal-adaptive", LABELS),
    ("position bias", small("annotator='position-bias(weight=2)'"), "first-two", LABELS),
    ("length bias", small("annotator='length-bias(weight=1)'"), "qeubo", LABELS),
    ("sycophancy", small("annotator='sycophancy(weight=2)'"), "on-policy", LABELS),
    ("adversary", small("annotator='adversary(fraction=0.3)'"), "infomax", LABELS),
    (
        "chain",
        small(
            "annotator='length-bias(weight=0.5) | position-bias(weight=0.5) | "
            "bradley-terry(agreement=0.7) | mistake(rate=0.2) | skip(epsilon=0.05)'"
        ),
        "greedy-i-robust",
        LABELS,
    ),
    ("money", small(MONEY), "i-optimal-two-stage", COINS),
    ("money per cost", small(MONEY), "per-cost(design='leverage')", COINS),
    ("money, votes", small(MONEY + ", annotator='crowd(votes=3)'"), "per-cost", COINS),
    ("generation", small(GENERATION), "generate-first(completions=4)", COINS),
    (
        "generation, then greedy",
        small(GENERATION),
        "generate-first(design='greedy-i', completions=3)",
        COINS,
    ),
    (
        "generate then label",
        "pairbench/GenerateThenLabel-v1(prompts=10, held_out_prompts=10, completions=8, dim=4)",
        "generate-first(design='bayes-i-optimal', completions=5)",
        COINS,
    ),
    ("ensemble", small("sharpness=1.0"), "bald(estimator='ensemble')", LABELS),
    ("strong ridge", small("ridge=4.0, beta=0.3"), "knowledge-gradient", LABELS),
    ("cdpo", small("trainer='cdpo(flip_rate=0.2)'"), "uniform", LABELS),
    ("rdpo", small("trainer='rdpo(flip_rate=0.2)'"), "uniform", LABELS),
    ("ipo", small("trainer='ipo(tau=0.5)'"), "uniform", LABELS),
    (
        "rao-kupper",
        small("trainer='rao-kupper', annotator='b-pref-equal'"),
        "uniform",
        LABELS,
    ),
    (
        "davidson",
        small("trainer='davidson(nu=0.5)', annotator='b-pref-equal'"),
        "uniform",
        LABELS,
    ),
    ("selm", small("beta=0.5, trainer='selm(alpha=0.1)'"), "uniform", LABELS),
    ("xpo", small("trainer='xpo(alpha=0.1)'"), "uniform", LABELS),
    (
        "TinyLM",
        "pairbench/TinyLM-v1(prompts=4, held_out_prompts=4, completions=4, words=3, length=2, "
        "pretraining=20, dim=8)",
        "greedy-i-robust",
        (6, 12),
    ),
    ("IMDb", "pairbench/IMDb-v1(tiny=True)", "uniform", (20, 40)),
    ("AlpacaEval57", "pairbench/AlpacaEval57-v1", "uniform", (100, 200)),
    ("AlpacaEval57, greedy", "pairbench/AlpacaEval57-v1", "greedy-i-robust", (50, 100)),
    ("SummEval16", "pairbench/SummEval16-v1", "greedy-i", (30, 60)),
    ("REALSumm24", "pairbench/REALSumm24-v1", "leverage", (30, 60)),
    ("PandaLM", "pairbench/PandaLM-v1", "uncertainty", (30, 60)),
]
# Annotators who answer so many questions that a change of one in a hundred shows in the labels.
MANY = (4000,)
ANNOTATORS = (
    "bradley-terry(temperature=1.5)",
    "bradley-terry(agreement=0.72)",
    "thurstone(agreement=0.72)",
    "heavy-tailed(agreement=0.72)",
    "heavy-tailed(df=3)",
    "b-pref-equal",
    "b-pref-mistake",
    "b-pref-myopic",
    "b-pref-oracle",
    "b-pref-skip",
    "b-pref-stochastic",
    "length-bias(weight=1)",
    "position-bias(weight=1)",
    "sycophancy(weight=1)",
    "intransitive(strength=1.5)",
    "drift(size=1.5, period=300)",
    "myopic(gamma=0.7)",
    "mistake(rate=0.15)",
    "adversary(fraction=0.2)",
    "skip(epsilon=0.2)",
    "equal(threshold=0.8)",
    "crowd(votes=1)",
    "crowd(votes=3, tastes=3, deviation=2)",
    'crowd(votes=4, reliability=(0.2, 0.9), aggregate="soft")',
    "length-bias(weight=0.5) | position-bias(weight=0.5) | mistake(rate=0.1) | skip(epsilon=0.05)",
)
CELLS += [
    (f"many labels, {a}", small(f"steps=4, annotator='{a}'"), "uniform", MANY) for a in ANNOTATORS
]
SLOW_CELLS = {"TinyLM", "IMDb", "AlpacaEval57", "AlpacaEval57, greedy", "PandaLM"}
# How the data of an environment is brought in: a command, and a file of DATA.
RECORDED = {
    "AlpacaEval57": (("add",), "alpacaeval57.npz"),
    "SummEval16": (("add",), "summeval16.npz"),
    "REALSumm24": (("add",), "realsumm24.npz"),
    "PandaLM": (("import", "pandalm"), "pandalm_human_pairs.jsonl"),
}

FILLED = ("alpaca-eval-v1", "annotators-v1", "cost-v1", "synthetic-v1", "tiny-lm-v1")
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "leaderboards/README.md"]
)


# Helpers.


def platform() -> dict[str, Any]:
    """What decides how sums are rounded."""
    import scipy.linalg  # loads its BLAS
    import sklearn
    import torch
    from threadpoolctl import threadpool_info

    scipy.linalg.cholesky(np.eye(2))
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    return {
        "blas": sorted(
            f"{lib['internal_api']} {lib['version']} {lib['architecture']}"
            for lib in threadpool_info()
            if lib["user_api"] == "blas"
        ),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "sklearn": sklearn.__version__,
        "simd": sorted([*simd.get("baseline", []), *simd.get("found", [])]),
        "torch": f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()}",
    }


_platform: list[dict[str, Any]] = []


def exact() -> bool:
    """Whether figures must be those of the pins bit for bit."""
    if not _platform:
        _platform.append(platform())
    return bool(_platform[0] == PINS["platform"])


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def same_numbers(actual: Any, expected: Any, rtol: float = RTOL) -> bool:
    """Whether two lists of numbers are equal: bit for bit on the platform of the pins."""
    if exact() and rtol == RTOL:
        return bool(actual == expected)
    return len(actual) == len(expected) and all(
        a == b or math.isclose(a, b, rel_tol=rtol, abs_tol=1e-12)
        for a, b in zip(actual, expected, strict=True)
    )


def public(module: str, name: str) -> Any:
    """A public name, deprecated or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(module), name)


def command(*arguments: str, **variables: str) -> str:
    """What a command prints."""
    plain = {"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "pairbench", *arguments],
        cwd=ROOT,
        env=os.environ | plain | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"pairbench {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


# Episodes.


def episode(environment: str, design: str, budgets: tuple[int, ...]) -> dict[str, Any]:
    """What an episode comes to, as JSON: for each round digests of choices, and figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        played = pairbench.play(environment, design, SEED, budgets)
    return {
        "pairs": [digest(np.asarray(r.pairs).reshape(-1).tolist()) for r in played.rounds],
        "generated": [digest(np.asarray(r.generated).tolist()) for r in played.rounds],
        "labels": [
            digest([None if np.isnan(y) else float(y) for y in np.asarray(r.labels)])
            for r in played.rounds
        ],
        "counts": [len(r.pairs) for r in played.rounds],
        "figures": [
            float(figure) for r in played.rounds for figure in (r.score.gap, r.spent, r.tokens_read)
        ],
    }


def check_episode(
    actual: dict[str, Any], expected: dict[str, Any], design: str, rtol: float = RTOL
) -> None:
    if not exact() and design.partition("(")[0] in LOOSE:
        pytest.skip(f"{design} chooses other pairs under another BLAS kernel than the pins'")
    for name in ("counts", "generated", "pairs", "labels"):
        assert actual[name] == expected[name], f"{name}, round by round"
    assert same_numbers(actual["figures"], expected["figures"], rtol), (
        f"gap, money and tokens, round by round: {actual['figures']} != {expected['figures']}"
    )


def shipped() -> list[str]:
    files = (ROOT / "designs").glob("[!_]*.py")
    return sorted(path.stem.replace("_", "-") for path in files)


def bring(name: str, folder: Path) -> None:
    """Bring an environment's recorded data into the folder, or skip."""
    how, file = RECORDED[name.partition(",")[0]]
    if not (DATA / file).is_file():
        pytest.skip(f"../shared/data/{file} is not there")
    command("data", *how, str(DATA / file), PAIRBENCH_DATA=str(folder))


@pytest.fixture(autouse=True)
def folders(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Keep data of the user out."""
    data = tmp_path / "data"
    monkeypatch.setenv("PAIRBENCH_DATA", str(data))
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "guard-cache"))
    return data


def test_the_pinned_designs_are_those_that_ship() -> None:
    assert sorted(PINS["designs"]) == shipped()
    listed = {line.split()[0] for line in command("designs").splitlines() if line.strip()}
    assert set(PINS["designs"]) <= listed


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("design", PINS.get("designs", []))
def test_design(design: str, world: str) -> None:
    environment, budgets = WORLDS[world]
    check_episode(episode(environment, design, budgets), PINS["designs"][design][world], design)


@pytest.mark.parametrize(
    ("name", "environment", "design", "budgets"),
    [
        pytest.param(*cell, id=cell[0], marks=[pytest.mark.slow] * (cell[0] in SLOW_CELLS))
        for cell in CELLS
    ],
)
def test_cell(
    name: str, environment: str, design: str, budgets: tuple[int, ...], folders: Path
) -> None:
    if name.partition(",")[0] in RECORDED:
        bring(name, folders)
    rtol = FLOAT32_RTOL if name in FLOAT32_CELLS else RTOL
    check_episode(episode(environment, design, budgets), PINS["cells"][name], design, rtol)


# Optimal weights, and what else measures pairs.


def made_pool(seed: int, prompts: int = 8, completions: int = 5, dim: int = 4) -> Any:
    """A random pool; every second one is ragged and weighted, every third has duplicates."""
    rng = np.random.default_rng(seed)
    shape = (prompts, completions)
    phi = rng.normal(size=(*shape, dim)) * np.arange(1.0, dim + 1) ** -0.5
    if seed % 3 == 2:
        phi[:, 1:3] = phi[:, :1]
    valid = np.ones(shape, dtype=np.bool_)
    weights = None
    if seed % 2:
        rank = rng.permuted(np.tile(np.arange(completions), (prompts, 1)), axis=1)
        valid = (rng.random(shape) < 0.6) | (rank < 2)
        weights = rng.uniform(0.2, 2.0, size=prompts)
    log_ref, lengths = rng.normal(size=shape), rng.integers(1, 50, size=shape)
    return pairbench.Pool(
        phi, log_ref=log_ref, lengths=lengths, valid=valid, prompt_weights=weights
    )


def thetas(seed: int, several: int | None = None) -> Any:
    shape = 4 if several is None else (several, 4)
    return 1.5 * np.random.default_rng(100 + seed).normal(size=shape)


def past(pool: Any) -> Any:
    return np.argwhere(pool.pair_mask)[::7]


# Criterion and arguments; the pool of each is that of its place.
OPTIMAL: list[tuple[str, Callable[[int, Any], dict[str, Any]]]] = [
    ("i", lambda k, p: {}),
    ("i", lambda k, p: {"theta": thetas(k), "prior": 0.5, "n": 20, "beta": 0.5}),
    ("d", lambda k, p: {"theta": thetas(k)}),
    ("d", lambda k, p: {"prior": 0.25, "n": 10, "past": past(p)}),
    ("a", lambda k, p: {"theta": thetas(k), "prior": 0.25}),
    ("g", lambda k, p: {}),
    ("e", lambda k, p: {"prior": 1.0, "n": 30}),
    ("bayes-i", lambda k, p: {"theta": thetas(k, 3), "prior": 0.25, "n": 10}),
    ("minimax-i", lambda k, p: {"theta": thetas(k, 3), "prior": 0.25, "n": 10}),
    ("i", lambda k, p: {"theta": thetas(k), "candidates": np.argwhere(p.pair_mask)[::2]}),
]
# Whose solver stops where rounding lets it, within the tolerance.
ROUNDED = {"d", "g", "e"}
TOLERANCE = 0.001


def optimum(place: int) -> dict[str, Any]:
    """Weights of the best design for a pool, with their proof."""
    criterion, arguments = OPTIMAL[place]
    pool = made_pool(place)
    best = public("pairbench.information", "optimal_weights")(
        pool, criterion, threads=1, tol=TOLERANCE, **arguments(place, pool)
    )
    return {
        "criterion": criterion,
        "figures": [float(best.value), float(best.efficiency_bound)],
        "pairs": best.pairs.reshape(-1).tolist(),
        "weights": best.weights.tolist(),
    }


@pytest.mark.parametrize("place", range(len(OPTIMAL)))
def test_optimal_weights(place: int) -> None:
    actual, expected = optimum(place), PINS["optimal"][place]
    if exact():
        assert actual == expected
    else:  # the proof is rounded where the search stops
        rtol = TOLERANCE if expected["criterion"] in ROUNDED else RTOL
        (value, bound), (pinned, proven) = actual["figures"], expected["figures"]
        assert math.isclose(value, pinned, rel_tol=rtol)
        assert math.isclose(bound, proven, rel_tol=TOLERANCE)


def numbers(value: Any) -> list[float]:
    return [float(x) for x in np.asarray(value, dtype=np.float64).reshape(-1)]


def measures() -> dict[str, list[float]]:
    """Figures of the other public functions of pairbench.information and pairbench.coverage."""

    def info(name: str) -> Any:
        return public("pairbench.information", name)

    def cover(name: str) -> Any:
        return public("pairbench.coverage", name)

    pool, theta = made_pool(1), thetas(1)
    pairs = np.argwhere(pool.pair_mask)
    covariance = info("policy_covariance")(pool, theta, 0.5)
    fisher = info("label_information")(pool, past(pool), theta=theta)
    z = pool.features[pairs[:, 0], pairs[:, 1]] - pool.features[pairs[:, 0], pairs[:, 2]]
    z = np.ascontiguousarray(z[:60], dtype=np.float64)
    kernel = cover("pair_kernel")(z, z[:9], 1.3)
    answers = (np.arange(len(past(pool))) % 3 == 0).astype(np.float64)
    rng = np.random.default_rng(5)
    taken = cover("d2_sampled")(cover("Nearest")(z, z[:2]), 8, rng)
    weights = np.linspace(1.0, 2.0, 9)
    return {
        "policy_covariance": numbers(covariance),
        "label_information": numbers(fisher),
        "uniform_information": numbers(info("uniform_information")(pool, theta)),
        "predicted_gap": numbers(info("predicted_gap")(covariance, fisher, 40.0, 0.5, prior=1.0)),
        "robust_gap": numbers(
            info("robust_gap")(pool, past(pool), answers, covariance, theta, 0.5, 1.0)
        ),
        "greedy_pairs d": numbers(info("greedy_pairs")(pool, 12, "d", theta, prior=0.5)),
        "greedy_pairs i": numbers(info("greedy_pairs")(pool, 12, "i", theta, prior=0.5)),
        "logistic_slope": numbers(info("logistic_slope")(np.linspace(-4, 4, 9))),
        "pair_distances": numbers(cover("pair_distances")(z[:12], z[3:8])),
        "median_distance": numbers(cover("median_distance")(z)),
        "pair_kernel": numbers(kernel),
        "d2_sampled": numbers(taken),
        "greedy_cover": numbers(cover("greedy_cover")(kernel, weights, np.zeros(9), 5)),
    }


@pytest.mark.parametrize("name", PINS.get("measures", []))
def test_measure(name: str) -> None:
    assert same_numbers(measures()[name], PINS["measures"][name])


# Tables.

NUMBER = r"[+\-−]?\d[\d,]*(?:\.\d+)?(?:[eE][+\-−]?\d+)?"
UNITS = "s ms µs h min d GiB MiB KiB GB MB kB B × x % million to tie rank".split()
DATE = re.compile(r"\d{4}-\d\d-\d\d")
NAMES = {
    *PINS.get("designs", shipped()),
    *(
        "AlpacaEval57 GenerateThenLabel HH IMDb Isotropic LogLinear Misspecified NearDuplicates "
        "PandaLM PowerLaw REALSumm24 SharpReference SkewedClusters StrongReward SummEval16 TinyLM "
        "WidePool adversary b-pref-equal b-pref-mistake b-pref-myopic b-pref-oracle b-pref-skip "
        "b-pref-stochastic bradley-terry crowd deterministic drift equal heavy-tailed intransitive "
        "length-bias mistake myopic position-bias skip sycophancy thurstone"
    ).split(),
}


def figure(cell: str) -> str | None:
    """A cell's figure in one spelling, None where the cell holds words."""
    cell = re.sub(rf"({NUMBER}\S*) or more\b", r"≥ \1", cell.strip())
    cell = re.sub(rf"({NUMBER}\S*) or less\b", r"≤ \1", cell)
    cell = re.sub(r"\bat least\b", "≥", re.sub(r"\bat most\b", "≤", cell))
    if DATE.search(cell) or not re.search(r"\d", cell):
        return None
    rest = re.sub(NUMBER, " ", cell)
    if set(re.sub(r"[×%<>≤≥=±–~()\[\];/▲▼*]", " ", rest).split()) - set(UNITS):
        return None
    return " ".join(cell.replace("−", "-").split())


def name(cell: str) -> str | None:
    """The design, environment or annotator that a cell begins with, if it does."""
    cell = cell.strip().strip("*").removeprefix("pairbench/")
    found = re.match(r"[A-Za-z][\w-]*", cell)
    if found is None or re.sub(r"-v\d+$", "", found[0]) not in NAMES:
        return None
    parameters = re.match(r"\(.*\)", cell[found.end() :])
    return found[0] + (parameters[0] if parameters else "")


def row(cells: list[str]) -> str | None:
    """The name and the figures of a table's row, None if it has no figures."""
    figures = [f for f in map(figure, cells) if f is not None]
    if not figures:
        return None
    key = next((n for n in map(name, cells) if n is not None), "")
    return " | ".join([key, *figures])


def rows(table: list[list[str]]) -> list[str]:
    return [r for r in map(row, table) if r is not None]


def markdown_rows(text: str) -> list[str]:
    """Rows of a page's tables, be they Markdown's or printed."""
    table, printed = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            printed = not printed and line == "```text"
        elif printed:
            table.append(re.split(r"\s{2,}", line.strip()))
        elif re.fullmatch(r"\|[\s:|-]+\|", line):
            del table[-1:]  # the head
        elif line.startswith("|"):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line).replace("`", "")
            table.append(re.split(r"\s*\|\s*", plain.strip().strip("|")))
    return rows(table)


def html_rows(text: str) -> list[str]:
    """Rows of a page's tables in HTML."""
    table = []
    text = re.sub(r"<thead\b.*?</thead>", "", text, flags=re.DOTALL)
    for tr in re.findall(r"<tr\b[^>]*>(.*?)</tr>", text, re.DOTALL):
        cells = re.findall(r"<t([dh])\b[^>]*>(.*?)(?=</?t[dhr]\b|$)", tr, re.DOTALL)
        # Tags inside a word are dropped, and others part words.
        plain = [re.sub(r"</?(?:span|wbr|a|b|code)\b[^>]*>", "", cell) for _, cell in cells]
        table.append([html.unescape(re.sub(r"<[^>]*>", " ", cell)) for cell in plain])
    return rows(table)


def printed_rows(text: str) -> list[str]:
    """Rows of a table as commands print it."""
    return rows([re.split(r"\s{2,}", line.strip()) for line in text.splitlines()])


@pytest.mark.parametrize("page", PINS.get("pages", []))
def test_figures_of_a_page_of_the_repository(page: str) -> None:
    assert markdown_rows((ROOT / page).read_text("utf-8")) == PINS["pages"][page]


# Boards.


def entries(board: str) -> dict[str, str]:
    """A digest of what each entry's design reached."""
    found = {}
    for path in sorted((ROOT / "leaderboards" / board / "entries").glob("*.json")):
        entry = json.loads(path.read_text("utf-8"))
        keys = ("seeds", "budgets", "gaps", "start", "floor", "spent", "efficiency", "win_rate")
        found[path.stem] = digest([[curve.get(k) for k in keys] for curve in entry["curves"]])
    return found


def standings(board: str) -> list[list[Any]]:
    """Designs from the best to the worst, with all numbers that are said of them."""
    exported = json.loads(command("leaderboard", "export", board, "--json"))
    return [
        [
            record["design"],
            *(v for v in record.values() if isinstance(v, int | float) and type(v) is not bool),
        ]
        for record in exported
    ]


@pytest.mark.parametrize("board", FILLED)
def test_entries_of_a_board(board: str) -> None:
    assert entries(board) == PINS["entries"][board]


def test_no_other_board_is_filled() -> None:
    filled = {path.parent.parent.name for path in ROOT.glob("leaderboards/*/entries/*.json")}
    assert filled == set(FILLED)


def contains(actual: list[float], expected: list[float]) -> bool:
    """Whether all expected numbers come, in their order; others may come between them."""
    left = iter(actual)
    return all(any(same_numbers([a], [b]) for a in left) for b in expected)


@pytest.mark.parametrize("board", FILLED)
def test_standings_of_a_board(board: str) -> None:
    actual, expected = standings(board), PINS["standings"][board]
    assert [record[0] for record in actual] == [record[0] for record in expected]
    differ = [
        f"{e[0]}: {a[1:]} lacks some of {e[1:]}"
        for a, e in zip(actual, expected, strict=True)
        if not contains(a[1:], e[1:])
    ]
    assert not differ


@pytest.mark.slow
@pytest.mark.parametrize("board", FILLED)
def test_printed_figures_of_a_board(board: str) -> None:
    assert printed_rows(command("leaderboard", "show", board)) == PINS["shown"][board]


def site(folder: Path) -> dict[str, dict[str, Any]]:
    """How many rows each page of the site has, and a digest of their figures."""
    command("site", "build", "--out", str(folder))
    found = {}
    for path in sorted(folder.rglob("*.html")):
        if figures := html_rows(path.read_text("utf-8")):
            found[path.relative_to(folder).as_posix()] = {
                "rows": len(figures),
                "figures": digest(figures),
                "first": figures[0],
                "last": figures[-1],
            }
    return found


@pytest.mark.slow
def test_figures_of_the_site(tmp_path: Path) -> None:
    actual, expected = site(tmp_path / "site"), PINS["site"]
    differ = {
        page: (actual.get(page), expected[page])
        for page in expected
        if actual.get(page) != expected[page]
    }
    assert not differ
    assert sum(page["rows"] for page in actual.values()) >= sum(
        page["rows"] for page in expected.values()
    )


# Names.

COVERAGE = (
    "Nearest",
    "d2_sampled",
    "first_largest",
    "greedy_cover",
    "median_distance",
    "pair_distances",
    "pair_kernel",
)


def public_names() -> dict[str, list[str]]:
    return {
        "pairbench": sorted(pairbench.__all__),
        "pairbench.information": sorted(public("pairbench.information", "__all__")),
        "pairbench.coverage": list(COVERAGE),
    }


@pytest.mark.parametrize("module", PINS.get("names", []))
def test_public_names_import(module: str) -> None:
    for each in PINS["names"][module]:
        assert public(module, each) is not None


# Writing the pins.


def main() -> None:
    """Compute everything anew, and write it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ["PAIRBENCH_DATA"] = str(folder / "data")
        os.environ["PAIRBENCH_CACHE"] = str(folder / "cache")
        os.environ["HF_HUB_OFFLINE"] = "1"
        for recorded in RECORDED:
            bring(recorded, folder / "data")
        pins = {
            "platform": platform(),
            "names": public_names(),
            "designs": {
                design: {
                    world: episode(environment, design, budgets)
                    for world, (environment, budgets) in WORLDS.items()
                }
                for design in shipped()
            },
            "cells": {cell[0]: episode(*cell[1:]) for cell in CELLS},
            "optimal": [optimum(place) for place in range(len(OPTIMAL))],
            "measures": measures(),
            "pages": {
                page: figures
                for page in PAGES
                if (figures := markdown_rows((ROOT / page).read_text("utf-8")))
            },
            "entries": {board: entries(board) for board in FILLED},
            "standings": {board: standings(board) for board in FILLED},
            "shown": {
                board: printed_rows(command("leaderboard", "show", board)) for board in FILLED
            },
            "site": site(folder / "site"),
        }
    text = json.dumps(pins, indent=1, ensure_ascii=False, sort_keys=False)
    # A list of numbers or of digests on one line.
    text = re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\n\s+", " ", m[1]) + "]", text
    )
    assert json.loads(text) == pins
    FILE.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
