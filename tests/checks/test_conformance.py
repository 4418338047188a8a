"""Each check fails bad designs with a message that says why, and passes good ones."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import pytest

from pairbench import register_design, uniform_pairs
from pairbench.checks.conformance import (
    CHECKS,
    FAIL,
    PASS,
    SKIPPED,
    CheckResult,
    run_check,
    run_checks,
)
from pairbench.checks.subject import Subject
from pairbench.design.registry import DESIGNS
from pairbench.errors import InvalidParameter, PluginError, UnknownDesign

Check = Callable[..., dict[str, CheckResult]]
IN_SUBPROCESS = {"another-process", "scale"}
HEADER = """\
import os, random, time
from dataclasses import dataclass
from typing import Callable, ClassVar
import numpy as np
from pairbench import ControlView, Design, cycle_pairs, top_pairs, uniform_pairs
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a design file: a whole one, or the lines of a function select(view, n)."""

    def write_design(code: str) -> str:
        path = tmp_path / "mine.py"
        code = dedent(code).strip()
        if "def select" not in code:
            code = f"def select(view, n):\n{indent(code, '    ')}"
        path.write_text(f"{HEADER}{code}\n")
        return str(path)

    return write_design


@pytest.fixture
def check(write: Callable[[str], str]) -> Check:
    """Run the named checks of a design, or all that need no other process."""

    def run(code: str, *names: str, params: str = "") -> dict[str, CheckResult]:
        subject = Subject(write(code) + params)
        selected = names or [name for name in CHECKS if name not in IN_SUBPROCESS]
        return {name: run_check(subject, name) for name in selected}

    return run


@pytest.fixture(autouse=True)
def _restore_registry_and_random_state() -> Iterator[None]:
    designs, states = dict(DESIGNS._registered), np.random.get_state()  # noqa: NPY002
    yield
    DESIGNS._registered.clear()
    DESIGNS._registered.update(designs)
    np.random.set_state(states)  # noqa: NPY002


GOOD = [
    "return uniform_pairs(view, n)",
    "return uniform_pairs(view, n).tolist()",
    "return uniform_pairs(view, n).astype(np.uint8)",
    # Deterministic except for ties.
    """
    phi = view.pool.phi
    return top_pairs(view, ((phi[:, :, None] - phi[:, None]) ** 2).sum(axis=3), n)
    """,
    """
    @dataclass(frozen=True)
    class First(Design):
        ordered: ClassVar[bool] = True
        completions: int = 2
        def select(self, view, n):
            prompt = view.rng.integers(view.pool.n_prompts, size=n)
            return np.stack([prompt, *view.pool.valid_first[prompt, :2].T], axis=1)
    """,
    """
    @dataclass(frozen=True)
    class Control(Design):
        control: ClassVar[bool] = True
        def select(self, view, n):
            assert isinstance(view, ControlView) and len(view.theta) == len(view.covariance)
            rewards = view.pool.project(view.theta)
            return top_pairs(view, np.abs(rewards[:, :, None] - rewards[:, None]), n)
    """,
]


@pytest.mark.parametrize("code", GOOD)
def test_a_good_design_passes(check: Check, code: str) -> None:
    results = check(code)
    assert [r.message for r in results.values() if r.status == FAIL] == []
    skipped = {name for name, r in results.items() if r.status == SKIPPED}
    assert skipped == ({"completion-order"} if "ordered" in code else set())
    assert {name for name, r in results.items() if r.message} - skipped == {"docstring"}


def only(condition: str, statement: str) -> str:
    """Write a uniform design that runs a statement where a condition on the view holds."""
    return f"if {condition}:\n    {statement}\nreturn uniform_pairs(view, n)"


BAD = [
    ("rows", "return uniform_pairs(view, n) * 1.0", "dtype float64; expected integers"),
    ("rows", "return uniform_pairs(view, n)[:, 1:]", r"shape \(7, 2\) .*; expected \(n, 3\) rows"),
    ("rows", "return None", r"shape \(\) of dtype object"),
    ("rows", "x = {}\nreturn x['no']", "later round: it raised KeyError in line 8: 'no'"),
    ("rows", "raise SystemExit(0)", "it raised SystemExit in line 7: 0"),
    (
        "proper",
        "chosen = uniform_pairs(view, n)\nchosen[2, 1] = chosen[2, 2]\nreturn chosen",
        r"1 improper of 7 pairs, the first at row 2: prompt \d compares completion \d with itself",
    ),
    (
        "proper",
        "chosen = uniform_pairs(view, n)\nchosen[0, 1] = view.pool.n_completions\nreturn chosen",
        "row 0: completion 5 is outside the pool, which has completions 0 to 4",
    ),
    (
        "proper",
        "x, j = np.argwhere(~view.pool.valid)[0]\n"
        "return np.tile([x, view.pool.valid_first[x, 0], j], (n, 1))",
        r"completion \d of prompt \d is not valid \(see view.pool.valid\)",
    ),
    ("proper", "return uniform_pairs(view, n + 1)", "asked for 8 pairs, where 7 labels are left"),
    (
        "unchanged-view",
        "view.labels[:] = 1\nreturn uniform_pairs(view, n)",
        "no labels yet: the design tried to write into its view.* work on a copy",
    ),
    (
        "unchanged-view",
        only("len(view.labels)", "view.labels.flags.writeable = True; view.labels[0] = 0.7"),
        "later round: it changed view.labels. Work on copies",
    ),
    (
        "unchanged-view",
        "object.__setattr__(view, 'beta', 2.0)\nreturn uniform_pairs(view, n)",
        "it changed view.beta",
    ),
    (
        "unchanged-view",
        "object.__setattr__(view.pool, 'scores', np.ones(view.pool.valid.shape))\n"
        "return uniform_pairs(view, n)",
        "it changed view.pool.scores",
    ),
    (
        "deterministic",
        "from dataclasses import replace\n"
        "return uniform_pairs(replace(view, rng=np.random.default_rng()), n)",
        r"no labels yet: another object chose other pairs from the same view, the first at row \d",
    ),
    (
        "deterministic",
        """
        @dataclass(frozen=True)
        class Remembers(Design):
            def select(self, view, n):
                view.rng.random(vars(self).setdefault("calls", 0))
                vars(self)["calls"] += 1
                return uniform_pairs(view, n)
        """,
        "no labels yet: the same object chose other pairs the second time.*it remembers",
    ),
    (
        "random-state",
        "np.random.rand()\nreturn uniform_pairs(view, n)",
        "it drew from or seeded numpy.random, which is shared .* Draw from view.rng",
    ),
    (
        "random-state",
        "np.random.seed(len(view.labels))\nrandom.seed(0)\nrandom.random()\n"
        "return uniform_pairs(view, n)",
        "numpy.random",
    ),
    (
        "random-state",
        only("len(view.labels)", "random.random()"),
        "later round: .* Python's random",
    ),
    (
        "random-state",
        "import torch\ntorch.manual_seed(0)\nreturn uniform_pairs(view, n)",
        "torch's default generator.* make a torch.Generator",
    ),
    (
        "hard-cases",
        only("view.pool.n_completions == 2", "raise ValueError('three at least')"),
        r"^two completions: it raised ValueError in line 8: three at least\. view.pool.n_comp"
        r"letions is 2\.\none pair: .*two completions|^two completions: .*\none pair: ",
    ),
    ("hard-cases", only("not len(view.labels)", "view.labels[0]"), "^no labels yet: .*IndexError"),
    ("hard-cases", only("view.pool.n_prompts == 1", "1 / 0"), "^one prompt: .*\none pair: "),
    ("hard-cases", only("view.pool.dim == 1", "1 / 0"), "^one feature: .*view.pool.dim is 1"),
    ("hard-cases", only("n == 1", "1 / 0"), "^one label: "),
    ("hard-cases", only("view.pool.scores is not None", "1 / 0"), "^external scores: "),
    (
        "hard-cases",
        only("n > view.pool.n_pairs", "return uniform_pairs(view, n + 1)"),
        "^one pair: .*\nmore labels than pairs: the design asked for 182 pairs",
    ),
    (
        "hard-cases",
        only(
            "len(view.labels)",
            "assert (view.labels != 1).any() and not np.isnan(view.labels).all()",
        ),
        "^all labels equal: it raised AssertionError.*\nlabels missing: .* NaN was not answered",
    ),
    (
        "hard-cases",
        only("len(set(map(tuple, view.pairs.tolist()))) == view.pool.n_pairs", "1 / 0"),
        "^every pair asked: ",
    ),
    (
        "hard-cases",
        "for phi, valid in zip(view.pool.phi, view.pool.valid):\n"
        "    assert len(np.unique(phi[valid], axis=0)) == valid.sum()\n"
        "return uniform_pairs(view, n)",
        "^duplicates: it raised AssertionError in line 8: .*\nall completions equal: .*",
    ),
    (
        "hard-cases",
        "sizes = view.pool.valid.sum(axis=1)\n"
        "assert sizes.mean() > 3 or sizes.min() == view.pool.n_completions\n"
        "return uniform_pairs(view, n)",
        "^completions missing: ",
    ),
    (
        "prompt-order",
        "chosen = uniform_pairs(view, 50 * n)\nreturn chosen[np.argsort(chosen[:, 0])][:n]",
        r"completions \d and \d of prompt \d were compared under \d+ of \d+ seeds, but under \d+ "
        "when the prompts were numbered otherwise. A prompt's number means nothing. Break ties by",
    ),
    (
        "prompt-order",
        only("len(view.labels)", "return cycle_pairs(np.argwhere(view.pool.pair_mask), n)"),
        "later round: .* when the prompts were numbered otherwise",
    ),
    (
        "completion-order",
        "prompt = view.rng.integers(view.pool.n_prompts, size=n)\n"
        "return np.stack([prompt, *view.pool.valid_first[prompt, :2].T], axis=1)",
        r"when the completions were numbered otherwise.* ordered: ClassVar\[bool\] = True",
    ),
    (
        # Half of the pairs are the first of their prompt, which is more often than uniform.
        "completion-order",
        "chosen = uniform_pairs(view, n)\nfirst = view.rng.random(n) < 0.5\n"
        "prompt = chosen[first, 0]\nchosen[first, 1:] = view.pool.valid_first[prompt, :2]\n"
        "return chosen",
        "of 200 seeds, .* when the completions were numbered otherwise",
    ),
]


@pytest.mark.parametrize(("name", "code", "message"), BAD)
def test_a_check_fails_a_design_that_breaks_its_rule(
    check: Check, name: str, code: str, message: str
) -> None:
    results = check(code)
    assert results[name].status == FAIL
    assert re.search(message, results[name].message, re.DOTALL), results[name].message
    failed = {other for other, result in results.items() if result.status == FAIL}
    # A design that favours the first pairs of all favours prompts and completions.
    allowed = {"completion-order"} if name == "prompt-order" else set()
    assert failed <= {name, *allowed}


def test_most_checks_are_skipped_if_the_ordinary_round_fails(check: Check) -> None:
    results = check("return uniform_pairs(view, n + 1)")
    skipped = {name for name, result in results.items() if result.status == SKIPPED}
    assert skipped == set(results) - {"rows", "proper", "unchanged-view", "docstring"}
    assert "does not play an ordinary round" in results["hard-cases"].message


def test_rows_are_not_checked_if_a_design_writes_into_its_view(check: Check) -> None:
    results = check("view.pairs[:] = 0\nreturn uniform_pairs(view, n)", "rows", "proper")
    assert {result.status for result in results.values()} == {SKIPPED}
    assert "tries to write into its view" in results["rows"].message


def test_a_warning_is_remarked(check: Check) -> None:
    result = check("np.log(np.zeros(1))\nreturn uniform_pairs(view, n)", "hard-cases")["hard-cases"]
    assert result.status == PASS
    assert "one pair: it warned of 'divide by zero encountered in log'." in result.message


def test_fewer_pairs_than_labels_are_remarked(check: Check) -> None:
    fewer = check("return uniform_pairs(view, min(n, 5))", "hard-cases")["hard-cases"]
    assert fewer.status == PASS
    assert "buys fewer labels than it may: later round (5 of 7), " in fewer.message
    assert "one label" not in fewer.message
    none = check("return []", "rows", "proper", "hard-cases")
    assert {result.status for result in none.values()} == {PASS}
    assert "It never buys a label" in none["hard-cases"].message


def test_scale_is_reported(check: Check) -> None:
    result = check("return uniform_pairs(view, n)", "scale")["scale"]
    assert result.status == PASS
    assert re.search(r"it took \d+\.\d+ s and \d+ MiB", result.message)
    failed = check(only("view.pool.n_pairs > 10**5", "raise MemoryError"), "scale")["scale"]
    assert failed.message.startswith("2,000 prompts of 17 completions, d = 32: it raised MemoryErr")


# -- docstrings ----------------------------------------------------------------------------------

LINES = "Family: plain.\nSource: none.\nAssumes: nothing.\nCost: O(n)."


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        (f"Pairs.\n\n{LINES}", ""),
        ("Pairs.", "does not end with lines 'Family: …', 'Source: …', 'Assumes: …', 'Cost: …'"),
        ("Pairs.\n\nFamily: plain.\nCost: O(n).", "lines 'Source: …', 'Assumes: …'"),
        (f"Pairs.\n\n{LINES.replace('plain', 'plane')}", "no family 'plane'. Did you mean 'plain'"),
        (f"Pairs.\n\n{LINES.replace('plain', 'xyz')}", "no family 'xyz'. There are: plain, "),
        (
            f"Pairs.\n\n{LINES.replace('plain', 'control')}",
            "for designs with control = True, and only",
        ),
        (LINES, "no docstring that says in one sentence"),
    ],
)
def test_docstring_faults_fail_built_in_designs_and_are_remarks_on_others(
    tmp_path: Path, doc: str, message: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f'"""{doc}\n"""\ndef select(view, n):\n    return []\n')
    subject = Subject(str(path))
    as_other = run_check(subject, "docstring")
    subject.built_in = True
    as_built_in = run_check(subject, "docstring")
    assert as_other.status == PASS
    assert as_built_in.status == (FAIL if message else PASS)
    assert message in as_other.message
    assert message in as_built_in.message
    assert bool(as_other.message) == bool(as_built_in.message) == bool(message)


def test_a_design_that_ships_with_pairbench_is_built_in() -> None:
    assert Subject("uniform").built_in


# -- other processes -----------------------------------------------------------------------------

BAD_IN_SUBPROCESS = [
    (
        "return uniform_pairs(view, n)[sorted(range(n), key=lambda i: hash(str(i)))]",
        r"^no labels yet: in another process it chose other pairs.* no hash\(\) of a text",
    ),
    (
        "import multiprocessing\n"
        "if multiprocessing.parent_process():\n    raise OSError('no file here')\n"
        "return uniform_pairs(view, n)",
        r"in another process, it fails with OSError: no file here\. Workers know designs in files",
    ),
    (
        "import multiprocessing\n"
        "if multiprocessing.parent_process():\n    os._exit(3)\nreturn uniform_pairs(view, n)",
        r"in another process, it ends its process \(exit code 3\)",
    ),
    (
        """
        @dataclass(frozen=True)
        class Keyed(Design):
            key: Callable[[int], int] = lambda x: x
            def select(self, view, n):
                return uniform_pairs(view, n)
        """,
        "key=<function .*cannot be put on record.*Parameters are numbers, strings",
    ),
]


@pytest.mark.parametrize(("code", "message"), BAD_IN_SUBPROCESS)
def test_a_design_that_fails_in_another_process_fails_the_check(
    check: Check, code: str, message: str
) -> None:
    result = check(code, "another-process")["another-process"]
    assert result.status == FAIL
    assert re.search(message, result.message), result.message


def test_a_design_registered_only_in_this_process_fails_the_check() -> None:
    register_design("only-here", lambda view, n: uniform_pairs(view, n))
    result = run_check(Subject("only-here"), "another-process")
    assert result.status == FAIL
    assert "UnknownDesign: no design 'only-here'" in result.message


def test_run_checks_runs_all_checks_in_a_subprocess(write: Callable[[str], str]) -> None:
    design = write(
        """
        def select(view, n, share=1.0):
            print("hello")
            return uniform_pairs(view, int(share * n)).tolist()
        """
    )
    results = list(run_checks(f"{design}(share=0.5)", 60))
    assert [result.check for result in results] == list(CHECKS)
    assert {result.status for result in results} == {PASS}
    assert "later round (3 of 7)" in results[list(CHECKS).index("hard-cases")].message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "while view.pool.dim == 1:\n    pass\nreturn uniform_pairs(view, n)",
            r"it did not end within 4 s\. It was in line [78] of mine\.py, in select\.",
        ),
        (
            only("view.pool.dim == 1", "os._exit(0)"),
            r"the design ended its process \(exit code 0\)\.",
        ),
    ],
)
def test_a_design_that_hangs_or_exits_fails_and_skips_the_remaining_checks(
    write: Callable[[str], str], code: str, message: str
) -> None:
    results = {result.check: result for result in run_checks(write(code), 4)}
    assert list(results) == list(CHECKS)
    order = list(CHECKS).index("hard-cases")
    assert {results[name].status for name in list(CHECKS)[:order]} == {PASS}
    assert results["hard-cases"].status == FAIL
    assert re.fullmatch(message, results["hard-cases"].message)
    for name in list(CHECKS)[order + 1 :]:
        assert results[name].status == SKIPPED
        assert results[name].message == "hard-cases did not come to an end."


def test_a_design_that_cannot_be_made_raises_at_once(tmp_path: Path) -> None:
    for design, error in (
        ("no-such-design", UnknownDesign),
        (str(tmp_path / "no.py"), PluginError),
        ("uniform(x=1)", InvalidParameter),
    ):
        with pytest.raises(error):
            next(run_checks(design, 60))


def test_the_docstring_of_a_check_is_one_sentence() -> None:
    for check in CHECKS.values():
        assert re.fullmatch(r"[A-Z].*\.", check.__doc__ or "")
