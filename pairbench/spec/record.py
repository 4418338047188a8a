"""Records of built objects: name, parameters, source digest."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from pairbench.errors import InvalidParameter
from pairbench.spec.building import declared_defaults, object_parameters
from pairbench.spec.catalogue import CLOSING_KEYS, parameter_docs, parse_docstring
from pairbench.spec.loading import Factory, location, plain_name, source_file


@dataclass(frozen=True)
class Spec:
    """Record of a named object with all its parameters, as cells store it.

    Attributes:
        name: the id, or the file's name (and class) without its folders.
        params: every parameter, defaults included.
        source: digest of the source file's syntax tree, or of the data, where the name alone does
            not fix the behaviour.
        label: the name and the parameters that are not defaults, for display.
        location: the absolute path of a file (and its class), from which another process loads it;
            not part of the identity.
        control: whether the object sees the true reward (designs only); not part of the identity.
    """

    name: str
    params: dict[str, Any]
    source: str | None
    label: str
    location: str | None = field(default=None, compare=False)
    control: bool = field(default=False, compare=False)

    def identity(self) -> dict[str, Any]:
        """Return the fields that tell two objects apart, as JSON."""
        return {"name": self.name, "params": self.params, "source": self.source}


def describe_factory(name: str, factory: Factory, docstring: str | None) -> dict[str, Any]:
    """Describe a class or function for listings: the parts of its docstring, and its parameters.

    Args:
        name: its registered name.
        factory: the class or function.
        docstring: the docstring that describes it, which may be that of its module.
    """
    parts, about = parse_docstring(docstring), parameter_docs(factory)
    defaults = declared_defaults(factory)
    return {
        "name": name,
        "summary": parts.summary,
        "text": parts.text,
        "parameters": defaults,
        "about": {k: about[k] for k in defaults if k in about},
        **{key: parts.closing.get(key) for key in CLOSING_KEYS},
        "file": source_file(factory),
    }


def combine_digests(digests: tuple[str, ...]) -> str | None:
    """Combine digests into one, in their order; return None if there are none."""
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def make_spec(name: str, obj: Any, source: str | None) -> Spec:
    """Return the record of an object.

    Args:
        name: the name or file that it was built from.
        obj: the object.
        source: digest of what defines its behaviour, see :class:`Spec`.

    Raises:
        InvalidParameter: If JSON cannot hold the value of a parameter.
    """
    params, defaults = object_parameters(obj)
    changed = [f"{k}={v!r}" for k, v in params.items() if k not in defaults or defaults[k] != v]
    plain = plain_name(name)
    for key, value in params.items():
        try:
            rfc8785.dumps(value)
        except rfc8785.CanonicalizationError as error:
            raise InvalidParameter(
                f"{plain}: {key}={value!r} cannot be put on record: {error}. Parameters are "
                "numbers, strings, booleans, None, and lists of them."
            ) from error
    label = f"{plain}({', '.join(changed)})" if changed else plain
    return Spec(plain, params, source, label, location(name), getattr(obj, "control", False))
