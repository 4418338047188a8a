"""A language model as judge, asked at a server that misbehaves, and at a real one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

from pairbench import InvalidParameter, PairEnv, Pool, make_env
from pairbench.errors import EndpointFailed, InvalidData, InvalidPool
from pairbench.language import chat
from pairbench.language.chat import Reply, ReplyCache, Request
from pairbench.oracles import Oracle, VotingOracle
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.judge import Judge, JudgeUsage, count_usage, open_reply_cache, parse_verdict
from pairbench.oracles.stages import AnnotatorContext
from pairbench.pool.pairs import pairs_from_numbers
from pairbench.worlds.environment import draw_world
from tests.conftest import Cli
from tests.oracles.chat_server import (
    CLOSE,
    HANG,
    Body,
    Response,
    Sent,
    Server,
    honest,
    pool_of,
    says,
    texts,
)

Array = NDArray[np.float64]
NAN = float("nan")
SECRET = "sk-this-is-a-secret"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


def oracle(server: Server | str, pool: Pool | None = None, seed: int = 0, **params: Any) -> Oracle:
    """A judge in front of a pool's questions, who gives up soon."""
    url = server if isinstance(server, str) else server.url
    given = {"model": "m", "endpoint": url, "retries": 2, "timeout": 5.0} | params
    text = f"judge({', '.join(f'{k}={v!r}' for k, v in given.items())})"
    pool = pool_of() if pool is None else pool
    context = AnnotatorContext(pool, np.zeros(pool.valid.shape), None, seed)
    return make_annotator(text).oracle(context)


def asked(judge: Oracle, pairs: Any, repeat: int = 0) -> Array:
    pairs = np.array(pairs, dtype=np.int64).reshape(-1, 3)
    return judge.label(pairs, np.full(len(pairs), repeat))


def files() -> list[Path]:
    return sorted(open_reply_cache().folder.glob("*/*.json"))


# -- what it says ---------------------------------------------------------------------------------


def test_the_better_text_wins_whichever_comes_first(server: Server) -> None:
    pool = pool_of(3, 4)
    pairs = pairs_from_numbers(pool, np.arange(pool.n_pairs))
    judge = oracle(server, pool)
    np.testing.assert_array_equal(asked(judge, pairs), 0.0)
    np.testing.assert_array_equal(asked(judge, pairs[:, [0, 2, 1]]), 1.0)
    assert len(server.bodies) == 2 * len(pairs), "each pair in both orders, once"
    assert not server.repeated
    shown = {texts(body) for body in server.bodies}
    assert len(shown) == 2 * len(pairs)
    assert all((b, a) in shown for a, b in shown)
    body = server.bodies[0]
    assert body["temperature"] == 0
    assert body["max_tokens"] == 1024
    assert set(body) == {"model", "messages", "temperature", "max_tokens"}
    assert {h["authorization"] for h in server.headers} == {f"Bearer {SECRET}"}


# What it says of (b, c), of (c, b), and the answer to "is b better than c?".
VERDICTS: list[tuple[str, str, float, float]] = [
    ("A", "B", 1.0, 1.0),
    ("B", "A", 0.0, 0.0),
    ("A", "A", 0.5, NAN),
    ("B", "B", 0.5, NAN),
    ("C", "C", 0.5, NAN),
    ("A", "C", 0.5, NAN),
    ("C", "A", 0.5, NAN),
    ("B", "C", 0.5, NAN),
    ("A", "?", NAN, NAN),
    ("?", "C", NAN, NAN),
    ("?", "?", NAN, NAN),
]


