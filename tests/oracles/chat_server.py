"""A scripted chat-completions server, and a pool of texts for its judges."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np

from pairbench import Pool
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.stages import AnnotatorContext
from pairbench.pool.pairs import pairs_from_numbers

Body = dict[str, Any]
HANG, CLOSE = "hang", "close"


@dataclass(frozen=True)
class Sent:
    """A raw HTTP response."""

    status: int
    content: str
    headers: dict[str, str] = field(default_factory=dict)


Response = str | Sent | Body
"""HANG, CLOSE, the text of a reply, a raw response, or a JSON object."""
Script = Callable[[int, Body], Response]
"""Maps the number of earlier identical requests, and the body, to the response."""


def pool_of(prompts: int = 2, completions: int = 3) -> Pool:
    """Completions b, c, d, … of prompts 0, 1, …; the later in the alphabet, the better."""
    letters = [chr(ord("b") + k) for k in range(completions)]
    return Pool(
        np.random.default_rng(0).normal(size=(prompts, completions, 2)),
        prompts=[f"prompt {x}" for x in range(prompts)],
        texts=[[f"{letter} to {x}" for letter in letters] for x in range(prompts)],
    )


def print_labels(annotator: str, prompts: int) -> None:
    """Print an annotator's labels of all pairs as JSON, "nan" where there is none."""
    pool = pool_of(prompts)
    oracle = make_annotator(annotator).oracle(
        AnnotatorContext(pool, np.zeros(pool.valid.shape), None, 0)
    )
    pairs = pairs_from_numbers(pool, np.arange(pool.n_pairs))
    labels = oracle.label(pairs, 0 * pairs[:, 0]).tolist()
    print(json.dumps(["nan" if x != x else x for x in labels]))


def says(text: str | None, finish: str | None = "stop", **more: Any) -> Body:
    """Build a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    return {"choices": [choice | {"finish_reason": finish}], "usage": usage, "model": "m"} | more


def texts(body: Body) -> tuple[str, str]:
    """Return answers A and B of a request, in the order of presentation."""
    user = body["messages"][-1]["content"]
    a, b = re.findall(r"\[Beginning of answer [AB]\]\n(.*?)\n\[End", user, re.DOTALL)
    return a, b


def honest(_: int, body: Body) -> Response:
    """Prefer the text that comes later in the alphabet; equal texts are a tie."""
    a, b = texts(body)
    return f"I have compared them. [[{'C' if a == b else 'A' if a > b else 'B'}]]"


class Server:
    """The server, a context manager.

    Attributes:
        script: responses to requests; may be changed at any time.
        bodies: of all requests, in order of arrival.
        headers: of all requests, in order of arrival.
        times: arrival times, seconds of the monotonic clock.
        busiest: the largest number of concurrent requests.
    """

    def __init__(self, script: Script = honest) -> None:
        self.script = script
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.busiest = self._busy = 0
        self._counts: Counter[str] = Counter()
        self._lock, self._end = threading.Lock(), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_side = self

            def do_POST(self) -> None:
                self.server_side._post(self)

            def do_GET(self) -> None:
                models = {"object": "list", "data": [{"id": "model-7b", "object": "model"}]}
                _send(self, Sent(200, json.dumps(models)))

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._end.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def repeated(self) -> dict[str, int]:
        """Number of times that each repeated request was made."""
        return {body: n for body, n in self._counts.items() if n > 1}

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        name = json.dumps(body, sort_keys=True)
        with self._lock:
            number = self._counts[name]
            self._counts[name] += 1
            self.bodies.append(body)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self.times.append(time.monotonic())
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            response = self.script(number, body)
            if response == HANG:
                self._end.wait()
            elif response == CLOSE:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                handler.close_connection = True
            elif isinstance(response, Sent):
                _send(handler, response)
            else:
                made = says(response) if isinstance(response, str) else response
                _send(handler, Sent(200, json.dumps(made)))
        except OSError:  # nobody waits for it any more
            handler.close_connection = True
        finally:
            with self._lock:
                self._busy -= 1


def _send(handler: BaseHTTPRequestHandler, sent: Sent) -> None:
    content = sent.content.encode()
    handler.send_response(sent.status)
    for name, value in ({"Content-Type": "application/json"} | sent.headers).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
