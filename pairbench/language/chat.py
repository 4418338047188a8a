"""Chat models behind an OpenAI-compatible endpoint: each request is made once, and its reply kept.

Replies lie in the cache folder, a file each, named by the digest of all that the reply depends on:
the model, the messages, how it samples, and which of several replies it is. The endpoint is not
part of that, so that a model may move to another machine: what answers otherwise needs another
name. A file is written whole as soon as the reply is there, and the first one counts. So a run that
was killed goes on where it was, and whoever makes the same request, in whatever process, gets the
same reply.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import rfc8785
from filelock import FileLock
from pydantic import BaseModel, Field

from pairbench.errors import EndpointFailed, InvalidData, InvalidParameter, did_you_mean
from pairbench.files import sealed, unsealed, write_whole

if TYPE_CHECKING:
    import openai

ENDPOINT = "OPENAI_BASE_URL"
"""Environment variable that names the endpoint where none is given."""
CUT, REFUSED = "length", "refused"
"""Why a reply ended, where it is not whole: by the limit of tokens, or before it began."""

_AGAIN = 1.0  # temperature of further attempts: at 0, the same reply would come again
_CONNECT = 10.0  # seconds to wait for a connection
_PAUSE = 0.5  # seconds before the first repetition after a reply that cannot be read
_LONGEST_PAUSE = 8.0
# What servers say of one request that they cannot take, while they take others.
_ONE_REQUEST = ("context length", "context_length", "too long", "content_filter", "content_policy")
_NEW_LIMIT = "max_completion_tokens"
_SHOWN = 200  # characters of what a server says


@dataclass(frozen=True)
class Request:
    """All that a reply depends on.

    Attributes:
        model: its name at the endpoint.
        messages: roles and texts.
        temperature: of sampling; at 0 the likeliest token is taken.
        max_tokens: of the reply.
        sample: which of several replies it is.
        attempt: how many replies to it could not be used.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    temperature: float
    max_tokens: int
    sample: int = 0
    attempt: int = 0

    @property
    def key(self) -> str:
        """The digest that its reply is kept under.

        Raises:
            InvalidData: If a text is not Unicode.
        """
        try:
            return hashlib.sha256(rfc8785.dumps(self.record())).hexdigest()
        except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
            raise InvalidData(
                f"a text cannot be sent to the model: {error}. Expected Unicode without lone "
                "surrogates; mend the pool's texts."
            ) from error

    def record(self) -> dict[str, Any]:
        """Itself as JSON."""
        return asdict(self) | {"messages": [list(message) for message in self.messages]}

    def after(self, attempts: int) -> "Request":
        """The request to make once so many replies could not be used."""
        if not attempts:
            return self
        return replace(self, attempt=attempts, temperature=max(self.temperature, _AGAIN))


class Reply(BaseModel, frozen=True):
    """What a model replied.

    Attributes:
        text: empty where there is none.
        finish: why it ended, as the server says; or that it refused this request.
        model: what the server calls the model.
        tokens_read: of the messages; None if the server does not say.
        tokens_written: of the reply, likewise.
        time: when it came, seconds since 1970.
    """

    text: str
    finish: str
    model: str
    tokens_read: int | None
    tokens_written: int | None
    time: float


