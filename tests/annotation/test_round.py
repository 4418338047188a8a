"""The commands of a round, as people give them."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from pairbench.annotation.round import plan_round
from pairbench.cli.show.annotation import worth_text
from pairbench.pool.content import QUESTION_ID

Cli = Callable[..., CompletedProcess[str]]
Write = Callable[..., Path]
MadeUp = Callable[..., list[dict[str, Any]]]
SELECT = ["select", "pool.jsonl", "--budget", "5"]


@pytest.fixture
def pool(write: Write, made_up: MadeUp) -> Path:
    return write(made_up())


def good(done: CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done: CompletedProcess[str], kind: str, *parts: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith(f"{kind}: "), done.stderr
    assert all(part in done.stderr for part in parts), done.stderr
    assert done.stdout == ""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_team_goes_round_and_round(here: Cli, pool: Path, tmp_path: Path) -> None:
    rows = lines(pool)
    out = good(here("select", "pool.jsonl", "--budget", "20", "--out", "round1.jsonl"))
    for words in (
        "12 prompts, 60 completions, 120 pairs",
        "none yet",
        "20 pairs by greedy-i-robust",
        "% as informative as the best 20 pairs",
        "These 20 labels are worth about",
        "random ones under the model's assumptions",
        "round1.svg and round1.png",
        "pairbench export round1.jsonl --to label-studio",
    ):
        assert words in out
    asked = lines(tmp_path / "round1.jsonl")
    assert [pair["rank"] for pair in asked] == list(range(1, 21))
    for pair in asked:
        x, i, j = pair["index"]
        assert pair["prompt"] == rows[x]["prompt"]
        assert [pair["first"], pair["second"]] == [rows[x]["completions"][k] for k in (i, j)]
        assert QUESTION_ID.fullmatch(pair["id"])
    assert len({pair["id"] for pair in asked}) == 20
    # The answers stand beside the questions; the pool is sorted otherwise and kept as CSV.
    answered = [pair | {"label": ["first", 0, "tie", None][k % 4]} for k, pair in enumerate(asked)]
    (tmp_path / "filled.jsonl").write_text("\n".join(map(json.dumps, answered)))
    out = good(here("import", "filled.jsonl"))
    assert "20 answers: 5 first, 5 second, 5 tie, 5 skip" in out
    assert "20 labels in labels.jsonl: 20 new" in out
    assert "20 labels in labels.jsonl: 20 there already" in good(here("import", "filled.jsonl"))
    assert "is a labels file already" in good(here("import", "labels.jsonl"))
    rows.reverse()
    (tmp_path / "pool.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["--labels", "labels.jsonl", "--budget", "9", "--out", "round2.jsonl"]
    out = good(here("select", "pool.jsonl", *arguments))
    assert "20 so far, 5 of them skipped" in out
    assert len(lines(tmp_path / "round2.jsonl")) == 9
    arguments = ["--to", "trl", "--labels", "labels.jsonl", "--out", "data.jsonl"]
    out = good(here("export", "round1.jsonl", "round2.jsonl", *arguments))
    assert "10 preferences in data.jsonl" in out
    assert "5 ties left out" in out
    assert "5 skips left out" in out
    assert set(lines(tmp_path / "data.jsonl")[0]) == {"prompt", "chosen", "rejected"}


def test_labels_do_not_depend_on_the_order_of_the_pool(
    write: Write, made_up: MadeUp, tmp_path: Path
) -> None:
    rows = made_up()
    first = plan_round(write(rows), "leverage", 15)
    (tmp_path / "pairs.jsonl").write_bytes(first.pairs_file)
    asked = lines(tmp_path / "pairs.jsonl")
    labels = write([{"id": pair["id"], "label": 1} for pair in asked], "labels.jsonl")
    for row in rows:
        row["completions"].reverse()
    again = plan_round(write(rows[::-1]), "leverage", 5, labels=labels)
    for pair, (x, i, j) in zip(asked, again.past.pairs.tolist(), strict=True):
        prompt = again.corpus.prompts[x]
        shown = (prompt.content, prompt.candidates[i].content, prompt.candidates[j].content)
        assert shown == (pair["prompt"], pair["first"], pair["second"])


@pytest.mark.slow
def test_a_pair_asked_again_has_an_id_of_its_own(here: Cli, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text(
        "import numpy as np\ndef select(view, n):\n    return np.tile([0, 1, 0], (n, 1))\n"
    )
    arguments = ["--budget", "2", "--design", "same.py"]
    out = good(here("select", "pool.jsonl", *arguments))
    assert "2 pairs by same.py, 1 of which asks a pair again" in out
    ids = [pair["id"] for pair in lines(tmp_path / "pairs.jsonl")]
    labels = [{"id": id_, "label": "first"} for id_ in ids]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    good(here("select", "pool.jsonl", *arguments, "--labels", "labels.jsonl", "--force"))
    ids += [pair["id"] for pair in lines(tmp_path / "pairs.jsonl")]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3", f"{ids[0]}-4"]


def test_json_tells_all_of_it(here: Cli, pool: Path) -> None:
    done = here("select", "pool.jsonl", "--budget", "5", "--json", "--seed", "3")
    summary = json.loads(good(done))
    assert summary["pool"]["pairs"] == 120
    assert summary["pairs"] == 5
    assert 0 < summary["gap"] < summary["gap_before"]
    assert 0 < summary["efficiency"] <= 1


def test_a_preference_data_set_brings_its_labels(here: Cli, write: Write) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"P{k % 9}", "chosen": f"{'yes ' * (k + 1)}.", "rejected": f"no {k}, {'!' * k}"}
        for k in rng.permutation(27).tolist()
    ]
    write(rows)
    out = good(here("select", "pool.jsonl", "--budget", "5"))
    assert "27 so far (27 from the pool file itself; --ignore-answers leaves them out)" in out
    out = good(here("select", "pool.jsonl", "--budget", "5", "--force", "--ignore-answers"))
    assert "none yet" in out


def test_what_is_left_out_is_told(here: Cli, write: Write, made_up: MadeUp) -> None:
    rows = made_up()
    rows[0]["completions"][1] = rows[0]["completions"][0]
    rows[1]["completions"] = ["alone"]
    rows[2]["completions"][0] = ""
    write(rows)
    out = good(here("select", "pool.jsonl", "--budget", "5"))
    assert "1 duplicate is never compared" in out
    assert "1 prompt with one completion is left out" in out
    assert "1 completion is empty" in out


def test_a_reference_policy_that_is_sure_of_itself_is_told(here: Cli, write: Write) -> None:
    rows = [
        {"prompt": f"{x}", "completions": ["a", "b, c"], "logprobs": [-10.0, -300.0]}
        for x in range(3)
    ]
    write(rows)
    out = good(here("select", "pool.jsonl", "--budget", "2"))
    assert "put 100.0% on one completion of each prompt" in out
    assert "Leave them out if the completions were drawn from the policy (--ignore-log-ref)" in out
    out = good(here("select", "pool.jsonl", "--budget", "2", "--force", "--ignore-log-ref"))
    assert "on one completion of each prompt" not in out


@pytest.mark.parametrize(
    ("n", "before", "worth", "text"),
    [
        (500, 0.5, 1146.3, "These 500 labels are worth about 1,150 random ones under"),
        (500, 0.5, 987.0, "worth about 990 random ones"),
        (1, 0.5, 0.97, "This label is worth about 1 random one under"),
        (5, 0.5, 0.32, "worth about 0.3 random ones"),
        (5, 0.5, np.inf, "worth more than any number of random ones"),
        (5, 0.0, 0.0, "worth nothing, because there is nothing left to learn"),
    ],
)
def test_what_labels_are_worth_is_said_in_words(
    n: int, before: float, worth: float, text: str
) -> None:
    said = worth_text(n, before, worth)
    assert text in said
    assert said.endswith("under the model's assumptions.")


def test_nothing_is_overwritten_unless_forced(here: Cli, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.png").write_text("mine")
    refused(here(*SELECT), "OutputExists", "pairs.png is there already", "--out", "--force")
    assert not (tmp_path / "pairs.jsonl").exists()
    good(here(*SELECT, "--force"))
    assert (tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")
    export = ["export", "pairs.jsonl", "--to", "label-studio"]
    good(here(*export))
    refused(here(*export), "OutputExists", "pairs.label-studio.json, pairs.label-studio.xml are")
    good(here(*export, "--force"))
    good(here(*export, "--out", "tasks.json"))
    assert (tmp_path / "tasks.label-studio.xml").exists()
    refused(here(*export, "--out", "."), "OutputExists", ". is a folder")


def test_what_is_read_is_never_written(here: Cli, pool: Path, tmp_path: Path) -> None:
    before = pool.read_bytes()
    refused(here(*SELECT, "--out", "pool.jsonl", "--force"), "OutputExists", "pool.jsonl is read")
    assert pool.read_bytes() == before
    good(here(*SELECT))
    export = ["export", "pairs.jsonl", "--to", "csv", "--out", "./pairs.jsonl", "--force"]
    refused(here(*export), "OutputExists", "pairs.jsonl is read")


@pytest.mark.parametrize(
    ("arguments", "kind", "part"),
    [
        (["select", "pool.jsonl", "--budget", "0"], "InvalidParameter", "from 1 to 120"),
        (["select", "pool.jsonl", "--budget", "121"], "InvalidParameter", "got 121"),
        (["select", "none.jsonl", "--budget", "5"], "InvalidData", "No such file"),
        (
            [*SELECT, "--design", "unifrom"],
            "UnknownDesign",
            "uniform",
        ),
        ([*SELECT, "--design", "oracle-i-optimal"], "InvalidParameter", "is a control"),
        ([*SELECT, "--beta", "0"], "InvalidParameter", "beta"),
        ([*SELECT, "--dim", "0"], "InvalidParameter", "dim"),
        ([*SELECT, "--labels", "x"], "InvalidData", "x: No such"),
        (
            [*SELECT, "--labels", "pool.jsonl"],
            "InvalidData",
            "line 1",
        ),
        (["export", "pool.jsonl", "--to", "csv"], "InvalidData", "field 'id' is missing"),
        (["export", "none.jsonl", "--to", "csv"], "InvalidData", "cannot read none.jsonl"),
        ([*SELECT, "--out", "pairs.png"], "InvalidParameter", "pairs, which are JSONL"),
        ([*SELECT, "--out", ".", "--force"], "OutputExists", "is a folder"),
        (["import", "none.json"], "InvalidData", "cannot read none.json"),
        (["import", "pool.jsonl"], "InvalidData", "Expected a pair's id"),
    ],
)
def test_what_cannot_be_is_one_message(
    here: Cli, pool: Path, tmp_path: Path, arguments: list[str], kind: str, part: str
) -> None:
    refused(here(*arguments), kind, part)
    assert [path.name for path in tmp_path.iterdir()] == ["pool.jsonl"]


def test_a_label_of_another_pool_is_refused(here: Cli, pool: Path, write: Write) -> None:
    write([{"id": f"{'0' * 16}-{'1' * 16}", "label": "first"}], "labels.jsonl")
    done = here("select", "pool.jsonl", "--budget", "5", "--labels", "labels.jsonl")
    refused(
        done, "InvalidPairs", "1 of 1 labels answer a pair that is not in pool.jsonl", "label 1"
    )
