"""Scores are those of each text read alone, and no text is read twice."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter, Pool
from pairbench.errors import InvalidData, InvalidPool, TrainingFailed
from pairbench.language import rewards
from pairbench.language.checkpoints import load_classifier
from pairbench.language.rewards import RewardModel, batched_logits, pool_scores, text_scores
from pairbench.language.score_store import ScoreStore
from pairbench.language.tiny import byte_tokenizer, save_model, tiny_model, word_tokenizer
from tests.language.conftest import WORDS, MakeWords

CLASSIFIERS = ("distilbert", "llama-classifier")
CHAT = "{% for m in messages %}{{ m.role + ' ' + m.content + ' </s> ' }}{% endfor %}"
MakeModel = Callable[..., str]
Read = list[list[tuple[int, ...]]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test."""
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scores"


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Folders of small classifiers of words."""

    def make(
        architecture: str = "distilbert", labels: int = 1, seed: int = 1, name: str = "", **own: Any
    ) -> str:
        tokenizer = word_tokenizer([*WORDS, "user", "assistant"], context=32)
        tokenizer.chat_template = CHAT
        model = tiny_model(architecture, tokenizer, labels=labels, seed=seed)
        for weights in model.parameters():  # which as drawn score all texts nearly alike
            weights.data *= 4.0 if weights.dim() > 1 else 1.0
        for key, value in own.items():
            setattr(model.config, key, value)
        return save_model(tmp_path / (name or f"{architecture}-{labels}-{seed}"), model, tokenizer)

    return make


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """The texts that models read, as token ids."""
    seen: Read = []
    plain = rewards.batched_logits

    def batched(model: Any, ids: Sequence[Sequence[int]], tokens: int) -> Any:
        seen.append([tuple(row) for row in ids])
        return plain(model, ids, tokens)

    monkeypatch.setattr(rewards, "batched_logits", batched)
    return seen


def words(n: int, seed: int = 0, longest: int = 25) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, longest, size=n)
    return [("a b", " " + " ".join(rng.choice(WORDS, size=s))) for s in size]


def slow(folder: str, texts: Sequence[str], **kwargs: Any) -> NDArray[np.float64]:
    """Outputs of each text alone, without padding or masks, ``(n, labels)``."""
    import torch

    checkpoint = load_classifier(folder, device="cpu", dtype="float32")
    rows = [checkpoint.tokenizer(text, **kwargs)["input_ids"] for text in texts]
    with torch.no_grad():
        outputs = [checkpoint.model(torch.tensor([row])).logits[0].tolist() for row in rows]
    return np.array(outputs)


def close(values: Any, expected: Any) -> None:
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


# -- what a score is -----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_scores_are_those_of_each_text_alone(make_model: MakeModel, architecture: str) -> None:
    folder, texts = make_model(architecture), words(60)
    expected = slow(folder, ["".join(text) for text in texts])[:, 0]
    assert np.ptp(expected) > 0.04
    close(text_scores(texts, folder), expected)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_neighbours_change_little(make_model: MakeModel, architecture: str) -> None:
    checkpoint = load_classifier(make_model(architecture), device="cpu", dtype="float32")
    rng = np.random.default_rng(3)
    ids = [rng.integers(3, 11, size=size).tolist() for size in rng.integers(1, 32, size=40)]

    def outputs(order: NDArray[np.int64], tokens: int) -> NDArray[np.float64]:
        found = np.full(len(ids), np.nan)
        for rows, logits in batched_logits(checkpoint.model, [ids[i] for i in order], tokens):
            found[order[rows]] = logits[:, 0]
        return found

    alone = outputs(np.arange(40), 1)
    for tokens in (50, 200, 10_000):
        close(outputs(rng.permutation(40), tokens), alone)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_of_several_outputs_it_is_the_log_odds(make_model: MakeModel, architecture: str) -> None:
    names = {0: "bad", 1: "so so", 2: "good"}
    folder = make_model(architecture, labels=3, id2label=names)
    texts = words(20)
    p = np.exp(slow(folder, ["".join(text) for text in texts]))
    p /= p.sum(axis=1, keepdims=True)
    for label in (2, "good"):
        values = text_scores(texts, RewardModel(folder, label=label))
        close(values, np.log(p[:, 2] / (1 - p[:, 2])))
    assert not np.allclose(text_scores(texts, RewardModel(folder, label=1)), values)


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_outputs_that_do_not_compete_are_scores(make_model: MakeModel, kind: str) -> None:
    folder, texts = make_model(labels=3, problem_type=kind), words(20)
    expected = slow(folder, ["".join(text) for text in texts])[:, 1]
    close(text_scores(texts, RewardModel(folder, label=1)), expected)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_a_chat_template_writes_the_text(make_model: MakeModel, architecture: str) -> None:
    folder = make_model(architecture)
    texts = [("a b", " c d e"), ("a", " b c d e f"), ("a b c", " d")]
    written = [f"user {x} </s> assistant {y} </s> " for x, y in texts]
    expected = slow(folder, written, add_special_tokens=False)[:, 0]
    close(text_scores(texts, RewardModel(folder, template="chat")), expected)
    assert not np.allclose(text_scores(texts, folder), expected)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
@pytest.mark.parametrize("pad", [None, -1])
def test_a_pad_token_that_no_configuration_names_is_the_tokenizers(
    make_model: MakeModel, architecture: str, pad: int | None
) -> None:
    plain, other = make_model(architecture), make_model(architecture, name="other")
    config = Path(other, "config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token_id": pad}))
    texts = words(30)
    close(text_scores(texts, other), text_scores(texts, plain))


def test_a_pool_is_scored_where_it_has_completions(
    make_model: MakeModel, make_words: MakeWords
) -> None:
    folder, pool = make_model(), make_words()
    assert not pool.valid.all()
    scores = pool_scores(pool, folder)
    assert pool.prompts is not None
    assert pool.texts is not None
    texts = [x + y for x, row in zip(pool.prompts, pool.texts, strict=True) for y in row]
    expected = slow(folder, texts)[:, 0].reshape(pool.valid.shape)
    close(scores, np.where(pool.valid, expected, 0))
    alone = Pool(pool.features, texts=pool.texts, valid=pool.valid)
    close(pool_scores(alone, folder)[0, 0], slow(folder, [pool.texts[0][0]])[0, 0])


def test_an_empty_completion_has_its_prompts_score(make_model: MakeModel) -> None:
    folder = make_model()
    close(text_scores([("a b", ""), ("", "c")], folder), slow(folder, ["a b", "c"])[:, 0])


def test_the_order_of_texts_does_not_count(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, texts = make_model(), words(50)
    one = text_scores(texts, folder)
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path / "another"))
    np.testing.assert_array_equal(text_scores(texts[::-1], folder)[::-1], one)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
@pytest.mark.parametrize("template", ["plain", "chat"])
def test_of_long_texts_the_beginning_is_left_out(
    make_model: MakeModel, architecture: str, template: str
) -> None:
    folder = make_model(architecture)
    texts = [("a b c d " * 9, "e f"), ("a", " b"), ("h " * 50, "e f g")]
    written = ["".join(text) for text in texts]
    if template == "chat":
        written = [f"user {x} </s> assistant {y} </s> " for x, y in texts]
    model = RewardModel(folder, template=template)
    with pytest.warns(UserWarning, match="2 of 3 texts are longer than .* beginnings are") as told:
        scores = text_scores(texts, model)
    assert len(told) == 1
    close(scores, slow(folder, [" ".join(text.split()[-32:]) for text in written])[:, 0])
    text_scores(texts, model)  # and tells no more


# -- what is kept --------------------------------------------------------------------------------


def test_only_new_texts_are_read(make_model: MakeModel, read: Read) -> None:
    folder, texts = make_model(), words(30)
    first = text_scores(texts[:20], folder)
    distinct = {"".join(text) for text in texts[:20]}
    assert len(read[0]) == len(distinct)
    second = text_scores(texts[10:] + texts[10:], folder)
    assert len(read[1]) == len({"".join(text) for text in texts[10:]} - distinct)
    np.testing.assert_array_equal(second[:10], first[10:])
    np.testing.assert_array_equal(text_scores(texts[::-1], folder)[-20:], first[::-1])
    assert len(read) == 2


def test_without_new_texts_no_model_is_loaded(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, texts = make_model(), words(5)
    first = text_scores(texts, folder)
    monkeypatch.setattr(rewards, "_load", None)
    np.testing.assert_array_equal(text_scores(texts, folder), first)


def test_where_the_prompt_ends_counts_in_a_chat_alone(make_model: MakeModel, read: Read) -> None:
    folder, texts = make_model(), [("a b", " c"), ("a", " b c")]
    assert np.ptp(text_scores(texts, folder)) == 0
    assert np.ptp(text_scores(texts, RewardModel(folder, template="chat"))) != 0
    assert [len(ids) for ids in read] == [1, 2]


def test_what_a_score_depends_on_is_kept_apart(make_model: MakeModel, read: Read) -> None:
    folder, texts = make_model(labels=2), words(4)
    one = RewardModel(folder, label=1)
    others = [
        RewardModel(folder, label=0),
        RewardModel(folder, label=1, template="chat"),
        RewardModel(folder, label=1, dtype="float64"),
    ]
    for model in (one, *others):
        text_scores(texts, model)
    assert len(read) == 4
    assert len({model.digest() for model in (one, *others)}) == 4
    assert RewardModel(folder, label="LABEL_1").digest() == one.digest()


def test_the_environment_names_the_dtype(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, texts = make_model(), words(9)
    plain = text_scores(texts, folder)
    monkeypatch.setenv("PAIRBENCH_DTYPE", "bfloat16")
    assert RewardModel(folder).settings()["dtype"] == "bfloat16"
    rough = text_scores(texts, folder)
    assert 0 < np.abs(rough - plain).max() < 0.03
    np.testing.assert_array_equal(text_scores(texts, RewardModel(folder, dtype="float32")), plain)


def test_a_model_that_was_trained_again_scores_anew(make_model: MakeModel, read: Read) -> None:
    texts, folder = words(9), make_model(name="mine")
    first, digest = text_scores(texts, folder), RewardModel(folder).digest()
    assert make_model(seed=2, name="mine") == folder
    assert RewardModel(folder).digest() != digest
    again = text_scores(texts, folder)
    assert not np.allclose(again, first)
    close(again, slow(folder, ["".join(text) for text in texts])[:, 0])
    make_model(name="mine")  # and back: what was there is there still
    np.testing.assert_array_equal(text_scores(texts, folder), first)
    assert len(read) == 2


def test_what_scores_depend_on_is_written_down(make_model: MakeModel, cache: Path) -> None:
    folder = make_model(labels=2)
    model = RewardModel(folder, label=1)
    text_scores(words(3), model)
    kept = json.loads((cache / model.digest() / "settings.json").read_text())
    assert kept == {
        "model": folder,
        "revision": load_classifier(folder).revision,
        "dtype": "float32",
        "output": 1,
        "score": "log-odds",
        "template": "plain",
        "padding": "right",
        "truncation": "left",
    }


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-1], lambda b: b[:40], lambda b: b[::-1], lambda b: b"", lambda b: b + b]
)
def test_a_damaged_file_loses_its_own_scores_only(
    make_model: MakeModel, read: Read, cache: Path, harm: Callable[[bytes], bytes]
) -> None:
    folder = make_model()
    one, other = [("a", " b"), ("a", " c")], [("a", " d"), ("a", " e"), ("b", " e")]
    scores = [*text_scores(one, folder)]
    (file,) = cache.glob("*/*.scores")
    scores += [*text_scores(other, folder)]
    content = file.read_bytes()
    file.write_bytes(harm(content))
    with pytest.warns(UserWarning, match=rf"{file.name} is damaged, and now called"):
        np.testing.assert_array_equal(text_scores(one + other, folder), scores)
    assert [len(ids) for ids in read] == [2, 3, 2]
    assert file.read_bytes() == content
    assert file.with_suffix(".invalid").read_bytes() == harm(content)


def test_what_was_scored_before_a_failure_is_kept(
    make_model: MakeModel, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, texts = make_model(), words(40)
    n = len({"".join(text) for text in texts})
    plain, calls = rewards._logits, 0

    def broken(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setitem(rewards._BATCH, "cpu", 100)
    monkeypatch.setattr(rewards, "_logits", broken)
    with pytest.raises(KeyboardInterrupt):
        text_scores(texts, folder)
    close(text_scores(texts, folder), slow(folder, ["".join(text) for text in texts])[:, 0])
    # Three batches of up to 100 tokens in all, of texts of 27 tokens or fewer.
    assert len(read[0]) == n
    assert n - 12 - 3 <= len(read[1]) <= n - 9


def test_who_comes_second_waits_and_finds_the_scores(make_model: MakeModel, read: Read) -> None:
    folder, texts = make_model(), words(200)
    with ThreadPoolExecutor(4) as executor:
        found = [*executor.map(lambda _: text_scores(texts, folder), range(4))]
    assert sum(map(len, read)) == len({"".join(text) for text in texts})
    for scores in found:
        np.testing.assert_array_equal(scores, found[0])


def test_a_store_forgets_nothing_that_was_written(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "scores")
    assert store.read() == {}
    store.write({})
    assert not store.folder.exists()
    rng = np.random.default_rng(0)
    all_of_them: dict[bytes, float] = {}
    for size in (1, 3, 70):
        part = {rng.bytes(32): float(value) for value in rng.normal(size=size)}
        store.write(part)
        store.write(part)  # twice is once
        all_of_them |= part
    (store.folder / ".x.scores.77.tmp").write_bytes(b"what a killed process leaves")
    assert store.read() == all_of_them
    assert len([*store.folder.glob("*.scores")]) == 3


def test_a_cache_that_cannot_be_written_to_is_told(
    make_model: MakeModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir()
    cache.write_text("a file")
    with pytest.raises(InvalidData, match="Let PAIRBENCH_CACHE name a folder that can be written"):
        text_scores(words(3), make_model())


def test_gpus_take_turns(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    taken: list[tuple[str | None, int]] = []

    def read_on(todo: Any, model: RewardModel, revision: str, store: ScoreStore) -> int:
        taken.append((model.device, len(todo)))
        store.write(dict.fromkeys(todo, 1.0))
        return 0

    monkeypatch.setattr(rewards, "_score_on_device", read_on)
    monkeypatch.setattr(rewards, "_MIN_SHARE", 20)
    monkeypatch.setattr(
        rewards, "ProcessPoolExecutor", lambda jobs, mp_context: ThreadPoolExecutor(1)
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    texts = [(a, f" {b} {c}") for a in WORDS for b in WORDS for c in WORDS]
    model = RewardModel(make_model())
    assert model.settings()["dtype"] == "bfloat16"
    for part, jobs, expected in (
        (texts[:19], None, [(None, 19)]),  # too few for two
        (texts[19:59], None, [("cuda:0", 20), ("cuda:1", 20)]),
        (texts[59:159], None, [("cuda:0", 34), ("cuda:1", 33), ("cuda:2", 33)]),
        (texts[159:163], 4, [("cuda:0", 1), ("cuda:1", 1), ("cuda:2", 1), ("cuda:0", 1)]),
        (texts[163:166], 4, [("cuda:0", 1), ("cuda:1", 1), ("cuda:2", 1)]),
    ):
        taken.clear()
        assert (text_scores(part, model, jobs=jobs) == 1).all()
        assert taken == expected
    taken.clear()
    text_scores(texts[166:], replace(model, device="cuda:2"))
    assert taken == [("cuda:2", 512 - 166)]


@pytest.mark.slow
def test_processes_share_the_texts(make_model: MakeModel) -> None:
    folder, texts = make_model(), words(30)
    with pytest.warns(UserWarning, match="1 of "):
        scores = text_scores([*texts, ("h " * 40, "b")], folder, jobs=2)
    close(scores[:-1], slow(folder, ["".join(text) for text in texts])[:, 0])


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_had(
    make_model: MakeModel, read: Read, cache: Path
) -> None:
    folder, texts = make_model(), words(40)
    script = f"""