@dataclass(frozen=True)
class KeptReplies:
    """Replies in a folder, safe for several processes.

    Attributes:
        folder: where the files are.
    """

    folder: Path

    def path(self, key: str) -> Path:
        """Where the reply of that key is, or would be."""
        return self.folder / key[:2] / f"{key}.json"

    def read(self, request: Request) -> Reply | None:
        """The reply to a request, None if there is none.

        A file that is cut off, was edited or holds another reply is renamed to ``….invalid``.
        """
        path = self.path(request.key)
        if (found := self._read(path)) is None:
            return None
        return found[1]

    def keep(self, request: Request, reply: Reply) -> Reply:
        """Keep a reply, unless another process has kept one before; the one that counts."""
        path = self.path(request.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if (before := self.read(request)) is not None:
                return before
            write_whole(path, sealed({"request": request.record(), "reply": reply.model_dump()}))
        return reply

    def all(self) -> Iterator[tuple[dict[str, Any], Reply]]:
        """All requests, as JSON, with their replies."""
        for path in sorted(self.folder.glob("*/*.json")):
            if (found := self._read(path)) is not None:
                yield found

    def _read(self, path: Path) -> tuple[dict[str, Any], Reply] | None:
        try:
            record = unsealed(path.read_bytes())
            request = record["request"]
            if hashlib.sha256(rfc8785.dumps(request)).hexdigest() != path.stem:
                raise ValueError
            return request, Reply.model_validate(record["reply"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):  # pydantic's errors are ValueErrors
            if path.exists():  # another process may have set it aside
                path.replace(path.with_suffix(".json.invalid"))
            return None


@dataclass(frozen=True)
class Endpoint:
    """Where models are served, and how to ask there.

    Attributes:
        url: up to and including ``/v1``; if None, what ``OPENAI_BASE_URL`` names.
        key: the environment variable that holds the API key; it need not be set.
        at_once: how many requests are on the way at once.
        timeout: seconds that the server may be silent.
        retries: how often a request is repeated after a time-out, a broken connection, a reply that
            cannot be read, and the statuses 408, 409, 429 and 5xx: after as many seconds as the
            server says, or half a second, twice as long each time, eight at most.
    """

    url: str | None
    key: str
    at_once: int
    timeout: float
    retries: int

    def replies(
        self,
        requests: Iterable[Request],
        kept: KeptReplies,
        usable: Callable[[Reply], bool],
        attempts: int,
    ) -> dict[Request, Reply]:
        """The reply to each request: the first that can be used, or the last.

        Args:
            requests: no matter how many and in what order.
            kept: where replies are looked up and kept.
            usable: whether a reply can be used.
            attempts: how many replies to wait for one that can.

        Raises:
            EndpointFailed: If the model cannot be asked; what it replied so far is kept.
            InvalidParameter: If there is something to ask, and the client library is not
                installed, or nothing says where.
        """
        found = {request: _settled(request, kept, usable, attempts) for request in requests}
        if left := [request for request, reply in found.items() if reply is None]:
            line, stop = _Line(self, self._client()), Event()

            def settle(request: Request) -> Reply | None:
                if stop.is_set():
                    return None
                try:
                    return _settled(request, kept, usable, attempts, line.reply)
                except BaseException:
                    stop.set()
                    raise

            pool = ThreadPoolExecutor(self.at_once)
            try:
                asked = {pool.submit(settle, request): request for request in left}
                for done in as_completed(asked):
                    found[asked[done]] = done.result()
            finally:
                # What is on the way is waited for and kept, since it is paid for.
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                line.client.close()
        return {request: reply for request, reply in found.items() if reply is not None}

    @property
    def secret(self) -> str:
        """The API key, empty where there is none."""
        return os.environ.get(self.key, "").strip()

    def _client(self) -> "openai.OpenAI":
        try:
            import openai
        except ImportError as error:
            raise InvalidParameter(
                "asking a model at an endpoint needs openai: pip install 'pairbench[judge]'."
            ) from error
        url = self.url or os.environ.get(ENDPOINT)
        if not url:
            raise InvalidParameter(
                "nothing says where the model is served. Give endpoint='http://localhost:8000/v1', "
                f"or set {ENDPOINT}."
            )
        check_url(url)
        if not re.fullmatch("[!-~]*", self.secret):
            raise InvalidParameter(
                f"the environment variable {self.key} must hold an API key, which has neither "
                "white space nor signs that are not ASCII. It is not shown here."
            )
        return openai.OpenAI(
            base_url=url,
            api_key=self.secret or "none",  # local servers ask for none
            timeout=openai.Timeout(self.timeout, connect=min(self.timeout, _CONNECT)),
            max_retries=self.retries,
        )


@dataclass
class _Line:
    """A client of an endpoint, and what was found out about what is there."""

    endpoint: Endpoint
    client: "openai.OpenAI"
    limit: str = "max_tokens"

    def reply(self, request: Request) -> Reply:
        """Make a request, again and again if need be.

        The client repeats what fails; what it takes for a success may be none.
        """
        import openai

        for turn in range(self.endpoint.retries + 1):
            try:
                raw = self._made(request)
            except openai.OpenAIError as error:
                if not _concerns_this_request(error):
                    # Not from it: tracebacks are put on record, and a server may show the key.
                    raise EndpointFailed(self._what_failed(request, error)) from None
                return Reply(
                    text=self._short(_told(error)),
                    finish=REFUSED,
                    model=request.model,
                    tokens_read=None,
                    tokens_written=None,
                    time=time.time(),
                )
            try:
                return _completion(raw.content).reply(request.model)
            except (ValueError, RecursionError):
                if turn < self.endpoint.retries:
                    time.sleep(min(_PAUSE * 2**turn, _LONGEST_PAUSE))
        raise EndpointFailed(
            f"{self.client.base_url} replied {self.endpoint.retries + 1} times with what is no "
            f"chat completion: {self._short(raw.text)!r}. Expected an OpenAI-compatible endpoint, "
            "whose address mostly ends in /v1."
        )

    def _made(self, request: Request) -> Any:
        """The raw response to a request."""
        import openai

        limit = self.limit  # other threads may change it
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "temperature": request.temperature,
            limit: request.max_tokens,
        }
        if request.temperature:
            arguments["seed"] = int(request.key[:7], 16)
        try:
            return self.client.chat.completions.with_raw_response.create(**arguments)
        except openai.BadRequestError as error:
            # Some models know the limit by its new name alone, and some servers by its old one.
            if limit == _NEW_LIMIT or _NEW_LIMIT not in _told(error):
                raise
            self.limit = _NEW_LIMIT
        return self._made(request)

    def _what_failed(self, request: Request, error: Exception) -> str:
        """What was expected, what came, what to do."""
        import openai

        endpoint, at, said = self.endpoint, self.client.base_url, self._short(_told(error))
        status = getattr(error, "status_code", None)
        if isinstance(error, openai.APITimeoutError):
            return (
                f"{at} was silent for {endpoint.timeout:g} s, {endpoint.retries + 1} times. Give a "
                "longer timeout, or ask less at_once; what was answered is kept."
            )
        if isinstance(error, openai.APIConnectionError):
            return (
                f"cannot reach {at}: {self._short(str(error.__cause__ or error))}. Is the server "
                "running, and is that its address? What was answered is kept."
            )
        if status in (401, 403):
            state = "the key" if endpoint.secret else "to answer without a key"
            return (
                f"{at} refuses {state} (status {status}: {said}). Set the environment variable "
                f"{endpoint.key} to a valid key; what was answered is kept."
            )
        if status == 404:
            there = _models(self.client)
            listed = f" There are: {', '.join(there)}." if there else ""
            return (
                f"{at} has no model {request.model!r}, or is no OpenAI-compatible endpoint, whose "
                f"address mostly ends in /v1 (status 404: {said})."
                f"{did_you_mean(request.model, there)}{listed}"
            )
        return (
            f"{at} does not answer for {request.model!r} (status {status}: {said}). What was "
            "answered is kept: run again when that is mended."
        )

    def _short(self, text: str) -> str:
        """A server's words on one line, without the key, should it be in there."""
        secret = self.endpoint.secret
        line = " ".join((text.replace(secret, "…") if secret else text).split())
        return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """What a server's reply must hold; the client library takes anything."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: Any = None

    def reply(self, model: str) -> Reply:
        choice = self.choices[0]
        return Reply(
            text=choice.message.content or "",
            finish=choice.finish_reason or "stop",
            model=self.model or model,
            tokens_read=self._count("prompt_tokens"),
            tokens_written=self._count("completion_tokens"),
            time=time.time(),
        )

    def _count(self, name: str) -> int | None:
        """A number of tokens; a server that counts badly has answered all the same."""
        count = self.usage.get(name) if isinstance(self.usage, dict) else None
        return count if isinstance(count, int) and 0 <= count < 2**53 else None


def check_url(url: str) -> None:
    """Refuse what is no address, or holds a secret, which records and messages would show.

    Raises:
        InvalidParameter: If it is so.
    """
    try:
        parts = urlsplit(url)
        there = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        there = None
    if not there:
        raise InvalidParameter(
            "endpoint must be an address such as 'http://localhost:8000/v1', got "
            f"{url.rpartition('@')[2]!r}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidParameter(
            "endpoint must be an address without a user, a password or a query, since it is put "
            "on record. Keep secrets in the environment variable that key names."
        )


def _completion(content: bytes) -> _Completion:
    """What a server sent.

    Raises:
        ValueError: If it is no chat completion.
        RecursionError: If it is so, too.
    """
    # A lone surrogate is legal in JSON, but is no Unicode.
    text = json.dumps(json.loads(content), ensure_ascii=False)
    return _Completion.model_validate_json(text.encode("utf-8", "replace"))


def _settled(
    request: Request,
    kept: KeptReplies,
    usable: Callable[[Reply], bool],
    attempts: int,
    ask: Callable[[Request], Reply] | None = None,
) -> Reply | None:
    """The reply to a request, see :meth:`Endpoint.replies`; None where it has yet to be asked."""
    reply = None
    for attempt in range(attempts):
        now = request.after(attempt)
        if (reply := kept.read(now)) is None:
            if ask is None:
                return None
            reply = kept.keep(now, ask(now))
        if usable(reply) or reply.finish == REFUSED:
            break
    return reply


def _told(error: Exception) -> str:
    """All that a server says of an error."""
    response = getattr(error, "response", None)
    return str(error) if response is None else response.text or str(error)


def _concerns_this_request(error: Exception) -> bool:
    """Whether a server cannot take this request, while it takes others."""
    said = _told(error).lower()
    status = getattr(error, "status_code", None)
    return status in (400, 413, 422) and any(words in said for words in _ONE_REQUEST)


def _models(client: "openai.OpenAI") -> list[str]:
    """The models that an endpoint has, as far as it says."""
    import openai

    try:
        return [model.id for model in client.with_options(max_retries=0).models.list()]
    except (openai.OpenAIError, ValueError, AttributeError, TypeError):
        return []