@pytest.mark.parametrize(("one", "other", "answer", "without_ties"), VERDICTS)
def test_both_orders_count(
    server: Server, one: str, other: str, answer: float, without_ties: float
) -> None:
    server.script = lambda _, body: f"[[{one if texts(body)[0] < texts(body)[1] else other}]]"
    first = asked(oracle(server), [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(first, [answer, 1 - answer])
    second = asked(oracle(server, ties=False), [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(second, [without_ties, 1 - without_ties])


def test_equal_texts_are_asked_once_and_are_a_tie(server: Server) -> None:
    pool = Pool(np.ones((1, 2, 1)), prompts=["x"], texts=[["same", "same"]])
    server.script = lambda *_: "[[A]]"
    np.testing.assert_array_equal(asked(oracle(server, pool), [[0, 0, 1]]), 0.5)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[A]]", 1.0),
        ("First I thought [[B]]. But no: [[A]].", 1.0),
        ("[[A]] was quoted; my verdict is\n[[B]]", 0.0),
        ("[[C]]", 0.5),
        ("[A]", None),
        ("[[a]]", None),
        ("[[ A ]]", None),
        ("[[D]]", None),
        ("[[AB]]", None),
        ("A is better", None),
        ("", None),
    ],
)
def test_a_verdict_is_the_last_one_and_in_form(text: str, said: float | None) -> None:
    def reply(finish: str) -> Reply:
        return Reply(
            text=text, finish=finish, model="m", tokens_read=None, tokens_written=None, time=0
        )

    assert parse_verdict(reply("stop")) == said
    assert parse_verdict(reply("length")) is None
    assert parse_verdict(reply("refused")) is None


def test_without_a_verdict_it_is_asked_again_and_then_there_is_no_answer(server: Server) -> None:
    def script(number: int, body: Body) -> Response:
        hard = "prompt 1" in body["messages"][-1]["content"]
        return "I cannot say." if hard or body["temperature"] == 0 else honest(number, body)

    server.script = script
    answers = asked(oracle(server, attempts=3), [[0, 0, 1], [1, 0, 1]])
    np.testing.assert_array_equal(answers, [0.0, NAN])
    heat = [(body["temperature"], "seed" in body) for body in server.bodies]
    assert heat.count((0, False)) == 4
    assert heat.count((1, True)) == 2 + 4
    assert not server.repeated, "attempts differ in their seeds"
    assert count_usage() == {"m": JudgeUsage(10, 8, 1000, 70)}
    assert {reply.text for _, reply in open_reply_cache().all()} > {"I cannot say."}
    # It is on record, so that it is not asked a third time; more attempts go on where it was.
    asked(oracle(server, attempts=3), [[1, 0, 1]])
    assert len(server.bodies) == 10
    asked(oracle(server, attempts=4), [[1, 0, 1]])
    assert len(server.bodies) == 12


@pytest.mark.parametrize(
    "response",
    [
        says("[[A]] because", "length"),
        says(None),
        says("", None),
        says(None, "content_filter"),
        says(None, "tool_calls"),
    ],
)
def test_an_empty_or_cut_reply_has_no_verdict(server: Server, response: Body) -> None:
    server.script = lambda *_: response
    np.testing.assert_array_equal(asked(oracle(server, attempts=1), [[0, 0, 1]]), NAN)
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4096 tokens, but you asked for 9000.",
        '{"error": {"code": "context_length_exceeded"}}',
        '{"error": {"code": "content_filter"}}',
    ],
)
def test_a_question_that_it_cannot_take_has_no_answer(server: Server, said: str) -> None:
    def script(number: int, body: Body) -> Response:
        long = "prompt 0" in body["messages"][-1]["content"]
        return Sent(400, said) if long else honest(number, body)

    server.script = script
    np.testing.assert_array_equal(asked(oracle(server), [[0, 0, 1], [1, 0, 1]]), [NAN, 0.0])
    assert len(server.bodies) == 4, "it is not asked again"
    asked(oracle(server), [[0, 0, 1]])
    assert len(server.bodies) == 4
    assert count_usage()["m"].no_verdict == 2


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_turning_a_question_turns_its_answer(server: Server, data: st.DataObject) -> None:
    said = data.draw(st.lists(st.sampled_from(["A", "B", "C", "x"]), min_size=12, max_size=12))
    salt = data.draw(st.uuids(version=4))
    places: dict[tuple[str, str], str] = {}
    for x in range(2):
        for i, j in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)):
            places[f"{'bcd'[i]} to {x}", f"{'bcd'[j]} to {x}"] = said[len(places)]
    server.script = lambda _, body: f"[[{places[texts(body)]}]]"
    judge = oracle(server, model=str(salt), attempts=1, ties=data.draw(st.booleans()))
    pool = pool_of()
    pairs = pairs_from_numbers(pool, np.arange(pool.n_pairs))
    order = np.array(data.draw(st.permutations(range(len(pairs)))))
    answers = asked(judge, pairs[order])
    assert set(answers[~np.isnan(answers)]) <= {0.0, 0.5, 1.0}
    np.testing.assert_array_equal(asked(judge, pairs[order][:, [0, 2, 1]]), 1 - answers)
    np.testing.assert_array_equal(asked(judge, pairs), answers[np.argsort(order)])