import os
from pairbench.language import rewards
rewards._FLUSH_SECONDS, rewards._BATCH["cpu"], plain, calls = 0, 100, rewards._logits, 0
def killed(*given):
    global calls
    calls += 1
    if calls == 4:
        os.kill(os.getpid(), 9)
    return plain(*given)
rewards._logits = killed
rewards.text_scores({texts!r}, {folder!r})
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
    assert len([*cache.glob("*/*.scores")]) == 3
    close(text_scores(texts, folder), slow(folder, ["".join(text) for text in texts])[:, 0])
    assert len(read[0]) <= len({"".join(text) for text in texts}) - 9


# -- what goes wrong -----------------------------------------------------------------------------


class Small:
    """A model on a device where so many tokens fit, and no more."""

    def __init__(self, model: Any, most: int) -> None:
        self.model, self.most, self.sizes = model, most, list[tuple[int, int]]()
        self.config, self.device = model.config, model.device

    def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
        import torch

        self.sizes.append(tuple(input_ids.shape))
        if input_ids.numel() > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return self.model(input_ids=input_ids, attention_mask=attention_mask)


def test_out_of_memory_halves_the_batch_and_goes_on(make_model: MakeModel) -> None:
    model = load_classifier(make_model(), device="cpu", dtype="float32").model
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, 11, size=size).tolist() for size in rng.integers(1, 32, size=200)]
    expected = np.full(200, np.nan)
    for rows, logits in batched_logits(model, ids, 4096):
        expected[rows] = logits[:, 0]
    small, found = Small(model, 300), np.full(200, np.nan)
    for rows, logits in batched_logits(small, ids, 4096):
        assert np.isnan(found[rows]).all()
        found[rows] = logits[:, 0]
    close(found, expected)
    failed = [n * size for n, size in small.sizes if n * size > 300]
    assert len(failed) == 4  # 4096, 2048, 1024, 512: it does not try large ones again
    with pytest.raises(InvalidParameter, match="a text of 31 tokens does not fit into the memory"):
        [*batched_logits(Small(model, 30), ids, 4096)]


