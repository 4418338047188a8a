"""Old names of public objects, which keep working for one minor version."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def deprecated_names(
    module: str, renamed: Mapping[str, str], lookup: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that serves old names with a DeprecationWarning.

    Args:
        module: the module's name.
        renamed: new name of each old one.
        lookup: returns the object of a name that is not deprecated; by default the module's own.
    """

    def find(name: str) -> Any:
        try:
            return vars(sys.modules[module])[name]
        except KeyError:
            raise AttributeError(f"module {module!r} has no attribute {name!r}") from None

    def get(name: str) -> Any:
        if name in renamed:
            warn_renamed(f"{module}.{name}", f"{module}.{renamed[name]}", stacklevel=3)
        return (lookup or find)(renamed.get(name, name))

    return get


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that ``old`` is now called ``new``; by default at the line that calls the caller."""
    warnings.warn(f"{old} is deprecated; use {new}.", DeprecationWarning, stacklevel=stacklevel)