# -- samples, repeats, seeds ----------------------------------------------------------------------


def test_at_temperature_0_a_pair_is_asked_once_for_all_repeats_and_seeds(server: Server) -> None:
    first = asked(oracle(server), [[0, 0, 1]])
    for seed, repeat in ((0, 1), (5, 0), (5, 3)):
        again = asked(oracle(server, seed=seed), [[0, 0, 1]], repeat)
        np.testing.assert_array_equal(again, first)
    assert len(server.bodies) == 2


def test_above_it_each_repeat_and_each_vote_is_another_sample(server: Server) -> None:
    rng = np.random.default_rng(0)
    server.script = lambda *_: f"[[{rng.choice(['A', 'B'])}]]"
    hot: dict[str, Any] = {"temperature": 0.8, "samples": 3}
    judge = oracle(server, **hot)
    assert isinstance(judge, VotingOracle)
    assert judge.size == 3
    pairs, repeat = np.array([[0, 0, 1], [1, 1, 2], [0, 0, 1]]), np.array([0, 0, 1])
    votes = judge.votes(pairs, repeat)
    assert votes.answers.shape == (3, 3)
    np.testing.assert_array_equal(votes.annotators, 0)
    assert len(server.bodies) == 2 * 9
    assert not server.repeated, "each with a seed of its own"
    np.testing.assert_array_equal(judge.label(pairs, repeat), votes.majority())
    np.testing.assert_array_equal(asked(oracle(server, **hot), [0, 0, 1], 1), votes.majority()[2:])
    soft = oracle(server, aggregate="soft", **hot)
    np.testing.assert_array_equal(soft.label(pairs, repeat), votes.mean())
    # One sample a time meets the same replies in turn.
    one = oracle(server, temperature=0.8)
    in_turn = [asked(one, [0, 0, 1], k)[0] for k in range(6)]
    np.testing.assert_array_equal(in_turn, [*votes.answers[0], *votes.answers[2]])
    assert len(server.bodies) == 2 * 9


def test_designs_see_its_votes(server: Server) -> None:
    env = PairEnv(_TextWorld(endpoint=server.url, samples=2, temperature=1.0), (4, 8))
    env.reset(seed=0)
    env.step(env.action(np.array([[0, 0, 1], [0, 2, 1], [1, 0, 2], [1, 0, 2]])))
    seen = env.view().votes
    assert seen is not None
    np.testing.assert_array_equal(seen.answers[:, 0], env.labels)
    np.testing.assert_array_equal(env.labels, [0, 1, 0, 0])
    assert len(server.bodies) == 4 * 2 * 2, "a view asks nothing"


# -- a server that misbehaves ---------------------------------------------------------------------

SOON = {"retry-after-ms": "10"}
PROXY = "<html>Bad gateway</html>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (HANG, 1),
        (CLOSE, 1),
        (Sent(429, "{}", {"Retry-After": "0.02"}), 2),
        (Sent(500, "oops", SOON), 2),
        (Sent(503, "", SOON), 2),
        (Sent(408, "{}", SOON), 1),
        (Sent(200, '{"choices": [{"mess', {}), 2),
        (Sent(200, PROXY, {"Content-Type": "text/html"}), 1),
        (Sent(200, '{"choices": []}'), 1),
        (Sent(200, '{"choices": [{"message": {"content": 3}}]}'), 1),
        (Sent(200, "null"), 1),
        (Sent(200, "[" * 200_000), 1),
        (Sent(200, ""), 1),
    ],
)
def test_faults_that_pass(
    server: Server, fault: Response, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "_PAUSE", 0.01)
    server.script = lambda number, body: fault if number < times else honest(number, body)
    judge = oracle(server, timeout=1.0 if fault is HANG else 30.0)
    np.testing.assert_array_equal(asked(judge, [[0, 0, 1], [1, 2, 0]]), [0.0, 1.0])
    assert len(server.bodies) == 4 * (times + 1)
    assert len(files()) == 4