def test_a_score_that_is_no_number_is_told_with_its_place(
    make_model: MakeModel, make_words: MakeWords
) -> None:
    tokenizer = word_tokenizer(WORDS, context=32)
    model = tiny_model("distilbert", tokenizer)
    model.get_input_embeddings().weight.data[tokenizer.convert_tokens_to_ids("h")] = np.nan
    folder = save_model(Path(make_model()).parent / "nan", model, tokenizer)
    pool = make_words(words=3)
    assert pool.texts is not None
    rows = [[*row] for row in pool.texts]
    rows[2][1] = rows[3][0] = " h"
    pool = Pool(pool.features, prompts=pool.prompts, texts=rows, valid=pool.valid)
    n = pool.valid.sum()
    with pytest.raises(
        TrainingFailed, match=rf"gives completion 1 of prompt 2 no finite score; 2 of {n} have none"
    ):
        pool_scores(pool, folder)
    close(text_scores([("a", " b")], folder), slow(folder, ["a b"])[:, 0])  # the others are there


def test_texts_that_are_not_there_are_told(make_model: MakeModel) -> None:
    folder = make_model()
    for pool, message in (
        (Pool(np.zeros((1, 2, 1))), r"does not know those of its completions. Give Pool\(texts="),
        (Pool(np.zeros((1, 2, 1)), texts=[["a", ""]]), "completion 1 of prompt 0 is empty, and so"),
        (
            Pool(np.zeros((1, 2, 1)), texts=[["a", "\ud800"]]),
            "completion 1 .* is not Unicode: .*d800",
        ),
    ):
        with pytest.raises(InvalidPool, match=message):
            pool_scores(pool, folder)
    with pytest.raises(TrainingFailed, match="gives text 1 no finite score; 1 of 2 have none"):
        text_scores([("a", " b"), (" ", " ")], folder)
    assert text_scores([], folder).shape == (0,)


