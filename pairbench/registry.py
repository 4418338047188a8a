"""Names to designs and environments: built in, installed, registered, or in a file.

A built-in design is a file of ``designs/``, named as the file is, with hyphens. It is loaded in the
same way as a user's file, and what is said of one holds for the other: the file defines a function
``select(view, n)`` or a subclass of :class:`Design`.
"""

import ast
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import rfc8785
from pydantic import TypeAdapter, ValidationError

from pairbench.budget import check_unit, make_prices
from pairbench.catalogue import KEYS, notes, parameter_notes
from pairbench.design import Design, FunctionDesign
from pairbench.errors import (
    InvalidParameter,
    PairbenchError,
    PluginError,
    UnknownDesign,
    UnknownEnvironment,
    UnknownName,
    did_you_mean,
    unknown,
)
from pairbench.oracles.annotators import make_annotator
from pairbench.plugins import (
    Factory,
    content,
    entry_points,
    from_file,
    is_file,
    loaded,
    location,
    modules,
    plain_name,
    source_digest,
    source_file,
)
from pairbench.world import Environment, data_digests

# A file, whose folders may have brackets in their names, or a name; then the parameters.
_SPEC = re.compile(r"(.+\.py(?::\w+)?|[^(]+)(\(.*)?", re.DOTALL)
E_ = TypeVar("E_", bound=type[Environment])
NAMESPACE = "pairbench/"

_ID = re.compile(r"(?:[\w:-]+/)?[\w:.-]+-v\d+")  # as Gymnasium has it
_REQUIRED = object()  # stands for the default of a parameter that has none
_designs: dict[str, Factory] = {}
_environments: dict[str, Factory] = {}


@dataclass(frozen=True)
class Spec:
    """A design or an environment by name, with all its parameters: what a cell remembers.

    Attributes:
        name: the id, or the file's path (and class) as it was given.
        params: every parameter, defaults included.
        source: SHA-256 of the source file, or of the data, where the name alone does not fix the
            behaviour; see :func:`design_spec` and :func:`environment_spec`.
        label: the name and the parameters that are not defaults, for people.
        location: where a file lies, to load it again in another process; no part of the identity.
        control: whether it is a design that is shown the truth; no part of the identity.
    """

    name: str
    params: dict[str, Any]
    source: str | None
    label: str
    location: str | None = field(default=None, compare=False)
    control: bool = field(default=False, compare=False)

    def identity(self) -> dict[str, Any]:
        """What makes two cells the same, as JSON."""
        return {"name": self.name, "params": self.params, "source": self.source}


def register_design(name: str, design: Factory | None = None) -> Any:
    """Make a design known under a name; also as a decorator, ``@register_design("mine")``.

    Worker processes know what is registered at the top level of a script or an installed package;
    in a notebook, put the design into a file and give the file.

    Args:
        name: the name, such as ``"my-design"``.
        design: a subclass of :class:`Design`, or a function ``select(view, n)``.
    """
    if design is None:
        return lambda d: register_design(name, d)
    _designs[name] = design
    return design


def register_env(name: str) -> Callable[[E_], E_]:
    """Make an :class:`Environment` known under an id; a class decorator.

    Args:
        name: an id such as ``"pairbench/LogLinear-v1"``. The version is a promise: an environment
            that behaves otherwise gets a new one.

    Raises:
        InvalidParameter: If the name is no such id.
    """
    if not _ID.fullmatch(name):
        raise InvalidParameter(
            f"an environment's id is a namespace, a name and a version, such as 'mine/World-v1'; "
            f"got {name!r}."
        )

    def register(environment: E_) -> E_:
        _environments[name] = environment
        if hasattr(sys.modules.get("gymnasium"), "register"):
            _tell_gymnasium(name)
        return environment

    return register


def make_design(design: str | Design | Factory, /, **params: Any) -> Design:
    """A design by name, file, or spec.

    Args:
        design: a name (``"i-optimal"``), a file (``"my_design.py"``, ``"file.py:Class"``), either
            with parameters (``"i-optimal-two-stage(pilot=0.3)"``), a function ``select(view, n)``,
            or a design, which is given back.
        **params: parameters, added to those of the spec.

    Raises:
        UnknownDesign: If nothing answers to the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
        PluginError: If the file does not load or holds no design.
    """
    if isinstance(design, Design):
        return design
    if isinstance(design, str):
        name, given = parsed(design)
        made: Design = built(_design_factory(name), f"design {name!r}", given | params)
    else:
        made = built(design, "design", params)
    return made


