"""Client of chat models behind an OpenAI-compatible endpoint, with an on-disk cache of replies.

The cache has a file for each reply, named by the digest of all that the reply depends on: the
model, the messages, the sampling parameters, and the number of the sample. The endpoint is not part
of it, so that a model may move to another machine; a model that answers differently needs another
name. A file is written atomically as soon as the reply arrives, and the first one counts. So a run
that was killed resumes where it stopped, and the same request gets the same reply in every process.
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

from pairbench._util.files import seal, unseal, write_atomic
from pairbench.errors import EndpointFailed, InvalidData, InvalidParameter, did_you_mean

if TYPE_CHECKING:
    import openai

URL_VARIABLE = "OPENAI_BASE_URL"
"""Environment variable with the URL of the endpoint, for requests that name none."""
TRUNCATED, REFUSED = "length", "refused"
"""Finish reasons of incomplete replies: token limit reached, and request refused."""

_RETRY_TEMPERATURE = 1.0  # least temperature after an unusable reply: at 0 it would come again
_CONNECT_TIMEOUT = 10.0  # seconds
_PAUSE = 0.5  # seconds before the first retry after a malformed reply; doubled each time
_MAX_PAUSE = 8.0  # seconds
# Substrings of the errors by which servers reject one request, but not the next.
_REJECTIONS = ("context length", "context_length", "too long", "content_filter", "content_policy")
_NEW_LIMIT_PARAMETER = "max_completion_tokens"
_MAX_QUOTE = 200  # characters of a server's text in a message


@dataclass(frozen=True)
class Request:
    """A chat request, with all that its reply depends on.

    Attributes:
        model: name of the model at the endpoint.
        messages: pairs of role and text.
        temperature: of sampling; at 0 decoding is greedy.
        max_tokens: limit on the reply's length.
        sample: number of the sample, where several replies to the same messages are drawn.
        attempt: number of unusable replies before this request.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    temperature: float
    max_tokens: int
    sample: int = 0
    attempt: int = 0

    @property
    def key(self) -> str:
        """SHA-256 under which the reply is cached.

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
        """Convert the request to JSON."""
        return asdict(self) | {"messages": [list(message) for message in self.messages]}

    def retry(self, attempts: int) -> "Request":
        """Return the request to send after that many unusable replies."""
        if not attempts:
            return self
        temperature = max(self.temperature, _RETRY_TEMPERATURE)
        return replace(self, attempt=attempts, temperature=temperature)


class Reply(BaseModel, frozen=True):
    """A model's reply to a request.

    Attributes:
        text: the text; empty where there is none.
        finish: the server's finish reason, or :data:`REFUSED`.
        model: the server's name of the model.
        tokens_read: number of prompt tokens; None if the server does not report it.
        tokens_written: number of completion tokens; None if the server does not report it.
        time: arrival, seconds since 1970.
    """

    text: str
    finish: str
    model: str
    tokens_read: int | None
    tokens_written: int | None
    time: float


@dataclass(frozen=True)
class ReplyCache:
    """On-disk cache of replies, safe for several processes.

    Attributes:
        folder: folder of the cache's files.
    """

    folder: Path

    def path(self, key: str) -> Path:
        """Return the path for the reply with that key, whether or not it is cached."""
        return self.folder / key[:2] / f"{key}.json"

    def read(self, request: Request) -> Reply | None:
        """Look up the reply to a request; return None if it is not cached.

        A file that is truncated, was edited or holds another reply is renamed to ``….invalid``.
        """
        cached = self._read(self.path(request.key))
        return None if cached is None else cached[1]

    def add(self, request: Request, reply: Reply) -> Reply:
        """Cache a reply and return it, or return the one that another process cached before."""
        path = self.path(request.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if (cached := self.read(request)) is not None:
                return cached
            write_atomic(path, seal({"request": request.record(), "reply": reply.model_dump()}))
        return reply

    def all(self) -> Iterator[tuple[dict[str, Any], Reply]]:
        """Iterate over all cached requests, as JSON, with their replies."""
        for path in sorted(self.folder.glob("*/*.json")):
            if (cached := self._read(path)) is not None:
                yield cached

    def _read(self, path: Path) -> tuple[dict[str, Any], Reply] | None:
        try:
            record = unseal(path.read_bytes())
            request = record["request"]
            if hashlib.sha256(rfc8785.dumps(request)).hexdigest() != path.stem:
                raise ValueError
            return request, Reply.model_validate(record["reply"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):  # pydantic's errors are ValueErrors
            if path.exists():  # another process may have renamed it
                path.replace(path.with_suffix(".json.invalid"))
            return None


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint, and how to send requests to it.

    Attributes:
        url: URL up to and including ``/v1``; if None, the value of ``OPENAI_BASE_URL``.
        key_variable: environment variable that holds the API key; it need not be set.
        max_concurrent: number of requests in flight at once.
        timeout: seconds that the server may be silent.
        retries: how often a request is repeated after a timeout, a broken connection, a malformed
            reply, and the statuses 408, 409, 429 and 5xx. The pause is the one that the server asks
            for, or else starts at half a second and doubles each time, up to eight seconds.
    """

    url: str | None
    key_variable: str
    max_concurrent: int
    timeout: float
    retries: int

    def fetch_replies(
        self,
        requests: Iterable[Request],
        cache: ReplyCache,
        usable: Callable[[Reply], bool],
        attempts: int,
    ) -> dict[Request, Reply]:
        """Fetch the first usable reply to each request, or the last one if none is usable.

        Args:
            requests: any number of requests, in any order.
            cache: cache in which replies are looked up and stored.
            usable: predicate of the replies that need no further attempt.
            attempts: number of replies after which to give up.

        Raises:
            EndpointFailed: If the endpoint fails; the replies that arrived before are cached.
            InvalidParameter: If a request has to be sent, and the client library is not installed,
                or no URL is set.
        """
        replies = {request: _resolve(request, cache, usable, attempts) for request in requests}
        if missing := [request for request, reply in replies.items() if reply is None]:
            replies |= self._send(missing, cache, usable, attempts)
        return {request: reply for request, reply in replies.items() if reply is not None}

    def _send(
        self,
        requests: list[Request],
        cache: ReplyCache,
        usable: Callable[[Reply], bool],
        attempts: int,
    ) -> dict[Request, Reply | None]:
        """Send requests concurrently; None stands for those that a failure cancelled."""
        connection, stop = _Connection(self, self._client()), Event()

        def resolve(request: Request) -> Reply | None:
            if stop.is_set():
                return None
            try:
                return _resolve(request, cache, usable, attempts, connection.send)
            except BaseException:
                stop.set()
                raise

        executor = ThreadPoolExecutor(self.max_concurrent)
        try:
            futures = {executor.submit(resolve, request): request for request in requests}
            return {futures[future]: future.result() for future in as_completed(futures)}
        finally:
            # Requests in flight are paid for: wait for their replies and cache them.
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            connection.client.close()

    @property
    def api_key(self) -> str:
        """The API key, empty where none is set."""
        return os.environ.get(self.key_variable, "").strip()

    def _client(self) -> "openai.OpenAI":
        """Create a client of the endpoint, after checks of the URL and the key."""
        try:
            import openai
        except ImportError as error:
            raise InvalidParameter(
                "asking a model at an endpoint needs openai: pip install 'pairbench[judge]'."
            ) from error
        url = self.url or os.environ.get(URL_VARIABLE)
        if not url:
            raise InvalidParameter(
                "nothing says where the model is served. Give endpoint='http://localhost:8000/v1', "
                f"or set {URL_VARIABLE}."
            )
        check_url(url)
        if not re.fullmatch("[!-~]*", self.api_key):
            raise InvalidParameter(
                f"the environment variable {self.key_variable} must hold an API key, which has "
                "neither white space nor characters beyond ASCII. Its value is not shown here."
            )
        return openai.OpenAI(
            base_url=url,
            api_key=self.api_key or "none",  # the client needs one, local servers ignore it
            timeout=openai.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_TIMEOUT)),
            max_retries=self.retries,
        )


