"""Loading of classes and functions from files, modules and the entry points of packages."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pairbench.errors import PluginError, did_you_mean
from pairbench.spec.syntax import syntax_digest

Factory = Callable[..., Any]


@dataclass(frozen=True)
class Contract:
    """Requirements on the class or function that a file or an entry point defines.

    Attributes:
        noun: the kind of object, for messages.
        base: the class whose subclasses are accepted.
        methods: further methods that an accepted class must have.
        public_name: the base class as third parties import it, such as ``"pairbench.Design"``.
        function: the name of a function that is accepted in place of a subclass, None if functions
            are not accepted.
        signature: how that function is called, for messages.
    """

    noun: str
    base: type
    public_name: str
    function: str | None = None
    signature: str = ""
    methods: tuple[str, ...] = ()

    def accepts(self, value: object) -> bool:
        """Tell whether a value is a class that meets the contract."""
        return (
            inspect.isclass(value)
            and issubclass(value, self.base)
            and all(hasattr(value, method) for method in self.methods)
        )


def iter_modules(package: str) -> Iterable[pkgutil.ModuleInfo]:
    """Iterate over the modules of a package without loading them."""
    return pkgutil.iter_modules(importlib.import_module(package).__path__)


def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """Return the entry points of a group by name, without loading them."""
    return {point.name: point for point in importlib.metadata.entry_points(group=group)}


def load_entry_point(entry_point: importlib.metadata.EntryPoint, contract: Contract) -> Factory:
    """Load the class or function of an entry point, which may also name a module defining one.

    Raises:
        PluginError: If it does not load or breaks the contract.
    """
    description = f"entry point {entry_point.name!r} ({entry_point.value})"
    try:
        value = entry_point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{description} does not load: {type(error).__name__}: {error}"
        ) from error
    if isinstance(value, ModuleType):
        return find_factory(value, contract, None)
    if not contract.accepts(value) and not (contract.function and inspect.isfunction(value)):
        raise PluginError(f"{description} is no {contract.noun} but {value!r}.")
    factory: Factory = value
    return factory


def is_file(name: str) -> bool:
    """Tell whether a name stands for a file: ``my_design.py`` or ``file.py:Class``."""
    return name.endswith(".py") or ".py:" in name


def _split(name: str) -> tuple[Path, str | None]:
    """Split ``file.py:Class`` into the path and the name of the class, None if there is none."""
    path, _, attribute = name.partition(".py:")
    return Path(path if path.endswith(".py") else path + ".py"), attribute or None


def location(name: str) -> str | None:
    """Return a file's name with an absolute path, or None for a name that is no file's.

    A process with another working directory finds the file by it.
    """
    if not is_file(name):
        return None
    path, attribute = _split(name)
    return f"{path.resolve()}{f':{attribute}' if attribute else ''}"


def plain_name(name: str) -> str:
    """Return a name without its folders, so that records agree across machines."""
    if not is_file(name):
        return name
    path, attribute = _split(name)
    return f"{path.name}:{attribute}" if attribute else path.name


def from_file(name: str, contract: Contract) -> Factory:
    """Load the class or function that a file defines; reload a file whose text has changed.

    Raises:
        PluginError: If the file cannot be read, does not load, defines nothing that meets the
            contract, or defines several such things and the name does not choose one.
    """
    path, attribute = _split(name)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"cannot read {path}: {error.strerror}.") from error
    module_name = f"pairbench_plugin_{hashlib.sha256(bytes(path.resolve()) + source).hexdigest()}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look up their module there
        try:
            # The loader's bytecode cache could hold an earlier text, saved in the same second.
            exec(compile(source, str(path.resolve()), "exec"), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            raise PluginError(f"{path} does not load: {type(error).__name__}: {error}") from error
    return find_factory(sys.modules[module_name], contract, attribute)


def find_factory(module: ModuleType, contract: Contract, attribute: str | None) -> Factory:
    """Return the class or function of a module: the one named, or the only candidate.

    Args:
        module: the module.
        contract: the requirements on the class or function.
        attribute: the name of the class or function; None to take the only candidate.

    Raises:
        PluginError: If there is no candidate, or several and no name.
    """
    file_name = Path(module.__file__ or module.__name__).name
    candidates: dict[str, Factory] = {
        name: value
        for name, value in vars(module).items()
        if contract.accepts(value)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    }
    for name in (contract.function, attribute) if contract.function else ():
        if name and inspect.isfunction(function := getattr(module, name, None)):
            candidates = {name: function, **candidates}
    if attribute is not None:
        if attribute in candidates:
            return candidates[attribute]
        raise PluginError(
            f"{file_name} defines no {contract.noun} {attribute!r}."
            f"{did_you_mean(attribute, candidates)} "
            f"It defines: {', '.join(candidates) or 'none'}."
        )
    if not candidates:
        function_or = f"a function {contract.signature} or " if contract.function else ""
        raise PluginError(
            f"{file_name} defines no {contract.noun}. "
            f"Define {function_or}a subclass of {contract.public_name}."
        )
    if len(candidates) > 1:
        raise PluginError(
            f"{file_name} defines {len(candidates)}: {', '.join(candidates)}. "
            f"Say which: {file_name}:{min(candidates)}"
        )
    return next(iter(candidates.values()))


def source_file(factory: Factory) -> str | None:
    """Return the file that defines a class or function; None in an interactive session."""
    try:
        return inspect.getsourcefile(factory)
    except TypeError:  # an interactively defined class
        return None


def third_party_digests(parts: Iterable[object]) -> dict[str, str]:
    """Return the :func:`source_digest` of each part that pairbench does not define.

    Args:
        parts: objects, such as estimators or annotator stages.

    Returns:
        The digest of each class's file by the qualified name of the class, in the order of the
        parts; classes without a file are left out.
    """
    classes = (type(part) for part in parts)
    third_party = (c for c in classes if not c.__module__.startswith("pairbench."))
    return {
        f"{c.__module__}.{c.__qualname__}": digest
        for c in third_party
        if (digest := source_digest(c))
    }


# Why: docs/decisions/004-design-identity-is-its-syntax-tree.md
def source_digest(factory: Factory) -> str | None:
    """Digest of the syntax tree of that file: see :func:`pairbench.spec.syntax.syntax_digest`.

    Raises:
        PluginError: If the file has been edited since it was loaded and is no Python any more.
    """
    path = source_file(factory)
    try:
        return None if path is None else syntax_digest(Path(path).read_bytes())
    except ValueError as error:
        raise PluginError(f"{path} has no digest: {error}.") from error