def test_it_waits_as_long_as_it_is_told(server: Server) -> None:
    busy = Sent(429, "{}", {"Retry-After": "0.6"})
    server.script = lambda number, body: busy if number == 0 else honest(number, body)
    asked(oracle(server, at_once=1), [[0, 0, 1]])
    assert server.times[1] - server.times[0] >= 0.6


LASTING: list[tuple[Response, list[str], int]] = [
    (Sent(401, '{"error": {"message": "bad key"}}'), ["refuses the key", "OPENAI_API_KEY"], 1),
    (Sent(403, "{}"), ["refuses the key", "403"], 1),
    (
        Sent(404, '{"error": {"message": "The model `model-7` does not exist."}}'),
        ["no model 'model-7'", "Did you mean 'model-7b'?", "There are: model-7b."],
        1,
    ),
    (Sent(429, "quota", SOON), ["status 429: quota", "What was answered is kept"], 3),
    (Sent(500, "out of memory", SOON), ["status 500: out of memory"], 3),
    (Sent(400, '{"error": "no temperature"}'), ["status 400", "no temperature"], 1),
    (Sent(200, PROXY, {"Content-Type": "text/html"}), ["3 times", "Bad gateway", "/v1"], 3),
    (HANG, ["silent for 0.1 s, 3 times", "longer timeout"], 3),
    (Sent(429, "{}", {"Retry-After": "3600"}), ["status 429"], 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "words", "times"), LASTING)
def test_faults_that_last_are_told_and_what_was_answered_is_kept(
    server: Server,
    fault: Response,
    words: list[str],
    times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "_PAUSE", 0.01)
    patient: dict[str, Any] = {"model": "model-7", "at_once": 1, "timeout": 30.0}
    asked(oracle(server, **patient), [[0, 0, 1]])
    server.script = lambda *_: fault
    judge = oracle(server, **patient | {"timeout": 0.1 if fault is HANG else 30.0})
    with pytest.raises(EndpointFailed) as caught:
        asked(judge, [[0, 0, 1], [1, 0, 1], [1, 0, 2]])
    for word in [*words, server.url]:
        assert word in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(server.bodies) == 2 + times, "nothing is asked after a failure"
    server.script = honest
    np.testing.assert_array_equal(asked(oracle(server, **patient), [[0, 0, 1], [1, 0, 1]]), 0.0)
    assert len(server.bodies) == 2 + times + 2


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(EndpointFailed, match=r"cannot reach http.* Is the server running"):
        asked(oracle(url, retries=0), [[0, 0, 1]])


def test_no_message_shows_the_key_not_even_where_the_server_does(server: Server) -> None:
    server.script = lambda *_: Sent(401, f'{{"error": "wrong key {SECRET}"}}')
    with pytest.raises(EndpointFailed, match="wrong key …"):
        asked(oracle(server), [[0, 0, 1]])


@pytest.mark.parametrize("key", [f"{SECRET}é", f"a\n{SECRET}", f"a {SECRET}"])
def test_a_key_that_cannot_be_is_not_shown(
    server: Server, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InvalidParameter, match="OPENAI_API_KEY must hold an API key") as caught:
        asked(oracle(server), [[0, 0, 1]])
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    asked(oracle(server), [[0, 0, 1]])
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"


def test_a_secret_in_the_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{SECRET}@127.0.0.1:9/v1")
    with pytest.raises(InvalidParameter, match="without a user, a password"):
        asked(oracle("http://127.0.0.1:9/v1", endpoint=None), [[0, 0, 1]])


@pytest.mark.parametrize("usage", [3, [], {"prompt_tokens": "many"}, {"prompt_tokens": 10**30}])
def test_a_server_that_cannot_count_has_answered(server: Server, usage: Any) -> None:
    server.script = lambda *_: says("[[C]]", usage=usage)
    np.testing.assert_array_equal(asked(oracle(server), [[0, 0, 1]]), 0.5)
    assert count_usage() == {"m": JudgeUsage(2, 0, 0, 0)}


def test_a_reply_that_is_no_unicode(server: Server) -> None:
    server.script = lambda *_: says("\ud800 [[C]]")
    np.testing.assert_array_equal(asked(oracle(server, retries=0), [[0, 0, 1]]), 0.5)