def make_env(environment: str | Environment, **params: Any) -> Environment:
    """An environment by id, file, or spec; ``gymnasium.make`` gives the same one to an RL agent.

    Args:
        environment: an id (``"pairbench/LogLinear-v1"``; the part before the slash may be left
            out), a file (``"file.py:Class"``), either with parameters
            (``"pairbench/LogLinear-v1(dim=32)"``), or an environment, which is given back.
        **params: parameters, added to those of the spec.

    Raises:
        UnknownEnvironment: If nothing answers to the id.
        InvalidParameter: If a parameter is unknown or has an impossible value.
        PluginError: If the file does not load or holds no environment.
    """
    if isinstance(environment, Environment):
        return _checked(environment)
    name, given = parsed(environment)
    return _environment(name, given | params)


def design_names() -> list[str]:
    """The names of all designs that need no file to be given."""
    built_in = [m.name.replace("_", "-") for m in modules("pairbench.designs")]
    return sorted({*built_in, *_designs, *entry_points("pairbench.designs")})


def environment_ids() -> list[str]:
    """The ids of all environments that need no file to be given."""
    _load_environments()
    return sorted({*_environments, *entry_points("pairbench.envs")})


def design_spec(design: str) -> Spec:
    """The spec of a design, with all parameters filled in.

    ``source`` is the digest of the file that defines it, so that an edited design makes new cells.
    """
    name, given = parsed(design)
    factory = _design_factory(name)
    made = built(factory, f"design {name!r}", given)
    return _spec(name, made, source_digest(factory))


def environment_spec(environment: str, **params: Any) -> Spec:
    """The spec of an environment, with all parameters filled in.

    A versioned id promises its behaviour; ``source`` is the digest of the data files that it and
    its annotator read, and of the file that defines it where it was given by path.

    Args:
        environment: an id or a file, with parameters.
        **params: parameters, in place of those that it gives.
    """
    name, given = parsed(environment)
    made = _environment(name, given | params)
    digests = data_digests(made)
    if is_file(name):
        own = source_digest(_environment_factory(name)) or ""
        return _spec(name, made, _joined((own, *digests)))
    return _spec(_full_id(name), made, digests[0] if len(digests) == 1 else _joined(digests))


def describe_design(name: str) -> dict[str, Any]:
    """What a design says of itself, for listings; of a plugin that does not load, that.

    Its ``text`` is its docstring without the closing lines, which are ``family``, ``source``,
    ``assumes`` and ``cost`` (None where they are missing); ``about`` is what is said of its
    ``parameters``; ``file`` is where it is defined.
    """
    try:
        return design_details(name)
    except PluginError as error:  # one broken plugin must not hide the others
        nothing = dict.fromkeys((*KEYS, "file"))
        told = {"summary": f"does not load: {error}", "text": "", "parameters": {}, "about": {}}
        return {"name": name, **told, "control": False, **nothing}


def design_details(name: str) -> dict[str, Any]:
    """The same of a design by name or file; see :func:`describe_design`.

    Raises:
        UnknownDesign: If nothing answers to the name.
        PluginError: If the file does not load or holds no design.
    """
    factory = _design_factory(name)
    module = inspect.getmodule(factory)
    told = described(name, factory, (module and module.__doc__) or factory.__doc__)
    return {**told, "control": getattr(factory, "control", False)}


def described(name: str, factory: Factory, docstring: str | None) -> dict[str, Any]:
    """What is said of a thing and of its parameters; see :func:`describe_design`.

    Args:
        name: what it is called.
        factory: its class, or the function that it is.
        docstring: what it says of itself.
    """
    said, about, parameters = notes(docstring), parameter_notes(factory), _shown(factory)
    return {
        "name": name,
        "summary": said.summary,
        "text": said.text,
        "parameters": parameters,
        "about": {k: about[k] for k in parameters if k in about},
        **{key: said.closing.get(key) for key in KEYS},
        "file": source_file(factory),
    }


def describe_env(name: str) -> dict[str, Any]:
    """Name, first sentence, and parameters with their defaults, for listings."""
    try:
        factory = _environment_factory(name)
    except PluginError as error:
        return {"name": name, "summary": f"does not load: {error}", "parameters": {}}
    own = _shown(factory)
    described = {"name": name, "summary": notes(factory.__doc__).summary, "parameters": own}
    ids = {environment: other for other, environment in _environments.items()}
    bases = [base for base in getattr(factory, "__mro__", ())[1:] if base in ids]
    if bases:
        usual = _declared(bases[0])
        described["preset_of"] = ids[bases[0]]
        described["differs"] = {k: v for k, v in own.items() if usual.get(k, ...) != v}
    return described


