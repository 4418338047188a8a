"""Designs and environments in files, modules and installed packages, found without their names."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from pairbench.design import Design
from pairbench.errors import PluginError, did_you_mean

Factory = Callable[..., Any]


def modules(package: str) -> Iterable[pkgutil.ModuleInfo]:
    """The modules of a package, unloaded."""
    return pkgutil.iter_modules(importlib.import_module(package).__path__)


def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of a group by name, unloaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}


def loaded(entry: importlib.metadata.EntryPoint, kind: type) -> Factory:
    """The design or environment that an entry point names: a class, a function, or a module.

    Raises:
        PluginError: If it does not load or is something else.
    """
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"entry point {entry.name!r} ({entry.value}) does not load: "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(found, ModuleType):
        return content(found, kind, None)
    if not (inspect.isclass(found) and issubclass(found, kind)) and not (
        kind is Design and inspect.isfunction(found)
    ):
        raise PluginError(
            f"entry point {entry.name!r} ({entry.value}) is no {kind.__name__.lower()} but "
            f"{found!r}."
        )
    factory: Factory = found
    return factory


def is_file(name: str) -> bool:
    """Whether a name is a file's: ``my_design.py`` or ``file.py:Class``."""
    return name.endswith(".py") or ".py:" in name


def _split(name: str) -> tuple[Path, str | None]:
    path, _, attribute = name.partition(".py:")
    return Path(path if path.endswith(".py") else path + ".py"), attribute or None


def location(name: str) -> str | None:
    """The absolute form of a file's name, so that a process elsewhere finds it."""
    if not is_file(name):
        return None
    path, attribute = _split(name)
    return f"{path.resolve()}{f':{attribute}' if attribute else ''}"


def plain_name(name: str) -> str:
    """The name without folders, so that a run means the same on another machine."""
    if not is_file(name):
        return name
    path, attribute = _split(name)
    return f"{path.name}:{attribute}" if attribute else path.name


def from_file(name: str, kind: type) -> Factory:
    """The design or environment in a file, which is loaded anew when its text has changed.

    Raises:
        PluginError: If it cannot be read, does not load, or does not say which of several.
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
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            raise PluginError(f"{path} does not load: {type(error).__name__}: {error}") from error
    return content(sys.modules[module_name], kind, attribute)


def content(module: ModuleType, kind: type, attribute: str | None) -> Factory:
    """The design or environment in a module: the one named, ``select``, or the only class."""
    where = Path(module.__file__ or module.__name__).name
    found: dict[str, Factory] = {
        name: thing
        for name, thing in vars(module).items()
        if inspect.isclass(thing)
        and issubclass(thing, kind)
        and not inspect.isabstract(thing)
        and thing.__module__ == module.__name__
    }
    if kind is Design and inspect.isfunction(function := getattr(module, "select", None)):
        found = {"select": function, **found}
    if attribute is not None:
        if kind is Design and inspect.isfunction(function := getattr(module, attribute, None)):
            found[attribute] = function
        if attribute in found:
            return found[attribute]
        raise PluginError(
            f"{where} defines no {kind.__name__.lower()} {attribute!r}."
            f"{did_you_mean(attribute, found)} It defines: {', '.join(found) or 'none'}."
        )
    if not found:
        how = "a function select(view, n) or " if kind is Design else ""
        raise PluginError(
            f"{where} defines no {kind.__name__.lower()}. "
            f"Define {how}a subclass of pairbench.{kind.__name__}."
        )
    if len(found) > 1:
        raise PluginError(
            f"{where} defines {len(found)}: {', '.join(found)}. Say which: {where}:{min(found)}"
        )
    return next(iter(found.values()))


def source_file(factory: Factory) -> str | None:
    """The file that defines a design or an environment; None for what is typed in."""
    try:
        return inspect.getsourcefile(factory)
    except TypeError:  # a class of an interactive session
        return None


def source_digest(factory: Factory) -> str | None:
    """SHA-256 of that file."""
    path = source_file(factory)
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
