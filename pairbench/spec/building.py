"""Construction of objects from declared parameters."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pairbench.errors import (
    InvalidParameter,
    PairbenchError,
    PluginError,
    did_you_mean,
)
from pairbench.spec.loading import Factory

_REQUIRED = object()  # the default of a parameter without one


class FunctionAdapter:
    """Object that wraps a function and binds its keyword arguments as parameters."""

    def __init__(self, function: Callable[..., Any], **params: Any) -> None:
        """Bind the parameters.

        Args:
            function: the function.
            **params: its keyword arguments.
        """
        self.function = function
        self.params = params


def build(
    factory: Factory,
    what: str,
    params: dict[str, Any],
    adapt: Callable[..., Any] | None = None,
) -> Any:
    """Build an object from checked parameters: a dataclass's fields, or a function's keywords.

    Args:
        factory: a dataclass, or a function.
        what: the object's description in messages, such as ``"design 'random'"``.
        params: values of the parameters, by name.
        adapt: called with a function and its parameters to build the object; unused for classes.

    Raises:
        InvalidParameter: If a parameter is unknown, missing, or has an impossible value.
        PluginError: If a class hides its parameters behind an ``__init__``.
    """
    _check_parameters(factory, what, params)
    if inspect.isclass(factory):
        return _validate(factory, what, params)
    assert adapt is not None
    return adapt(factory, **params)


def _check_parameters(factory: Factory, what: str, params: dict[str, Any]) -> None:
    """Raise unless the parameters given are declared, and every required one is given.

    Raises:
        InvalidParameter: If a parameter is unknown or missing.
        PluginError: If a class hides its parameters behind an ``__init__``.
    """
    # An undecorated subclass of a dataclass passes for a dataclass by inheritance.
    if (
        inspect.isclass(factory)
        and "__init__" in vars(factory)
        and "__dataclass_fields__" not in vars(factory)
    ):
        raise PluginError(
            f"{what}: it has an __init__ of its own, which hides its parameters "
            "from the record. Make it a frozen dataclass: @dataclass(frozen=True), with the "
            "parameters as fields."
        )
    defaults = declared_parameters(factory)
    for name in params:
        if name not in defaults:
            listed = f"It has {', '.join(defaults)}." if defaults else "It has none."
            raise InvalidParameter(
                f"{what} has no parameter {name!r}.{did_you_mean(name, defaults)} {listed}"
            )
    for name, default in defaults.items():
        if default is _REQUIRED and name not in params:
            raise InvalidParameter(f"{what} needs a value for its parameter {name!r}.")


def _validate(cls: type, what: str, params: dict[str, Any]) -> Any:
    """Build a dataclass from parameters that pydantic checks against the annotations.

    Raises:
        InvalidParameter: If a value does not fit its annotation; or the class's own error.
    """
    try:
        return _adapter(cls).validate_python(params)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, PairbenchError):
            raise cause from error
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidParameter(
            f"{what}: {field}: {first['msg']}, got {first['input']!r}."
        ) from error


@lru_cache(maxsize=128)
def _adapter(cls: type) -> TypeAdapter[Any]:
    """Return pydantic's validator of a dataclass, cached because its construction is slow."""
    return TypeAdapter(cls)


def declared_defaults(factory: Factory) -> dict[str, Any]:
    """Return the declared parameters with their defaults; None for a required parameter."""
    return {k: None if v is _REQUIRED else v for k, v in declared_parameters(factory).items()}


def declared_parameters(factory: Factory) -> dict[str, Any]:
    """Return the declared parameters of a class or a function with their defaults.

    The default of a required parameter is the sentinel ``_REQUIRED``.
    """
    if dataclasses.is_dataclass(factory):
        fields = [f for f in dataclasses.fields(factory) if f.init]
        # The order of __init__: a class's own parameters before the keyword-only ones of its bases;
        # parameters added after publication come last.
        fields.sort(key=lambda f: ("added" in f.metadata, f.kw_only is True))
        return {f.name: _default(f) for f in fields}
    keywords = list(inspect.signature(factory).parameters.values())[2:]  # skip view and n
    return {p.name: _REQUIRED if p.default is p.empty else p.default for p in keywords}


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a dataclass field, or ``_REQUIRED``."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _REQUIRED if field.default is dataclasses.MISSING else field.default


def object_parameters(obj: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an object's parameters and the defaults of those that have one, both by name.

    A parameter that was added after publication is left out while it has its default, so that
    older records keep their identity.
    """
    is_function = isinstance(obj, FunctionAdapter)
    fields = declared_parameters(obj.function if is_function else type(obj))
    defaults = {k: _plain(v) for k, v in fields.items() if v is not _REQUIRED}
    values = obj.params if is_function else {k: getattr(obj, k) for k in fields}
    params = defaults | {k: _plain(v) for k, v in values.items()}
    for field in () if is_function else dataclasses.fields(obj):
        if "added" in field.metadata and params[field.name] == defaults[field.name]:
            del params[field.name]
    return params, defaults


def _plain(value: Any) -> Any:
    """Turn a tuple into a list, as JSON would."""
    return list(value) if isinstance(value, tuple) else value