def test_without_a_key_it_says_that_there_is_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.script = lambda *_: Sent(401, '{"error": "none given"}')
    with pytest.raises(EndpointFailed, match=r"refuses to answer without a key .*none given"):
        asked(oracle(server), [[0, 0, 1]])
    server.script = honest
    monkeypatch.setenv("MINE", "another")
    asked(oracle(server, key="MINE"), [[0, 0, 1]])
    assert server.headers[-1]["authorization"] == "Bearer another"


def test_a_limit_that_goes_by_its_new_name(server: Server) -> None:
    old = Sent(400, '{"error": "max_tokens is not supported: use max_completion_tokens"}')
    server.script = lambda number, body: old if "max_tokens" in body else honest(number, body)
    pairs = pairs_from_numbers(pool_of(), np.arange(6))
    np.testing.assert_array_equal(asked(oracle(server, at_once=3), pairs), 0.0)
    assert sum("max_completion_tokens" in body for body in server.bodies) == 12
    assert sum("max_tokens" in body for body in server.bodies) <= 3


def test_no_more_are_on_the_way_at_once_than_may_be(server: Server) -> None:
    def slowly(number: int, body: Body) -> Response:
        time.sleep(0.03)
        return honest(number, body)

    server.script = slowly
    asked(oracle(server, at_once=3), pairs_from_numbers(pool_of(), np.arange(6)))
    assert server.busiest == 3


# -- what is kept ---------------------------------------------------------------------------------


def test_replies_belong_to_the_texts_and_the_model_wherever_it_is(server: Server) -> None:
    asked(oracle(server), [[0, 0, 1]])
    pool = pool_of()
    assert pool.texts is not None
    moved = Pool(pool.features[:, ::-1], prompts=pool.prompts, texts=[t[::-1] for t in pool.texts])
    with Server() as other:
        np.testing.assert_array_equal(asked(oracle(other, moved), [[0, 2, 1]]), 0.0)
        assert not other.bodies, "the same texts in other places, at another address"
        for change in ({"model": "n"}, {"template": "verdict"}, {"max_tokens": 5}):
            before = len(other.bodies)
            asked(oracle(other, **change), [[0, 0, 1]])
            assert len(other.bodies) == before + 2, change
    asked(oracle("http://127.0.0.1:9/v1"), [[0, 0, 1]])  # nobody need be there


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b"[[B]]", b"[[A]]")),
        lambda path: path.write_bytes(b"\xff\xfe" * 100),
        lambda path: path.write_bytes(next(p for p in files() if p != path).read_bytes()),
    ],
)
def test_a_spoilt_file_is_set_aside_and_asked_again(
    server: Server, spoil: Callable[[Path], None]
) -> None:
    server.script = lambda *_: "[[B]]"
    asked(oracle(server), [[0, 0, 1]])
    before = [path.read_bytes() for path in files()]
    victim = files()[0]
    spoil(victim)
    spoilt = victim.read_bytes()
    np.testing.assert_array_equal(asked(oracle(server), [[0, 0, 1]]), 0.5)
    assert len(server.bodies) == 3
    assert victim.with_suffix(".json.invalid").read_bytes() == spoilt
    assert len(files()) == len(before)
    assert count_usage()["m"].replies == 2


def test_the_first_reply_counts(tmp_path: Path) -> None:
    request = Request("m", (("user", "x"),), 1.0, 5)
    kept = ReplyCache(tmp_path)
    barrier = threading.Barrier(8)

    def keep(number: int) -> Reply:
        reply = Reply(
            text=str(number), finish="stop", model="m", tokens_read=1, tokens_written=1, time=0
        )
        barrier.wait()
        return kept.add(request, reply)

    with ThreadPoolExecutor(8) as pool:
        replies = set(pool.map(keep, range(8)))
    assert replies == {kept.read(request)}


@pytest.mark.slow
def test_processes_that_ask_at_once_get_the_same_answers(server: Server, tmp_path: Path) -> None:
    rng, lock, met = np.random.default_rng(0), threading.Lock(), threading.Event()

    def fickle(number: int, body: Body) -> Response:
        if number:
            met.set()
        met.wait(30)  # until both have asked the same
        with lock:
            return f"[[{rng.choice(['A', 'B', 'x', 'x'])}]]"

    server.script = fickle
    command = _command(server.url, "at_once=2, temperature=1.0", prompts=8)
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, other = (process.communicate(timeout=60)[0] for process in both)
    assert server.repeated
    assert one == other
    assert "nan" in one


