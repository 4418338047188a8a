"""JSON from strangers: parsed whole and exactly, or refused with the place."""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from pairbench.errors import InvalidSubmission

Model = TypeVar("Model", bound=BaseModel)


def parsed_json(data: bytes, name: str) -> Any:
    """The value of a JSON text: UTF-8, no key twice, no NaN, no number beyond float64 or 2⁵³.

    Args:
        data: the text.
        name: of what it is, for messages.

    Raises:
        InvalidSubmission: If it is anything else, or nested too deeply to be read.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise InvalidSubmission(f"{name} is nested too deeply to be read.") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError, too
        raise InvalidSubmission(f"{name} is no JSON that can be read: {error}.") from None


def validated(model: type[Model], content: Any, name: str) -> Model:
    """The content as a model.

    Raises:
        InvalidSubmission: If it is not of that form; names the first three places.
    """
    try:
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise InvalidSubmission(f"{name}: {'; '.join(faults[:3])}{more}.") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number that a figure can have")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is beyond float64")
    return value


def _short(text: str) -> int:
    # Beyond 2⁵³ readers of JSON disagree on what a number is, and there is no canonical form.
    if len(text) > 20 or not -(2**53) < (value := int(text)) < 2**53:
        raise ValueError(f"{text[:20]}{'…' * (len(text) > 20)} is too large a number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice in an object")
    return found
