"""Generated pools hold what the model says, go on where they were stopped, and can be read."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from pairbench.annotation.round import plan_round
from pairbench.errors import (
    InvalidData,
    InvalidParameter,
    OutputExists,
    PairbenchError,
    RunError,
    UnknownName,
)
from pairbench.language.checkpoints import load_decoder
from pairbench.language.generation import GenerationSettings, GenerationSummary, generate_pool
from pairbench.language.sampling import Sampling
from pairbench.language.tiny import byte_tokenizer, save_model, tiny_model, word_tokenizer
from pairbench.pool.corpus import load_pool, read_corpus
from pairbench.pool.records import iter_records

WORDS = "abcdefgh"
PROMPTS = ["a", "b c d", "e f", "g", "h a"]
WHAT = GenerationSettings(completions=4, sampling=Sampling(6, seed=3), shard=2)
Cli = Callable[..., subprocess.CompletedProcess[str]]


def made(folder: Path, tokenizer: Any, seed: int = 1) -> str:
    model = tiny_model("gpt2", tokenizer, layers=1, seed=seed)
    for weights in model.parameters():
        weights.data *= 4.0 if weights.dim() > 1 else 1.0
    return save_model(folder, model, tokenizer)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("policy"), word_tokenizer(WORDS, context=16))


@pytest.fixture(scope="module")
def other_policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("policy"), word_tokenizer(WORDS, context=16), seed=2)


@pytest.fixture(scope="module")
def whole(policy: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GenerationSummary]:
    """A pool, which tests read only."""
    out = tmp_path_factory.mktemp("whole") / "pool"
    return out, generate_pool(policy, PROMPTS, out, WHAT)


@pytest.fixture
def pool(whole: tuple[Path, GenerationSummary], tmp_path: Path) -> Path:
    shutil.copytree(whole[0], tmp_path / "pool")
    return tmp_path / "pool"


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))}


def rows(out: Path) -> list[dict[str, Any]]:
    return [row.values for row in iter_records(out)]


# -- what it holds -------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["hidden", "last", "none"])
def test_rows_hold_what_the_model_says_of_the_texts(
    policy: str, tmp_path: Path, features: str
) -> None:
    import torch

    generate_pool(policy, PROMPTS, tmp_path / "pool", replace(WHAT, features=features))
    checkpoint = load_decoder(policy)
    found = rows(tmp_path / "pool")
    assert [row["prompt"] for row in found] == PROMPTS
    for row in found:
        head = len(checkpoint.tokenizer(row["prompt"]).input_ids)
        assert row["completions"]
        assert ("embeddings" in row) == (features != "none")
        for k, text in enumerate(row["completions"]):
            assert text.startswith(" ")
            ids = checkpoint.tokenizer(row["prompt"] + text + "</s>").input_ids
            with torch.no_grad():
                out = checkpoint.model(torch.tensor([ids]), output_hidden_states=True)
            said = out.logits[0].double().log_softmax(-1)[head - 1 : -1]
            expected = sum(float(p[i]) for p, i in zip(said, ids[head:], strict=True))
            assert row["log_ref"][k] == pytest.approx(expected, abs=1e-4)
            assert row["lengths"][k] == len(ids) - head
            hidden = out.hidden_states[-1][0, head:].numpy()
            if features != "none":
                wanted = hidden.mean(axis=0) if features == "hidden" else hidden[-1]
                np.testing.assert_allclose(row["embeddings"][k], wanted, atol=1e-4)


def test_counts_are_those_of_the_rows(whole: tuple[Path, GenerationSummary]) -> None:
    out, done = whole
    found = rows(out)
    assert (done.prompts, done.repeated, done.shards, done.made) == (5, 0, 3, 3)
    assert done.completions == sum(len(row["completions"]) for row in found)
    assert done.completions + done.empty + done.unfit == 5 * 4
    assert done.cut == sum(row["finished"].count(False) for row in found) > 0
    assert done.tokens > done.completions
    assert done.seconds > 0


def test_texts_do_not_depend_on_shards_batches_or_other_prompts(
    policy: str, whole: tuple[Path, GenerationSummary], tmp_path: Path
) -> None:
    expected = {row["prompt"]: row for row in rows(whole[0])}
    what = replace(WHAT, shard=3, completions=7)
    generate_pool(policy, [*PROMPTS[::-1], "c c"], tmp_path / "pool", what, batch=5)
    for row in rows(tmp_path / "pool"):
        if before := expected.get(row["prompt"]):
            count = len(before["completions"])
            assert row["completions"][:count] == before["completions"]
            np.testing.assert_allclose(row["log_ref"][:count], before["log_ref"], atol=1e-4)


def test_duplicates_are_counted_and_empty_completions_left_out(tmp_path: Path) -> None:
    words = made(tmp_path / "model", word_tokenizer("ab", context=8), seed=4)
    what = GenerationSettings(completions=30, sampling=Sampling(1), features="none")
    done = generate_pool(words, ["a", "b", "a ", "a b"], tmp_path / "pool", what)
    assert (done.prompts, done.repeated) == (3, 1)
    found = rows(tmp_path / "pool")
    for row in found:
        assert set(row["completions"]) <= {" a", " b"}
        assert row["duplicates"] == len(row["completions"]) - len(set(row["completions"]))
        assert row["empty"] == 30 - len(row["completions"])
        assert row["unfit"] == 0
    assert done.empty > 0
    assert done.completions == 90 - done.empty
    assert done.duplicates == read_corpus(tmp_path / "pool").n_duplicates > 30


def test_texts_that_have_become_too_long_are_left_out(tmp_path: Path) -> None:
    # Half a character of two bytes is told by one of three.
    policy = made(tmp_path / "model", byte_tokenizer(36))
    what = GenerationSettings(completions=8, sampling=Sampling(15), shard=2)
    done = generate_pool(policy, ["Prompt 1", "Prompt 2", "Prompt 3"], tmp_path / "pool", what)
    assert 0 < done.unfit < 24
    assert done.completions + done.empty + done.unfit == 24
    tokenizer = load_decoder(policy).tokenizer
    for row in rows(tmp_path / "pool"):
        for text in row["completions"]:
            assert len(tokenizer(row["prompt"] + text + "</s>").input_ids) <= 36


def test_a_model_that_says_nothing_makes_a_pool_without_completions(
    policy: str, tmp_path: Path
) -> None:
    silent = load_decoder(policy)
    silent.model.transformer.ln_f.weight.data[:] = 0
    silent.model.transformer.ln_f.bias.data = 50 * silent.model.transformer.wte.weight.data[2]
    folder = save_model(tmp_path / "silent", silent.model, silent.tokenizer)
    done = generate_pool(folder, PROMPTS, tmp_path / "pool", WHAT)
    assert (done.completions, done.empty) == (0, 20)
    assert [row["completions"] for row in rows(tmp_path / "pool")] == [[]] * 5
    with pytest.raises(InvalidData, match="none of which has two different completions"):
        load_pool(tmp_path / "pool")


# -- going on ------------------------------------------------------------------------------------


def test_what_is_missing_is_made_and_the_rest_is_left(
    policy: str, whole: tuple[Path, GenerationSummary], pool: Path
) -> None:
    (pool / "00001.parquet").unlink()
    (pool / ".00001.parquet.99.tmp").write_bytes(b"cut")
    before = (pool / "00002.parquet").stat().st_mtime_ns
    told: list[tuple[int, int, str]] = []
    again = generate_pool(
        policy, PROMPTS, pool, WHAT, on_progress=lambda *given: told.append(given)
    )
    assert again.made == 1
    assert shards(pool) == shards(whole[0])
    assert (pool / "00002.parquet").stat().st_mtime_ns == before
    assert not list(pool.glob(".*.tmp"))
    assert told[0] == (12, 20, "")
    assert told[-1][:2] == (20, 20)
    assert told[-1][2].endswith(" tokens/s")
    done = generate_pool(policy, PROMPTS, pool, WHAT)
    assert (done.made, done.tokens) == (0, 0)
    for name in ("completions", "duplicates", "cut", "empty", "unfit"):
        assert getattr(done, name) == getattr(again, name) == getattr(whole[1], name)


def test_a_policy_may_be_moved(policy: str, pool: Path, tmp_path: Path) -> None:
    shutil.copytree(policy, tmp_path / "moved")
    assert generate_pool(str(tmp_path / "moved"), PROMPTS, pool, WHAT).made == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"completions": 5}, "completions 4 there, 5 now"),
        ({"shard": 3}, "shard 2 there, 3 now"),
        ({"features": "last"}, "features 'hidden' there, 'last' now"),
        ({"sampling": Sampling(6, seed=4)}, "seed 3 there, 4 now"),
        (
            {"sampling": Sampling(5, temperature=0.5, seed=3)},
            "max_tokens 6 there, 5 now; temperature 1.0 there, 0.5 now",
        ),
    ],
)
def test_other_settings_are_refused(
    policy: str, pool: Path, changed: dict[str, Any], message: str
) -> None:
    before = shards(pool)
    with pytest.raises(InvalidParameter) as error:
        generate_pool(policy, PROMPTS, pool, replace(WHAT, **changed))
    assert f"holds a pool that was made otherwise: {message}. Give the same" in str(error.value)
    assert shards(pool) == before


def test_another_model_dtype_or_prompts_are_refused(
    policy: str, other_policy: str, pool: Path
) -> None:
    with pytest.raises(InvalidParameter, match="otherwise: policy '"):
        generate_pool(other_policy, PROMPTS, pool, WHAT)
    with pytest.raises(InvalidParameter, match="dtype 'float32' there, 'float64' now"):
        generate_pool(policy, PROMPTS, pool, WHAT, dtype="float64")
    with pytest.raises(InvalidParameter, match="otherwise: prompts '"):
        generate_pool(policy, PROMPTS[::-1], pool, WHAT)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="kills a process as on Linux")
@pytest.mark.slow
def test_a_killed_command_goes_on_and_comes_to_the_same(
    tmp_path: Path, policy: str, here: Cli, root: Path
) -> None:
    prompts = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in "ab"]
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    )
    arguments = ["pool", "generate", "--policy", policy, "--prompts", "prompts.jsonl"]
    arguments += ["--completions", "4", "--max-tokens", "8", "--shard", "2", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pairbench", *arguments, "--out", "killed"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while len(shards(tmp_path / "killed")) < 3 and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = shards(tmp_path / "killed")
    assert 3 <= len(kept) < 64
    with pytest.raises(InvalidData, match=r"killed is not complete: of its 64 files, \d+ are miss"):
        load_pool(tmp_path / "killed")
    done = here(*arguments, "--out", "killed", "--json", PAIRBENCH_DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] == 64 - len(kept)
    assert here(*arguments, "--out", "undisturbed").returncode == 0
    assert kept.items() <= shards(tmp_path / "killed").items()
    assert shards(tmp_path / "killed") == shards(tmp_path / "undisturbed")


def test_the_command_says_what_it_made(
    tmp_path: Path, policy: str, here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PAIRBENCH_DEVICE", "PAIRBENCH_DTYPE"):  # the command sets them
        monkeypatch.setenv(name, "auto")
    (tmp_path / "[p].txt").write_text("\n".join([*PROMPTS, "a"]))
    arguments = ["pool", "generate", "--policy", policy, "--prompts", "[p].txt", "--out", "[o]"]
    arguments += ["--completions", "4", "--max-tokens", "2", "--shard", "3", "--seed", "5"]
    done = here(*arguments, "--device", "cpu", "--dtype", "float64", "--features", "last")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("0 of 20 completions, ")
    assert "20 of 20 completions, " in done.stdout
    assert " tokens/s" in done.stdout
    assert re.search(r"^5 prompts, \d+ completions in \[o\] \(2 shards\)$", done.stdout, re.M)
    assert "  1 prompts left out: they came before" in said
    assert re.search(r"^  \d+ completions cut at 2 tokens$", done.stdout, re.M)
    assert said[-1] == "next: pairbench select '[o]' --budget 100 --ignore-log-ref"
    assert (
        json.loads((tmp_path / "[o]" / "pool.json").read_text())["settings"]["dtype"] == "float64"
    )
    done = here("select", "[o]", "--budget", "5", "--ignore-log-ref", "--out", "pairs.jsonl")
    assert done.returncode == 0, done.stderr
    assert "the file's embeddings, 32 dimensions" in done.stdout
    done = here("export", "pairs.jsonl", "--to", "csv")
    assert done.returncode == 0, done.stderr
    done = here(*arguments, "--dtype", "float32", "--features", "last")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("InvalidParameter: [o] holds a pool that was made otherwise: dty")


# -- reading -------------------------------------------------------------------------------------


def test_a_pool_is_loaded_for_environments(whole: tuple[Path, GenerationSummary]) -> None:
    pool = load_pool(whole[0])
    assert pool.prompts == tuple(PROMPTS)
    assert pool.texts is not None
    for x, row in enumerate(rows(whole[0])):
        there = np.flatnonzero(pool.valid[x])
        assert [pool.texts[x][k] for k in there] == list(dict.fromkeys(row["completions"]))
        log_ref = np.array(row["log_ref"])[there]
        log_ref -= np.log(np.exp(log_ref - log_ref.max()).sum()) + log_ref.max()
        np.testing.assert_allclose(pool.log_ref[x, there], log_ref, atol=1e-6)
        assert pool.lengths[x, there].tolist() == [row["lengths"][k] for k in there]
        vectors = np.array([row["embeddings"][k] for k in there], dtype=np.float32)
        np.testing.assert_array_equal(pool.features[x, there], vectors)


def test_a_pool_without_embeddings_is_no_environments(policy: str, tmp_path: Path) -> None:
    generate_pool(policy, PROMPTS, tmp_path / "pool", replace(WHAT, features="none"))
    with pytest.raises(InvalidData, match="holds no embeddings"):
        load_pool(tmp_path / "pool")


def test_pairs_are_chosen_from_it(whole: tuple[Path, GenerationSummary]) -> None:
    planned = plan_round(whole[0], "uniform", 8, dim=4)
    assert planned.features.startswith("the file's embeddings, 32 dimensions")
    assert np.ptp(planned.pool.log_ref[planned.pool.valid]) > 0.1
    alike = plan_round(whole[0], "uniform", 8, dim=4, log_ref=False)
    share = np.where(alike.pool.valid, 1 / alike.pool.valid.sum(axis=1, keepdims=True), 0)
    np.testing.assert_allclose(np.exp(alike.pool.log_ref), share, atol=1e-12)
    first = json.loads(planned.pairs_file.splitlines()[0])
    assert first["prompt"] in PROMPTS


def test_folders_that_are_no_pools_are_told(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidData, match=r"is a folder without pool\.json"):
        load_pool(tmp_path / "empty")
    (pool / "00000.parquet").unlink()
    with pytest.raises(InvalidData, match=r"of its 3 files, 1 are missing, the first .*00000"):
        read_corpus(pool)
    for content in ("{", "[]", '{"files": 3}', '{"files": [3]}'):
        (pool / "pool.json").write_text(content)
        with pytest.raises(InvalidData, match=r"pool\.json"):
            read_corpus(pool)


# -- bad input -----------------------------------------------------------------------------------


def test_a_folder_with_other_things_is_left_alone(policy: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("")
    with pytest.raises(OutputExists, match=r"holds other things \(thesis.tex\)"):
        generate_pool(policy, PROMPTS, tmp_path / "work", WHAT)
    with pytest.raises(OutputExists, match=r"thesis.tex is a file\. A pool is a folder"):
        generate_pool(policy, PROMPTS, tmp_path / "work" / "thesis.tex", WHAT)
    with pytest.raises(RunError, match="cannot write into"):
        generate_pool(policy, PROMPTS, tmp_path / "work" / "thesis.tex" / "pool", WHAT)


def test_only_one_process_writes(policy: str, pool: Path) -> None:
    with (
        FileLock(pool / ".lock"),
        pytest.raises(RunError, match="another process is writing into"),
    ):
        generate_pool(policy, PROMPTS, pool, WHAT)


def test_a_damaged_pool_says_what_to_remove(policy: str, pool: Path) -> None:
    shard = pool / "00001.parquet"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(InvalidData, match=r"00001.parquet is damaged: .*Remove it"):
        generate_pool(policy, PROMPTS, pool, WHAT)
    (pool / "pool.json").write_text("[]")
    with pytest.raises(InvalidData, match=r"pool.json is damaged: "):
        generate_pool(policy, PROMPTS, pool, WHAT)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "there is no prompt to complete"),
        (["a", ""], r"prompt 1 \(''\) has no token"),
        (["a", "a b c d e f a b c d"], r"prompt 1 .* has 10 tokens, and with 6 .* than the 16"),
    ],
)
def test_prompts_that_cannot_be_completed(
    policy: str, tmp_path: Path, prompts: list[str], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        generate_pool(policy, prompts, tmp_path / "pool", WHAT)
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"completions": 1}, InvalidParameter, "completions must be 2 or more"),
        ({"shard": 0}, InvalidParameter, "shard must be 1 or more"),
        ({"features": "lst"}, UnknownName, "no kind of features 'lst'. Did you mean 'last'?"),
        ({"engine": "vlm"}, UnknownName, "no engine 'vlm'. Did you mean 'vllm'?"),
    ],
)
def test_settings_that_cannot_be(
    settings: dict[str, Any], kind: type[PairbenchError], message: str
) -> None:
    with pytest.raises(kind) as error:
        GenerationSettings(**settings)
    assert str(error.value).startswith(message)


def test_a_tokenizer_without_an_end_is_told(policy: str, tmp_path: Path) -> None:
    shutil.copytree(policy, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(InvalidParameter, match="has no EOS token to end a completion with"):
        generate_pool(str(tmp_path / "model"), PROMPTS, tmp_path / "pool", WHAT)