def test_a_run_that_is_killed_goes_on_without_asking_anything_again(
    server: Server, tmp_path: Path
) -> None:
    killed_at, reached = 7, threading.Event()
    answered: list[str] = []

    def script(number: int, body: Body) -> Response:
        if len(answered) == killed_at and not reached.is_set():
            reached.set()
            return HANG
        answered.append(json.dumps(body, sort_keys=True))
        return honest(number, body)

    server.script = script
    command = _command(server.url, "at_once=1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reached.wait(60)
    assert len(files()) == killed_at, "written as they come"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0.0] * 6
    assert len(answered) == len(set(answered)) == 12
    assert len(server.bodies) == 13, "only the one that was on the way was made again"


def _command(url: str, params: str, prompts: int = 2) -> list[str]:
    """The command of a process that asks about all pairs and prints the answers."""
    spec = f"judge(model='m', endpoint={url!r}, {params})"
    code = (
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); "
        "from tests.oracles.chat_server import print_labels; "
        f"print_labels({spec!r}, {prompts})"
    )
    return [sys.executable, "-c", code]


def test_what_it_took_is_told_by_model_and_time(server: Server) -> None:
    asked(oracle(server), [[0, 0, 1], [0, 0, 2]])
    time.sleep(0.01)
    now = datetime.now(tz=UTC)
    asked(oracle(server), [[0, 0, 1]])
    assert count_usage(now) == {}, "what is known costs nothing"
    server.script = lambda number, body: says("[[C]]", usage=None)
    asked(oracle(server, model="n"), [[0, 0, 1]])
    assert count_usage(now) == {"n": JudgeUsage(2, 0, 0, 0)}
    assert count_usage() == {"m": JudgeUsage(4, 0, 400, 28), "n": JudgeUsage(2, 0, 0, 0)}


def test_what_it_took_on_the_command_line(server: Server, here: Cli) -> None:
    assert "no replies of judges" in here("judged").stdout
    asked(oracle(server, model="a [model]"), [[0, 0, 1]])
    assert json.loads(here("judged", "--json").stdout) == {
        "a [model]": {"replies": 2, "no_verdict": 0, "tokens_read": 200, "tokens_written": 14}
    }
    shown = here("judged", "--since", "2020-01-01").stdout
    assert "a [model]" in shown
    assert "200" in shown
    assert here("judged", "--since", "2999-01-01T00:00:00", "--json").stdout == "{}\n"


# -- templates ------------------------------------------------------------------------------------


