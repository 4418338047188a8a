"""Registry that maps the names of one kind of object to the classes and functions behind them."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from pairbench.errors import InvalidParameter, PluginError, UnknownName, unknown_name_error
from pairbench.spec.building import build
from pairbench.spec.catalogue import CLOSING_KEYS
from pairbench.spec.loading import (
    Contract,
    Factory,
    entry_points,
    find_factory,
    from_file,
    is_file,
    load_entry_point,
)
from pairbench.spec.record import Spec, describe_factory
from pairbench.spec.text import parse_spec

T = TypeVar("T")


class Registry(Generic[T]):
    """Registry of one kind of object: built in, registered, installed, or defined in a file.

    Each kind of object that a spec can name has its registry beside the contract of the kind:
    designs, environments, annotator stages, estimators, trainers.
    """

    def __init__(
        self,
        contract: Contract,
        group: str,
        error: type[UnknownName],
        built_in: Callable[[], Mapping[str, str]],
        *,
        adapt: Callable[..., T] | None = None,
        hint: Callable[[str, Iterable[str]], str] | None = None,
        register_with: str | None = None,
    ) -> None:
        """Create the registry.

        Args:
            contract: the requirements on a registered class or function.
            group: the entry-point group of third-party packages, such as ``"pairbench.designs"``.
            error: the exception for an unknown name.
            built_in: function that returns the names that ship with pairbench, each with the place
                of its definition as ``"package.module"`` or ``"package.module:Class"``.
            adapt: function that builds an object from a function and its parameters, for kinds
                that allow functions.
            hint: function that writes the message for an unknown name, from that name and all
                registered names.
            register_with: name of the function that registers an object, for kinds that refuse
                files: parts of other objects go by name, so that a record alone can repeat a run.
        """
        self.contract = contract
        self.group = group
        self._error = error
        self._built_in = built_in
        self._adapt = adapt
        self._hint = hint
        self._register_with = register_with
        self._registered: dict[str, Factory] = {}

    def register(self, name: str, factory: Factory | None = None) -> Any:
        """Register a class or function under a name; without ``factory``, return a decorator."""
        if factory is None:
            return lambda decorated: self.register(name, decorated)
        self._registered[name] = factory
        return factory

    @property
    def registered(self) -> Mapping[str, Factory]:
        """Classes and functions that were registered in this process, by name."""
        return self._registered

    @property
    def built_in(self) -> Mapping[str, str]:
        """Names that ship with pairbench, and the modules that define them."""
        return self._built_in()

    def names(self) -> list[str]:
        """List all registered names: built in, registered in this process, and installed."""
        return sorted({*self._built_in(), *self._registered, *entry_points(self.group)})

    def factory(self, name: str) -> Factory:
        """Return the class or function that a name or a file stands for.

        Raises:
            UnknownName: If the name is not registered; the registry's own subclass of the error.
            PluginError: If a file or an entry point does not load or breaks the contract.
            InvalidParameter: If it is a file, and this registry refuses files.
        """
        if is_file(name):
            if self._register_with is None:
                return from_file(name, self.contract)
            noun = self.contract.noun
            raise InvalidParameter(
                f"{noun} {name!r} is a file, but goes by name, so that runs can be repeated. "
                f"Register it with {self._register_with}, or install a package with the entry "
                f"point {self.group!r}."
            )
        full = self.resolve(name)
        if full in self._registered:
            return self._registered[full]
        if (definition := self._built_in().get(full)) is not None:
            module, _, attribute = definition.partition(":")
            return find_factory(importlib.import_module(module), self.contract, attribute or None)
        if (entry_point := entry_points(self.group).get(full)) is not None:
            return load_entry_point(entry_point, self.contract)
        if self._hint is None:
            raise unknown_name_error(self._error, self.contract.noun, name, self.names())
        raise self._error(self._hint(name, self.names()))

    def resolve(self, name: str) -> str:
        """Return the full form of a name; subclasses fill in parts that may be omitted."""
        return name

    def build(self, name: str, params: Mapping[str, Any]) -> T:
        """Build the object that a name or a file stands for.

        Raises:
            UnknownName: As for :meth:`factory`.
            PluginError: As for :meth:`factory`.
            InvalidParameter: If a parameter is unknown or has an impossible value.
        """
        return self.construct(self.factory(name), f"{self.contract.noun} {name!r}", params)

    def construct(self, factory: Factory, what: str, params: Mapping[str, Any]) -> T:
        """Build an object from its class or function.

        Args:
            factory: the class or function.
            what: the object's description in messages, such as ``"design 'random'"``.
            params: values of the parameters, by name.

        Raises:
            PluginError: As for :meth:`factory`.
            InvalidParameter: If a parameter is unknown or has an impossible value.
        """
        obj: T = build(factory, what, dict(params), self._adapt)
        return obj

    def make(self, spec: str, fixed: Mapping[str, Any] | None = None) -> T:
        """Build the object of a spec.

        Args:
            spec: a name or file, with parameters as in ``"name(key=value)"``.
            fixed: parameters that the caller sets, and that the spec must not contain.

        Raises:
            UnknownName: As for :meth:`factory`.
            PluginError: As for :meth:`factory`.
            InvalidParameter: If a parameter is unknown, has an impossible value, or is fixed.
        """
        name, params = parse_spec(spec)
        fixed = fixed or {}
        if repeated := sorted(params.keys() & fixed):
            key = repeated[0]
            raise InvalidParameter(
                f"the {key} of {self.contract.noun} {name!r} is {fixed[key]!r} already, "
                f"and has no place in {spec!r}."
            )
        return self.build(name, {**params, **fixed})

    def rebuild(self, spec: Spec) -> T:
        """Build the object that a record describes."""
        return self.build(spec.location or spec.name, spec.params)

    def describe(self, name: str) -> dict[str, Any]:
        """Describe a name or file for listings: summary, parameters, source.

        The keys are those of :func:`pairbench.spec.record.describe_factory`. If a plugin does
        not load, its summary gives the error.
        """
        try:
            return self.details(name)
        except PluginError as error:  # one broken plugin must not hide the others
            empty: dict[str, Any] = {"text": "", "parameters": {}, "about": {}}
            empty |= dict.fromkeys((*CLOSING_KEYS, "file"))
            return {"name": name, "summary": f"does not load: {error}", **empty}

    def details(self, name: str) -> dict[str, Any]:
        """Describe a name or file as :meth:`describe` does, but raise if it does not load.

        Raises:
            UnknownName: As for :meth:`factory`.
            PluginError: As for :meth:`factory`.
        """
        factory = self.factory(name)
        return describe_factory(name, factory, factory.__doc__)
