"""Texts and conversations: what prompts and completions are made of, and how they are known again.

A completion's key is a digest of its prompt and its text, and a question's id is the keys of its
two completions in the order shown. So a label finds its pair wherever that stands in a file.
"""

import hashlib
import re
from typing import Annotated, Any

from pydantic import PlainValidator

KEY = r"[0-9a-f]{16}"
QUESTION = re.compile(rf"({KEY})-({KEY})(?:-\d+)?")


Message = dict[str, str]
"""A turn of a conversation: its ``role`` and its ``content``."""


def content(value: object) -> str | list[Message]:
    """A text or a list of messages, as both TRL and chat templates have them.

    Raises:
        ValueError: If it is neither, or holds what is no text.
    """
    if isinstance(value, str):
        return _proper(value)
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return [_message(turn) for turn in value]
    raise ValueError("expected a text or a list of messages {role, content}")


Content = Annotated[str | list[Message], PlainValidator(content)]


def rendered(value: str | list[Message]) -> str:
    """A content as people read it: a single message is its text, of more each has its role."""
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return value[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in value)


def key(*parts: str) -> str:
    """A digest of texts, 16 hexadecimal digits.

    Line ends and white space around a text do not count: tools and editors change them, and people
    do not see them.
    """
    clean = (part.replace("\r\n", "\n").strip() for part in parts)
    return hashlib.sha256("\0".join(clean).encode()).hexdigest()[:16]


def question_id(first: str, second: str, asked_before: int = 0) -> str:
    """The id of a question: ``FIRST-SECOND``, and ``-2`` where it is asked for the second time.

    Args:
        first: the key of the completion that is shown first.
        second: the other's.
        asked_before: how often the pair was asked before, in either order.
    """
    return f"{first}-{second}" + (f"-{asked_before + 1}" if asked_before else "")


def _message(turn: dict[str, Any]) -> Message:
    role, said = turn.get("role"), turn.get("content")
    if isinstance(said, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in said
    ):
        said = "".join(part["text"] for part in said)
    if not isinstance(role, str) or not isinstance(said, str):
        raise ValueError("expected messages with a role and a content that are text")
    return {"role": role, "content": _proper(said)}


def _proper(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected text; character {error.start + 1} is half of a surrogate pair, which no "
            "file can hold"
        ) from error
    return text
