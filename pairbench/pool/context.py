"""Context of a prompt in a pool file: messages and texts before it, and what goes beside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pairbench.pool.content import Message, encodable_json, is_conversation, parse_content

# Why: docs/decisions/041-every-field-of-a-pool-file-is-used-or-named.md
SYSTEM = ("system", "system_prompt", "custom_system_prompt")
HISTORY = ("history",)
DOCUMENTS = ("context", "documents")
ATTACHMENTS = ("tools", "images")
"""Names of fields that are part of a prompt: prompts that differ in them are different prompts."""


def read_attachments(values: Mapping[str, Any], *, has_text: bool) -> dict[str, Any]:
    """Return what a record's prompt has beside its text, by the names of the fields.

    Args:
        values: the record's fields.
        has_text: whether the prompt has a text; all context is beside it where there is none.

    Raises:
        ValueError: If it holds something that is no JSON, such as the bytes of an image.
    """
    names = ATTACHMENTS if has_text else (*SYSTEM, *HISTORY, *DOCUMENTS, *ATTACHMENTS)
    attachments = {name: values[name] for name in names if is_filled(values.get(name))}
    encodable_json(attachments)
    return attachments


def add_context(
    values: Mapping[str, Any], prompt: str | list[Message] | None
) -> str | list[Message] | None:
    """Put a record's system message, earlier turns and documents before its prompt.

    Args:
        values: the record's fields.
        prompt: the prompt's own text or conversation, or None.

    Raises:
        ValueError: If the system message is no text, or the history neither messages nor pairs.
    """
    if prompt is None:
        return None
    documents = "\n\n".join(
        text for name in DOCUMENTS if is_filled(values.get(name)) for text in _texts(values[name])
    )
    if documents:
        is_text = isinstance(prompt, str)
        prompt = f"{documents}\n\n{prompt}" if is_text else _prepend("system", documents, prompt)
    history = values.get("history")
    if is_filled(history):
        prompt = [*_turns(history), *_chat(prompt)]
    system = next((name for name in SYSTEM if is_filled(values.get(name))), None)
    if system is not None:
        if not isinstance(values[system], str):
            raise ValueError(f"expected a text in {system!r}, got {values[system]!r}")
        prompt = _prepend("system", values[system], prompt)
    return prompt


def _prepend(role: str, text: str, prompt: str | list[Message]) -> list[Message]:
    """Put a message before a prompt, unless it begins with that message."""
    message, turns = {"role": role, "content": text}, _chat(prompt)
    return turns if turns[0] == message else [message, *turns]


def _chat(prompt: str | list[Message]) -> list[Message]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _turns(history: object) -> list[Message]:
    """Parse earlier turns, which are messages, or pairs of a question and its answer."""
    if is_conversation(history):
        return list(parse_content(history))  # type: ignore[arg-type]
    if isinstance(history, list) and all(
        isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(t, str) for t in turn)
        for turn in history
    ):
        return [
            {"role": role, "content": text}
            for turn in history
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
    raise ValueError(
        "expected 'history' to be messages {role, content} or pairs [question, answer], got "
        f"{history!r}"
    )


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a document or a list of documents."""
    for item in value if isinstance(value, list) else [value]:
        yield item if isinstance(item, str) else encodable_json(item)


def is_filled(value: object) -> bool:
    """Return whether a field holds anything."""
    return value is not None and value != "" and value != [] and value != {}