def design_from(spec: Spec) -> Design:
    """The design that a spec describes."""
    name = spec.location or spec.name
    made: Design = built(_design_factory(name), f"design {name!r}", spec.params)
    return made


def environment_from(spec: Spec) -> Environment:
    """The environment that a spec describes."""
    return _environment(spec.location or spec.name, spec.params)


def parsed(spec: str) -> tuple[str, dict[str, Any]]:
    """``"name(key=value, …)"`` as the name and the parameters, which are Python literals.

    Raises:
        InvalidParameter: If what stands in the brackets is something else.
    """
    match = _SPEC.fullmatch(spec.strip())
    name, brackets = match.groups() if match else (spec.strip(), None)
    if not brackets:
        return name, {}
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError
        params = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        if len(params) < len(call.keywords):  # one comes twice, or in a dictionary
            raise ValueError
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise InvalidParameter(
            f"cannot read the parameters of {spec!r}. Write them as in "
            "\"name(pilot=0.3, kind='x')\": names, equals signs, numbers or quoted texts."
        ) from error
    return name.strip(), params


def register_with_gymnasium(_module: object = None) -> None:
    """Make every environment known to ``gymnasium.make`` under its id."""
    for name in environment_ids():
        if _ID.fullmatch(name):  # an entry point's name can be anything
            _tell_gymnasium(name)


def _tell_gymnasium(name: str) -> None:
    import gymnasium

    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point="pairbench.env:PairEnv", kwargs={"environment": name})


def _design_factory(name: str) -> Factory:
    if is_file(name):
        return from_file(name, Design)
    if name in _designs:
        return _designs[name]
    stem = name.replace("-", "_")
    if "_" not in name and any(m.name == stem for m in modules("pairbench.designs")):
        return content(importlib.import_module(f"pairbench.designs.{stem}"), Design, None)
    if (entry := entry_points("pairbench.designs").get(name)) is not None:
        return loaded(entry, Design)
    known = design_names()
    raise UnknownDesign(
        f"no design {name!r}.{did_you_mean(name, known)} `pairbench designs` lists all "
        f"{len(known)}; a file works too: --design my_design.py"
    )


def _environment_factory(name: str) -> Factory:
    if is_file(name):
        return from_file(name, Environment)
    full = _full_id(name)
    if full in _environments:
        return _environments[full]
    if (entry := entry_points("pairbench.envs").get(full)) is not None:
        return loaded(entry, Environment)
    known = environment_ids()
    raise UnknownEnvironment(
        f"no environment {name!r}.{did_you_mean(NAMESPACE + name.split('/')[-1], known)} "
        f"`pairbench envs` lists all {len(known)}; a file works too: --env my_env.py"
    )


def _environment(name: str, params: dict[str, Any]) -> Environment:
    made: Environment = built(_environment_factory(name), f"environment {name!r}", params)
    return _checked(made)


def _checked(environment: Environment) -> Environment:
    """The environment, if what all have in common can be; ``__post_init__`` is its own."""
    if environment.annotator is not None:
        make_annotator(environment.annotator)
    make_prices(environment.prices)
    check_unit(environment.unit)
    return environment


def _full_id(name: str) -> str:
    """An environment's id, where the namespace may have been left out."""
    _load_environments()
    if name in _environments or name in entry_points("pairbench.envs"):
        return name
    return name if "/" in name else NAMESPACE + name


def built(factory: Factory, what: str, params: dict[str, Any]) -> Any:
    """Call a factory with checked parameters: a function's keywords, or a dataclass's fields."""
    is_class = inspect.isclass(factory)
    # A subclass that is not decorated itself passes for a dataclass by inheritance.
    if is_class and "__init__" in vars(factory) and "__dataclass_fields__" not in vars(factory):
        raise PluginError(
            f"{what}: it has an __init__ of its own, which hides its parameters "
            "from the record. Make it a frozen dataclass: @dataclass(frozen=True), with the "
            "parameters as fields."
        )
    known = list(_declared(factory))
    for name in params:
        if name not in known:
            listed = f"It has {', '.join(known)}." if known else "It has none."
            raise InvalidParameter(
                f"{what} has no parameter {name!r}.{did_you_mean(name, known)} {listed}"
            )
    required = [name for name, default in _declared(factory).items() if default is _REQUIRED]
    if lacking := [name for name in required if name not in params]:
        raise InvalidParameter(f"{what} needs a value for its parameter {lacking[0]!r}.")
    if not is_class:
        return FunctionDesign(factory, **params)
    try:
        return _adapter(factory).validate_python(params)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, PairbenchError):
            raise cause from error
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidParameter(
            f"{what}: {where}: {first['msg']}, got {first['input']!r}."
        ) from error


