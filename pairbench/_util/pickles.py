"""Pickles of plain data, read without running what else they may hold.

A pickle is a program: loading one calls whatever functions it names. So a foreign one is read with
names resolved by the short list below, as the documentation of Python's ``pickle`` advises
("Restricting Globals"), and anything else is refused before it is looked up.
"""

import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pairbench.errors import InvalidData


def read_plain_pickle(file: Path) -> Any:
    """Read a pickle that holds containers, texts and numbers only.

    Numbers of numpy's types come back as Python's.

    Raises:
        InvalidData: If the file cannot be read, is no pickle, or names anything beyond these.
    """
    try:
        with file.open("rb") as stream:
            return _PlainUnpickler(stream).load()
    except OSError as error:
        raise InvalidData(f"cannot read {file}: {error.strerror}.") from error
    except InvalidData as error:
        raise InvalidData(f"{file} {error}") from error
    except Exception as error:  # damaged bytes raise whatever they happen to come upon
        raise InvalidData(f"{file} is no readable pickle: {str(error).rstrip('.')}.") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise InvalidData(
                f"asks for {module}.{name} to be loaded, which is no plain container, text or "
                "number. Nothing of it was run. Take an unchanged copy of the source."
            ) from None


class _NumberType:
    """What a pickle says of a numpy number's type, in place of ``numpy.dtype``.

    Numpy's own can be told impossible things by a pickle, and then reads memory that it should not.
    """

    def __init__(self, code: object, *_flags: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


def _number(kind: _NumberType, content: bytes) -> bool | int | float:
    """Decode a number, in place of numpy's ``scalar``."""
    code = f"{kind.order}{kind.code}"
    if not re.fullmatch("[<>|=][biuf][1248]", code):
        raise InvalidData(f"holds a numpy value of type {code!r}, which is no number.")
    value: bool | int | float = np.frombuffer(content, code, count=1)[0].item()
    return value


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("numpy", "dtype"): _NumberType,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
}