def test_a_head_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(64)
    folder = save_model(tmp_path / "decoder", tiny_model("llama", tokenizer), tokenizer)
    with pytest.raises(InvalidParameter, match=r"does not hold the reward model .*score"):
        text_scores([("a", " b")], RewardModel(folder, label=0))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"label": None}, "has 2 outputs: 0 'NEG', 1 'POS'. Say which .* label='POS'"),
        ({"label": "POSS"}, "no label 'POSS'. Did you mean 'POS'. There are: 0 'NEG', 1 'POS'"),
        ({"label": 2}, "has no label 2. There are: 0 'NEG', 1 'POS'"),
        ({"label": -1}, "has no label -1"),
        ({"label": 1, "device": "tpu"}, "device must be"),
        ({"label": 1, "dtype": "float31"}, "dtype must be one of .*, got 'float31'. Did you mean"),
        (
            {"label": 1, "template": "chatt"},
            "template must be one of plain, chat, got 'chatt'. Did",
        ),
        (
            {"label": 1, "name": "no/where"},
            "cannot load the reward model .* 'no/where'.*hf down",
        ),
    ],
)
def test_impossible_models_are_refused(
    make_model: MakeModel, model: dict[str, Any], message: str
) -> None:
    name = make_model(labels=2, id2label={0: "NEG", 1: "POS"})
    with pytest.raises(InvalidParameter, match=message):
        text_scores([("a", " b")], RewardModel(**({"name": name} | model)))


