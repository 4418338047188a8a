"""Strict parsing and validation of JSON from untrusted authors."""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from pairbench.errors import InvalidSubmission

Model = TypeVar("Model", bound=BaseModel)


def parse_strict_json(data: bytes, name: str) -> Any:
    """Parse JSON, refusing whatever parsers may read differently.

    The text must be UTF-8, without duplicate keys, NaN or infinities, numbers beyond float64, or
    integers of 2⁵³ or more.

    Args:
        data: the text.
        name: name of the file, for messages.

    Raises:
        InvalidSubmission: If the text is not such JSON, or is nested too deeply.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
            parse_int=_parse_exact,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError:
        raise InvalidSubmission(f"{name} is nested too deeply to be read.") from None
    except ValueError as error:  # includes JSONDecodeError and UnicodeDecodeError
        raise InvalidSubmission(f"{name} is no JSON that can be read: {error}.") from None


def validate_model(model: type[Model], content: Any, name: str) -> Model:
    """Validate JSON content as a model.

    Args:
        model: class of the model.
        content: parsed JSON.
        name: name of the file, for messages.

    Raises:
        InvalidSubmission: If the content does not fit the model; names the first three fields
            that are wrong.
    """
    try:
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise InvalidSubmission(f"{name}: {'; '.join(problems[:3])}{more}.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number, which figures must be")


def _parse_finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is beyond float64")
    return value


def _parse_exact(text: str) -> int:
    # JSON parsers disagree on integers beyond 2⁵³, and RFC 8785 has no canonical form for them.
    if len(text) > 20 or not -(2**53) < (value := int(text)) < 2**53:
        raise ValueError(f"{text[:20]}{'…' * (len(text) > 20)} is too large a number")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {duplicate[:40]!r} occurs twice in an object")
    return value