def make_kind(
    spec: str,
    what: str,
    package: str,
    homes: Mapping[str, tuple[str, str]],
    error: type[UnknownName],
    **given: Any,
) -> Any:
    """One of a few kinds of thing, by name or spec: an estimator, a trainer.

    Args:
        spec: the name, with parameters as in ``"name(key=value)"``.
        what: what kind of thing it is, for messages.
        package: where the modules are.
        homes: module and class of each name, imported when asked for.
        error: what to raise for a name that is not there.
        **given: parameters that do not stand in the spec.

    Raises:
        UnknownName: If nothing answers to the name.
        InvalidParameter: If a parameter is unknown or has an impossible value.
    """
    name, params = parsed(spec)
    if name not in homes:
        raise unknown(error, what, name, homes)
    if twice := sorted(params.keys() & given):
        raise InvalidParameter(
            f"the {twice[0]} of {what} {name!r} is {given[twice[0]]!r} already, and has no place "
            f"in {spec!r}."
        )
    module, kind = homes[name]
    factory = getattr(importlib.import_module(f"{package}.{module}"), kind)
    return built(factory, f"{what} {name!r}", params | given)


@lru_cache(maxsize=128)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _load_environments() -> None:
    """Import the built-in environments, which register themselves."""
    for module in modules("pairbench.envs"):
        importlib.import_module(f"pairbench.envs.{module.name}")


def _joined(digests: tuple[str, ...]) -> str | None:
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def _spec(name: str, made: Any, source: str | None) -> Spec:
    params, defaults = _parameters(made)
    changed = [f"{k}={v!r}" for k, v in params.items() if k not in defaults or defaults[k] != v]
    plain = plain_name(name)
    for key, value in params.items():
        try:
            rfc8785.dumps(value)
        except rfc8785.CanonicalizationError as error:
            raise InvalidParameter(
                f"{plain}: {key}={value!r} cannot be put on record: {error}. Parameters are "
                "numbers, texts, truth values, None, and lists of them."
            ) from error
    label = f"{plain}({', '.join(changed)})" if changed else plain
    return Spec(plain, params, source, label, location(name), getattr(made, "control", False))


def _shown(factory: Factory) -> dict[str, Any]:
    """The parameters with their defaults as listings have them, None where there is none."""
    return {k: None if v is _REQUIRED else v for k, v in _declared(factory).items()}


def _declared(factory: Factory) -> dict[str, Any]:
    """The parameters of a class or a function with their defaults."""
    if dataclasses.is_dataclass(factory):
        fields = [f for f in dataclasses.fields(factory) if f.init]
        # As in __init__: a class's own parameters before those that its bases take by keyword only;
        # what came later stands last.
        fields.sort(key=lambda f: ("added" in f.metadata, f.kw_only is True))
        return {f.name: _default(f) for f in fields}
    declared = list(inspect.signature(factory).parameters.values())[2:]  # after view and n
    return {p.name: _REQUIRED if p.default is p.empty else p.default for p in declared}


def _default(declared: dataclasses.Field[Any]) -> Any:
    if declared.default_factory is not dataclasses.MISSING:
        return declared.default_factory()
    return _REQUIRED if declared.default is dataclasses.MISSING else declared.default


def _parameters(made: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """All parameters of a design or an environment, and the defaults of those that have one."""
    is_function = isinstance(made, FunctionDesign)
    declared = _declared(made.function if is_function else type(made))
    defaults = {k: _plain(v) for k, v in declared.items() if v is not _REQUIRED}
    given = made.params if is_function else {k: getattr(made, k) for k in declared}
    params = defaults | {k: _plain(v) for k, v in given.items()}
    for late in () if is_function else dataclasses.fields(made):
        if "added" in late.metadata and params[late.name] == defaults[late.name]:
            del params[late.name]
    return params, defaults


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