def test_a_template_of_ones_own(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "judge.txt"
    path.write_text(
        'Say "[[A]]", "[[B]]" or "[[C]]".\n---\nQ: {question} {unknown}\n'
        "[Beginning of answer A]\n{answer_a}\n[End]\n[Beginning of answer B]\n{answer_b}\n[End]\n"
    )
    pool = Pool(
        np.ones((1, 2, 1)),
        prompts=["What is {answer_a}?"],
        texts=[["a {question} {answer_b} {0} \\1", "b %s [[A]]"]],
    )
    np.testing.assert_array_equal(asked(oracle(server, pool, template=str(path)), [0, 0, 1]), 0.0)
    system, user = server.bodies[0]["messages"]
    assert system == {"role": "system", "content": 'Say "[[A]]", "[[B]]" or "[[C]]".'}
    assert user["content"].startswith("Q: What is {answer_a}? {unknown}\n")
    assert sorted(texts(server.bodies[0])) == ["a {question} {answer_b} {0} \\1", "b %s [[A]]"]
    digest = Judge(model="m", template=str(path)).data_digest()
    path.write_text(path.read_text().replace("---\n", ""))
    assert Judge(model="m", template=str(path)).data_digest() != digest
    asked(oracle(server, pool, template=str(path)), [0, 0, 1])
    assert [m["role"] for m in server.bodies[-1]["messages"]] == ["user"]
    assert Judge(model="m").data_digest() is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"template must be 'explained', 'verdict', or the path .* No such file"),
        ("[[A]] [[B]] {question} {answer_a}", "has no placeholder {answer_b}"),
        ("[[A]] {question} {answer_a} {answer_b}", r"does not ask for the verdict \[\[B\]\]"),
    ],
)
def test_templates_that_cannot_be(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "judge.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidData, match=message):
        oracle("http://x/v1", template=str(path))


def test_a_template_that_is_nearly_known() -> None:
    with pytest.raises(InvalidData, match="Did you mean 'verdict'"):
        oracle("http://x/v1", template="verdicts")


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("", "needs a value for its parameter 'model'"),
        ("model=' '", "model must be the model's name"),
        ("model='m', samples=0", "samples must be 1 or more, got 0"),
        ("model='m', samples=3", "samples=3 are all the same at a temperature of 0"),
        ("model='m', temperature=-1", "temperature must be a finite number, 0 or more"),
        ("model='m', temperature=1e999", "temperature must be a finite number"),
        ("model='m', max_tokens=0", "max_tokens must be 1 or more"),
        ("model='m', attempts=0", "attempts must be 1 or more"),
        ("model='m', at_once=0", "at_once must be 1 or more"),
        ("model='m', retries=-1", "retries must be 0 or more"),
        ("model='m', timeout=0", "timeout must be positive"),
        ("model='m', endpoint='localhost:8000'", "endpoint must be an address such as"),
        ("model='m', endpoint=''", "endpoint must be an address such as"),
        ("model='m', endpoint='http://[::1/v1'", "endpoint must be an address such as"),
        ("model='m', endpoint='http://x/v1?key=3'", "without a user, a password or a query"),
        ("model='m', aggregate='mean'", "aggregate must be 'majority' or 'soft'"),
    ],
)
def test_parameters_that_cannot_be(params: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make_annotator(f"judge({params})")


@pytest.mark.parametrize(
    "params",
    [f"key={SECRET!r}", f"endpoint='http://me:{SECRET}@x/v1'", f"endpoint='me:{SECRET}@x'"],
)
def test_a_secret_among_the_parameters_is_refused_and_not_shown(params: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        make_annotator(f"judge(model='m', {params})")
    assert SECRET not in str(caught.value)


def test_it_perceives_nothing() -> None:
    with pytest.raises(InvalidParameter, match="do not depend on what is perceived"):
        make_annotator("length-bias(weight=1) | judge(model='m')")


def test_an_environment_without_texts_is_refused() -> None:
    env = make_env("Isotropic-v1", annotator="judge(model='m', endpoint='http://x/v1')")
    with pytest.raises(InvalidPool, match="does not know those of its prompts"):
        draw_world(env, 0)


def test_the_environment_may_say_where(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = oracle(server, endpoint=None)
    with pytest.raises(InvalidParameter, match=r"nothing says where .* set OPENAI_BASE_URL"):
        asked(judge, [[0, 0, 1]])
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    asked(judge, [[0, 0, 1]])
    assert len(server.bodies) == 2


def test_no_client_library(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InvalidParameter, match=r"pip install 'pairbench\[judge\]'"):
        asked(oracle(server), [[0, 0, 1]])


def test_a_text_that_is_no_unicode(server: Server) -> None:
    pool = Pool(np.ones((1, 2, 1)), prompts=["x"], texts=[["a \ud800", "b"]])
    with pytest.raises(InvalidData, match="cannot be sent to the model"):
        asked(oracle(server, pool), [[0, 0, 1]])


def test_texts_of_all_scripts_arrive(server: Server) -> None:
    strange = ["é\u2028\x00\t", '"\\ 漢字 🙂 {}']
    pool = Pool(np.ones((1, 2, 1)), prompts=["x"], texts=[strange])
    asked(oracle(server, pool), [[0, 0, 1]])
    assert sorted(texts(server.bodies[0])) == sorted(strange)


def test_asking_nothing_asks_nothing(server: Server) -> None:
    assert asked(oracle(server), np.empty((0, 3))).shape == (0,)
    assert not server.bodies
    assert not files()


# -- environments ---------------------------------------------------------------------------------

ENVIRONMENT = '''
"""A world of texts."""

from dataclasses import dataclass

import numpy as np

from pairbench import BradleyTerry, Environment, LogLinearDPO, Pool, Truth, World


@dataclass(frozen=True)
class Texts(Environment):
    """Completions b, c, d, e of four prompts; the later in the alphabet, the better."""

    def world(self, seed: int) -> World:
        """The same for all seeds."""
        pool = Pool(
            np.random.default_rng(0).normal(size=(4, 4, 2)),
            prompts=[f"prompt {x}" for x in range(4)],
            texts=[[f"{letter} to {x}" for letter in "bcde"] for x in range(4)],
        )
        rewards = np.zeros(pool.valid.shape)
        oracle = BradleyTerry(rewards, seed)
        truth = Truth(rewards, rewards)
        return World(pool, Pool(pool.features), truth, oracle, LogLinearDPO(), 1.0)
'''


def _TextWorld(**params: Any) -> Any:  # noqa: N802 - as a class
    from dataclasses import dataclass

    from pairbench import BradleyTerry, Environment, LogLinearDPO, Truth, World

    @dataclass(frozen=True)
    class Texts(Environment):
        def world(self, seed: int) -> World:
            pool = pool_of()
            rewards = np.zeros(pool.valid.shape)
            bt = BradleyTerry(rewards, seed)
            return World(
                pool, Pool(pool.features), Truth(rewards, rewards), bt, LogLinearDPO(), 1.0
            )

    text = ", ".join(f"{k}={v!r}" for k, v in ({"model": "m"} | params).items())
    return Texts(annotator=f"judge({text})")


@pytest.mark.slow
def test_a_run_by_a_judge_that_fails_at_first(server: Server, tmp_path: Path, here: Cli) -> None:
    (tmp_path / "texts.py").write_text(ENVIRONMENT)
    annotator = f"judge(endpoint={server.url!r}, model='m', at_once=1, retries=0) | mistake(rate=0)"
    common = ["--env", "texts.py", "--design", "uniform", "--budgets", "3,6", "--seeds", "0,1"]
    arguments = ["run", *common, "--annotator", annotator, "--jobs", "1", "--out", "run"]

    def script(number: int, body: Body) -> Response:
        # The server shows what no record may.
        wrong = Sent(401, f'{{"error": {{"message": "wrong key {SECRET}"}}}}')
        return wrong if len(server.bodies) > 2 else honest(number, body)

    server.script = script
    failed = here(*arguments)
    assert failed.returncode == 1
    shown = failed.stdout + failed.stderr
    assert "EndpointFailed" in shown, shown
    assert "wrong key …" in shown
    assert SECRET not in shown
    asked_first = server.bodies[:2]
    server.script = honest
    done = here(*arguments, "--retry-failed")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [json.loads(path.read_text()) for path in (tmp_path / "run" / "cells").glob("*.json")]
    assert len(cells) == 2
    for cell in cells:
        assert cell["record"]["status"] == "ok", cell
        assert set(cell["record"]["results"]["rounds"][-1]["labels"]) <= {0.0, 1.0}
    assert all(server.bodies.count(body) == 1 for body in asked_first)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


# -- a real server --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_server_with_a_model_that_knows_nothing(tmp_path: Path) -> None:
    from pairbench.language.tiny import byte_tokenizer, save_model, tiny_model

    tokenizer = byte_tokenizer(context=4096)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}<assistant> "
    )
    model = save_model(tmp_path / "model", tiny_model("llama", tokenizer), tokenizer)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("transformers")
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (tmp_path / "log").open("wb") as log:
        serving = subprocess.Popen(
            [command, "serve", *options, model],
            stdout=log,
            stderr=log,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            _wait_for(port, serving, tmp_path / "log")
            url = f"http://127.0.0.1:{port}/v1"
            judge = oracle(url, model=model, max_tokens=16, at_once=2)
            np.testing.assert_array_equal(asked(judge, [[0, 0, 1], [1, 0, 2]]), NAN)
            took = count_usage()[model]
            assert (took.replies, took.no_verdict) == (8, 8)
            assert took.tokens_read > 8 * 500
            assert 8 <= took.tokens_written <= 8 * 16
            with pytest.raises(EndpointFailed, match=r"status 400: .*pinned to"):
                asked(oracle(url, model="another"), [[0, 0, 1]])
        finally:
            serving.terminate()
            serving.wait(30)


def _wait_for(port: int, serving: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert serving.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
