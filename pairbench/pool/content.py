"""Contents of prompts and completions, which are texts or conversations, and their digests.

A completion's key is a digest of its prompt and its text, and a question's id is the keys of its
two completions in the order shown. So a label can be matched with its pair in any version of the
pool file.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeGuard

from pydantic import PlainValidator

_KEY = r"[0-9a-f]{16}"
QUESTION_ID = re.compile(rf"({_KEY})-({_KEY})(?:-\d+)?")
"""Pattern of :func:`question_id`; its groups are the keys of the two completions."""

Message = dict[str, Any]
"""A turn of a conversation: its ``role``, its ``content``, and what else it has (tool calls, …)."""


def parse_content(value: object) -> str | list[Message]:
    """Parse a text or a list of messages, the forms that TRL and chat templates take.

    Raises:
        ValueError: If it is neither, or a message holds something that no file can hold.
    """
    if isinstance(value, str):
        return _encodable(value)
    if is_conversation(value):
        return [_message(turn) for turn in value]
    raise ValueError("expected a text or a list of messages {role, content}")


Content = Annotated[str | list[Message], PlainValidator(parse_content)]
"""A text, or a conversation as a list of messages; the type of pydantic fields."""


def is_conversation(value: object) -> TypeGuard[list[Message]]:
    """Return whether a value is a list of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(t, dict) for t in value)


def render_content(value: str | list[Message]) -> str:
    """Render a content as plain text; the messages of a longer conversation open with the role.

    Two contents that differ in anything have different texts: reasoning, tool calls and other keys
    of a message are part of it.
    """
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return _render_message(value[0])
    return "\n\n".join(f"{turn['role']}: {_render_message(turn)}" for turn in value)


def render_prompt(value: str | list[Message], attachments: Mapping[str, Any]) -> str:
    """Render a prompt as plain text, with what it has beside its text, such as images."""
    others = [f"({name}) {_render_value(value)}" for name, value in attachments.items()]
    return "\n\n".join([render_content(value), *others])


def text_digest(*parts: str) -> str:
    """Compute the digest of texts, 16 hexadecimal digits.

    White space around a text and the kind of line ends do not count: tools and editors change them
    without anyone noticing.
    """
    clean = (part.replace("\r\n", "\n").strip() for part in parts)
    return hashlib.sha256("\0".join(clean).encode()).hexdigest()[:16]


# Why: docs/decisions/035-question-ids-are-text-digests.md
def question_id(first: str, second: str, asked_before: int = 0) -> str:
    """Format the id of a question: ``FIRST-SECOND``, ``FIRST-SECOND-2`` when asked again.

    Args:
        first: the key of the completion that is shown first.
        second: the key of the other completion.
        asked_before: how often the pair was asked before, in either order.
    """
    return f"{first}-{second}" + (f"-{asked_before + 1}" if asked_before else "")


def encodable_json(value: object) -> str:
    """Encode a value as JSON with sorted keys.

    Raises:
        ValueError: If it holds something that is no JSON, or half of a surrogate pair.
    """
    try:
        return _encodable(json.dumps(value, ensure_ascii=False, sort_keys=True))
    except TypeError as error:
        raise ValueError(f"expected values that JSON can hold: {error}") from error


def _message(turn: dict[str, Any]) -> Message:
    """Parse one message, with all its keys.

    Keys without a value are left out: Parquet gives every message the keys of all the others.
    """
    content = turn.get("content")
    message = {key: value for key, value in turn.items() if value is not None or key == "content"}
    extras = message.keys() - {"role", "content"}
    if not isinstance(turn.get("role"), str) or not (
        isinstance(content, str) or _is_parts(content) or (content is None and extras)
    ):
        raise ValueError("expected messages with a role and a content that are text")
    encodable_json(message)
    return message


def _is_parts(content: object) -> bool:
    """Return whether a content is a list of parts, such as texts and images."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(part, dict) for part in content)
    )


def _render_message(turn: Message) -> str:
    """Render a message: its other keys, and its content."""
    paragraphs = [
        f"({key}) {_render_value(value)}"
        for key, value in turn.items()
        if key not in ("role", "content")
    ]
    content = turn.get("content") or ""
    if isinstance(content, list):
        is_text = all(isinstance(part.get("text"), str) for part in content)
        content = ("" if is_text else "\n\n").join(map(_render_part, content))
    return "\n\n".join([*paragraphs, content] if content else paragraphs)


def _render_part(part: Mapping[str, Any]) -> str:
    """Render a part of a content: a text, or JSON of an image or anything else."""
    text = part.get("text")
    others = {key: value for key, value in part.items() if value is not None}
    return (
        text
        if isinstance(text, str) and others.keys() <= {"type", "text"}
        else encodable_json(others)
    )


def _render_value(value: object) -> str:
    return value if isinstance(value, str) else encodable_json(value)


def _encodable(text: str) -> str:
    """Return the text, which must have no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected text; character {error.start + 1} is half of a surrogate pair, which no "
            "file can hold"
        ) from error
    return text