def test_a_model_of_the_hub_is_known_by_its_commit(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub, texts = tmp_path / "hub", words(5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    repo = hub / "models--some--model"
    (repo / "refs").mkdir(parents=True)
    for seed, commit in ((1, "a" * 40), (2, "b" * 40)):
        (repo / "refs" / ("main" if seed == 1 else "next")).write_text(commit)
        folder = Path(make_model(seed=seed))
        (repo / "snapshots").mkdir(exist_ok=True)
        folder.rename(repo / "snapshots" / commit)
    one = RewardModel("some/model")
    assert one.settings()["revision"] == "a" * 40
    other = replace(one, revision="next")
    assert other.settings() == one.settings() | {"revision": "b" * 40}
    scores = text_scores(texts, one), text_scores(texts, other)
    assert not np.allclose(*scores)
    np.testing.assert_array_equal(text_scores(texts, replace(one, revision="a" * 40)), scores[0])


def test_one_output_needs_no_label_and_may_have_one(make_model: MakeModel) -> None:
    model = RewardModel(make_model())
    assert model.digest() == replace(model, label=0).digest()
    with pytest.raises(InvalidParameter, match="has no label 1"):
        replace(model, label=1).digest()
    with pytest.raises(InvalidParameter, match="jobs must be 1 or more, got 0"):
        text_scores([("a", " b")], model, jobs=0)


def test_a_chat_needs_a_template(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(64)
    folder = save_model(tmp_path / "plain", tiny_model("distilbert", tokenizer), tokenizer)
    with pytest.raises(InvalidParameter, match=r"has no chat template\. Take template='plain'"):
        text_scores([("a", " b")], RewardModel(folder, template="chat"))


def test_a_tokenizer_without_pad_and_end_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(64)
    model = tiny_model("distilbert", tokenizer)
    tokenizer.pad_token = tokenizer.eos_token = None
    folder = save_model(tmp_path / "bare", model, tokenizer)
    with pytest.raises(InvalidParameter, match="has neither a pad nor an EOS token"):
        text_scores([("a", " b")], folder)
