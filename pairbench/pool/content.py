"""Contents of prompts and completions, which are texts or conversations, and their digests.

A completion's key is a digest of its prompt and its text, and a question's id is the keys of its
two completions in the order shown. So a label can be matched with its pair in any version of the
pool file.
"""

import hashlib
import re
from typing import Annotated, Any

from pydantic import PlainValidator

_KEY = r"[0-9a-f]{16}"
QUESTION_ID = re.compile(rf"({_KEY})-({_KEY})(?:-\d+)?")
"""Pattern of :func:`question_id`; its groups are the keys of the two completions."""

Message = dict[str, str]
"""A turn of a conversation: its ``role`` and its ``content``."""


def _parse_content(value: object) -> str | list[Message]:
    """Parse a text or a list of messages, the forms that TRL and chat templates take.

    Raises:
        ValueError: If it is neither, or a message holds something that is not text.
    """
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return [_message(turn) for turn in value]
    raise ValueError("expected a text or a list of messages {role, content}")


Content = Annotated[str | list[Message], PlainValidator(_parse_content)]
"""A text, or a conversation as a list of messages; the type of pydantic fields."""


def render_content(value: str | list[Message]) -> str:
    """Render a content as plain text; the messages of a longer conversation open with the role."""
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return value[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in value)


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


def _message(turn: dict[str, Any]) -> Message:
    """Parse one message; a content in several text parts is joined."""
    role, text = turn.get("role"), turn.get("content")
    if isinstance(text, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in text
    ):
        text = "".join(part["text"] for part in text)
    if not isinstance(role, str) or not isinstance(text, str):
        raise ValueError("expected messages with a role and a content that are text")
    return {"role": role, "content": _encodable(text)}


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
