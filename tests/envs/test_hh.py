"""The dialogues' worlds, on models that are made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairbench import InvalidParameter, make_env, play
from pairbench.errors import MissingData
from pairbench.language.tiny import word_tokenizer
from pairbench.worlds.environment import draw_world
from pairbench.worlds.generated_pools import GeneratedPool
from pairbench.worlds.sampled_language import SampledWorld


def environment(more: str = "") -> GeneratedPool:
    made = make_env(f"pairbench/HH-v1(tiny=True{more and ', '}{more})")
    assert isinstance(made, GeneratedPool)
    return made


@pytest.mark.slow
def test_it_plays_from_generation_to_score() -> None:
    judge = "evaluator='length-bias(weight=0) | deterministic', compared=16"
    episode = play(environment(judge), "uniform", seed=1, budgets=[50, 200])
    start, end = episode.start.sampled, episode.rounds[-1].score.sampled
    assert start is not None
    assert end is not None
    assert start.kl.value == 0 < end.kl.low
    assert start.reward.high < end.reward.low
    assert start.win_rate.high < end.win_rate.low
    assert end.judged is not None
    # The evaluator goes by the same reward here, and compares fewer draws.
    assert end.judged.low < end.win_rate.value < end.judged.high
    assert episode.rounds[-1].score.pool_gap < episode.start.pool_gap


@pytest.mark.slow
def test_prompts_are_dialogues_up_to_where_the_assistant_speaks_last() -> None:
    drawn = draw_world(environment(), 1)
    assert isinstance(drawn, SampledWorld)
    assert drawn.pool.prompts is not None
    for prompt in drawn.pool.prompts:
        assert prompt.startswith("\n\nHuman: how do i ")
        assert prompt.endswith("\n\nAssistant:")
    assert drawn.pool.texts is not None
    assert all(text.startswith(" ") for row in drawn.pool.texts for text in row if text)


def test_an_annotator_takes_the_labelers_place_and_the_truth_stays() -> None:
    other = "annotator='length-bias(weight=2) | deterministic'"
    truth, labelled = draw_world(environment(), 1), draw_world(environment(other), 1)
    assert isinstance(labelled, SampledWorld)
    np.testing.assert_array_equal(truth.truth.rewards, labelled.truth.rewards)
    pairs = np.array([(x, 0, 1) for x in range(16)])
    zeros = np.zeros(16, dtype=np.int64)
    one, two = truth.oracle.label(pairs, zeros), labelled.oracle.label(pairs, zeros)
    assert (one != two).any()


def test_turns_are_told_apart_and_long_dialogues_left_out() -> None:
    words = ["Human:", "Assistant:", "a", "b"]
    tokenizer, rng = word_tokenizer(words), np.random.default_rng(0)
    env = environment("most_tokens=6")
    two = "\n\nHuman: a\n\nAssistant: b\n\nHuman: b\n\nAssistant: a a a"
    assert env.prompt(two, tokenizer, rng) is None  # of 7 tokens
    wider = environment("most_tokens=7")
    assert wider.prompt(two, tokenizer, rng) == two.removesuffix(" a a a")
    assert (
        env.prompt("\n\nHuman: a\n\nAssistant: b", tokenizer, rng) == "\n\nHuman: a\n\nAssistant:"
    )
    assert env.prompt("a b", tokenizer, rng) is None


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    small = environment().tiny_version()
    with pytest.raises(InvalidParameter, match="hf download Ray2333/gpt2-large-helpful"):
        draw_world(make_env("pairbench/HH-v1"), 0)
    with pytest.raises(MissingData, match=r"Expected a file of texts.* field prompt or chosen"):
        replace(small, data=str(tmp_path / "none.jsonl")).world(1)
    with pytest.raises(InvalidParameter, match="most_tokens must be 1 or more"):
        environment("most_tokens=0")