@dataclass
class _Connection:
    """A client of an endpoint, with the endpoint's name of the parameter that limits replies."""

    endpoint: Endpoint
    client: "openai.OpenAI"
    limit_parameter: str = "max_tokens"

    def send(self, request: Request) -> Reply:
        """Send a request, with retries, and parse the reply.

        The client repeats requests that fail; responses that look successful but are malformed are
        repeated here.
        """
        import openai

        for attempt in range(self.endpoint.retries + 1):
            try:
                response = self._response(request)
            except openai.OpenAIError as error:
                if not _rejects_request(error):
                    # Not chained: tracebacks are put on record, and a server may show the key.
                    raise EndpointFailed(self._failure(request, error)) from None
                return Reply(
                    text=self._quote(_error_text(error)),
                    finish=REFUSED,
                    model=request.model,
                    tokens_read=None,
                    tokens_written=None,
                    time=time.time(),
                )
            try:
                return _parse_completion(response.content).reply(request.model)
            except (ValueError, RecursionError):
                if attempt < self.endpoint.retries:
                    time.sleep(min(_PAUSE * 2**attempt, _MAX_PAUSE))
        raise EndpointFailed(
            f"{self.client.base_url} replied {self.endpoint.retries + 1} times with what is no "
            f"chat completion: {self._quote(response.text)!r}. Expected an OpenAI-compatible "
            "endpoint, whose address mostly ends in /v1."
        )

    def _response(self, request: Request) -> Any:
        """Send a request once and return the raw response."""
        import openai

        limit_parameter = self.limit_parameter  # other threads may change it
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "temperature": request.temperature,
            limit_parameter: request.max_tokens,
        }
        if request.temperature:
            arguments["seed"] = int(request.key[:7], 16)
        try:
            return self.client.chat.completions.with_raw_response.create(**arguments)
        except openai.BadRequestError as error:
            # Some models accept the limit by its new name only, some servers by its old one only.
            if limit_parameter == _NEW_LIMIT_PARAMETER or _NEW_LIMIT_PARAMETER not in _error_text(
                error
            ):
                raise
            self.limit_parameter = _NEW_LIMIT_PARAMETER
        return self._response(request)

    def _failure(self, request: Request, error: Exception) -> str:
        """Write the message for an error of the endpoint, with a remedy."""
        import openai

        endpoint, url, quote = self.endpoint, self.client.base_url, self._quote(_error_text(error))
        status = getattr(error, "status_code", None)
        if isinstance(error, openai.APITimeoutError):
            return (
                f"{url} was silent for {endpoint.timeout:g} s, {endpoint.retries + 1} times. Give "
                "a longer timeout, or ask less at_once; what was answered is kept."
            )
        if isinstance(error, openai.APIConnectionError):
            return (
                f"cannot reach {url}: {self._quote(str(error.__cause__ or error))}. Is the server "
                "running, and is that its address? What was answered is kept."
            )
        if status in (401, 403):
            refusal = "the key" if endpoint.api_key else "to answer without a key"
            return (
                f"{url} refuses {refusal} (status {status}: {quote}). Set the environment variable "
                f"{endpoint.key_variable} to a valid key; what was answered is kept."
            )
        if status == 404:
            models = _list_models(self.client)
            listing = f" There are: {', '.join(models)}." if models else ""
            return (
                f"{url} has no model {request.model!r}, or is no OpenAI-compatible endpoint, whose "
                f"address mostly ends in /v1 (status 404: {quote})."
                f"{did_you_mean(request.model, models)}{listing}"
            )
        return (
            f"{url} does not answer for {request.model!r} (status {status}: {quote}). What was "
            "answered is kept: run again once the endpoint works."
        )

    def _quote(self, text: str) -> str:
        """Shorten a server's text to one line, with the API key masked."""
        key = self.endpoint.api_key
        line = " ".join((text.replace(key, "…") if key else text).split())
        return line if len(line) <= _MAX_QUOTE else line[: _MAX_QUOTE - 1] + "…"


