"""Registry of designs that are built in, installed, registered, or in a file.

Each file of ``designs/`` is a built-in design, named after the file with hyphens for underscores.
It is loaded like a user's file, which defines a function ``select(view, n)`` or a subclass of
:class:`Design`.
"""

import inspect
from collections.abc import Iterable
from typing import Any

from pairbench.design.design import Design, FunctionDesign
from pairbench.errors import UnknownDesign, did_you_mean
from pairbench.spec.loading import (
    Contract,
    Factory,
    iter_modules,
    source_digest,
    third_party_digests,
)
from pairbench.spec.record import Spec, combine_digests, describe_factory, make_spec
from pairbench.spec.registry import Registry
from pairbench.spec.text import parse_spec


def _built_in() -> dict[str, str]:
    names = [module.name for module in iter_modules("pairbench.designs")]
    return {name.replace("_", "-"): f"pairbench.designs.{name}" for name in names}


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return (
        f"no design {name!r}.{did_you_mean(name, names)} `pairbench designs` lists all "
        f"{len(names)}; a file works too: --design my_design.py"
    )


class _Designs(Registry[Design]):
    def details(self, name: str) -> dict[str, Any]:
        factory = self.factory(name)
        module = inspect.getmodule(factory)
        details = describe_factory(name, factory, (module and module.__doc__) or factory.__doc__)
        return {**details, "control": getattr(factory, "control", False)}


DESIGNS = _Designs(
    Contract("design", Design, "pairbench.Design", "select", "select(view, n)"),
    "pairbench.designs",
    UnknownDesign,
    _built_in,
    adapt=FunctionDesign,
    hint=_hint,
)


def register_design(name: str, design: Factory | None = None) -> Any:
    """Register a design under a name; also as a decorator, ``@register_design("mine")``.

    Worker processes can load designs that are registered at the top level of a script or of an
    installed package. In a notebook, write the design to a file and name the file.

    Args:
        name: the name, such as ``"my-design"``.
        design: a subclass of :class:`Design`, or a function ``select(view, n)``.
    """
    return DESIGNS.register(name, design)


def make_design(design: str | Design | Factory, /, **params: Any) -> Design:
    """Build a design from a name, a file, or a spec.

    Args:
        design: a name (``"i-optimal"``), a file (``"my_design.py"``, ``"file.py:Class"``), either
            with parameters (``"i-optimal-two-stage(pilot=0.3)"``), a function ``select(view, n)``,
            or a design, which is returned as it is.
        **params: parameters, added to those of the spec.

    Raises:
        UnknownDesign: If no design has the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
        PluginError: If the file does not load or holds no design.
    """
    if isinstance(design, Design):
        return design
    if isinstance(design, str):
        name, spec_params = parse_spec(design)
        return DESIGNS.build(name, spec_params | params)
    return DESIGNS.construct(design, "design", params)


def design_names() -> list[str]:
    """List the names of all designs that need no file."""
    return DESIGNS.names()


# Why: docs/decisions/004-design-identity-is-its-syntax-tree.md
def design_spec(design: str) -> Spec:
    """Return the record of a design, with all parameters filled in.

    ``source`` is the digest of the syntax tree of the file that defines it, so that an edited
    design makes new cells, and one whose comments were edited does not. The digests of third-party
    parts, such as an estimator from another package, are joined to it.
    """
    name, params = parse_spec(design)
    design_object = DESIGNS.build(name, params)
    digest = source_digest(DESIGNS.factory(name))
    parts = third_party_parts(name, design_object).values()
    return make_spec(
        name, design_object, combine_digests((digest or "", *parts)) if parts else digest
    )


def third_party_parts(name: str, design: Design) -> dict[str, str]:
    """Find the parts of a design that neither pairbench nor the design's own file defines.

    Args:
        name: the design's name or file.
        design: the design that it names.

    Returns:
        The digest of each part's file by the qualified name of the part's class.
    """
    digests = third_party_digests(design.parts())
    if not digests:  # as with nearly all designs, whose file need not be parsed for this
        return {}
    design_file = source_digest(DESIGNS.factory(name))
    return {part: digest for part, digest in digests.items() if digest != design_file}


def describe_design(name: str) -> dict[str, Any]:
    """Describe a design for listings; for a plugin that fails to load, describe the error.

    ``text`` is the docstring without its closing lines, which are ``family``, ``source``,
    ``assumes`` and ``cost`` (None where they are missing); ``about`` describes the ``parameters``;
    ``file`` is the file that defines the design.
    """
    return {"control": False, **DESIGNS.describe(name)}


def design_details(name: str) -> dict[str, Any]:
    """Describe a design by name or file; see :func:`describe_design`.

    Raises:
        UnknownDesign: If no design has the name.
        PluginError: If the file does not load or holds no design.
    """
    return DESIGNS.details(name)


def design_from(spec: Spec) -> Design:
    """Build the design that a record describes."""
    return DESIGNS.rebuild(spec)