class _Message(BaseModel):
    """The message of a completion."""

    content: str | None = None


class _CompletionChoice(BaseModel):
    """One of a completion's alternatives."""

    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """Fields that a server's response must have; the client library accepts anything."""

    choices: list[_CompletionChoice] = Field(min_length=1)
    model: str | None = None
    usage: Any = None

    def reply(self, model: str) -> Reply:
        """Convert the completion to a reply; ``model`` is the name if the server gives none."""
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
        """Return a token count, None where it is absent or invalid: the reply still counts."""
        count = self.usage.get(name) if isinstance(self.usage, dict) else None
        return count if isinstance(count, int) and 0 <= count < 2**53 else None


def check_url(url: str) -> None:
    """Raise unless a string is a URL without secrets, which records and messages would show.

    Raises:
        InvalidParameter: If it is no HTTP URL, or has a user, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        is_http = None
    if not is_http:
        raise InvalidParameter(
            "endpoint must be an address such as 'http://localhost:8000/v1', got "
            f"{url.rpartition('@')[2]!r}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidParameter(
            "endpoint must be an address without a user, a password or a query, since it is put "
            "on record. Keep secrets in the environment variable that key names."
        )


def _parse_completion(content: bytes) -> _Completion:
    """Parse the body of a server's response.

    Raises:
        ValueError: If it is no chat completion.
        RecursionError: If it is nested too deeply.
    """
    # JSON may hold lone surrogates, which Unicode does not allow.
    text = json.dumps(json.loads(content), ensure_ascii=False)
    return _Completion.model_validate_json(text.encode("utf-8", "replace"))


def _resolve(
    request: Request,
    cache: ReplyCache,
    usable: Callable[[Reply], bool],
    attempts: int,
    send: Callable[[Request], Reply] | None = None,
) -> Reply | None:
    """Find the reply to a request as :meth:`Endpoint.fetch_replies` does; send what is not cached.

    Without ``send``, return None where a request has yet to be sent.
    """
    reply = None
    for attempt in range(attempts):
        retry = request.retry(attempt)
        if (reply := cache.read(retry)) is None:
            if send is None:
                return None
            reply = cache.add(retry, send(retry))
        if usable(reply) or reply.finish == REFUSED:
            break
    return reply


def _error_text(error: Exception) -> str:
    """Return the body of the response behind an error, or the error's own message."""
    response = getattr(error, "response", None)
    return str(error) if response is None else response.text or str(error)


def _rejects_request(error: Exception) -> bool:
    """Tell whether a server rejects this request alone, such as for its length."""
    text = _error_text(error).lower()
    status = getattr(error, "status_code", None)
    return status in (400, 413, 422) and any(part in text for part in _REJECTIONS)


def _list_models(client: "openai.OpenAI") -> list[str]:
    """List the endpoint's models; empty where it does not tell them."""
    import openai

    try:
        return [model.id for model in client.with_options(max_retries=0).models.list()]
    except (openai.OpenAIError, ValueError, AttributeError, TypeError):
        return []
