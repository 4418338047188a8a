"""Registry of environments that are built in, installed, registered, or in a file."""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pairbench.errors import InvalidParameter, UnknownEnvironment, did_you_mean
from pairbench.spec.building import declared_defaults, declared_parameters
from pairbench.spec.catalogue import parse_docstring
from pairbench.spec.loading import Contract, entry_points, is_file, iter_modules, source_digest
from pairbench.spec.record import Spec, combine_digests, make_spec
from pairbench.spec.registry import Registry
from pairbench.spec.text import parse_spec
from pairbench.worlds.environment import Environment, data_digests

E_ = TypeVar("E_", bound=type[Environment])
NAMESPACE = "pairbench/"

_ID = re.compile(r"(?:[\w:-]+/)?[\w:.-]+-v\d+")  # the format of Gymnasium


class _Environments(Registry[Environment]):
    """Environments by id; the namespace ``pairbench/`` is optional."""

    def names(self) -> list[str]:
        # Built-in environments register themselves when their modules are imported.
        for module in iter_modules("pairbench.envs"):
            importlib.import_module(f"pairbench.envs.{module.name}")
        return super().names()

    def build(self, name: str, params: Mapping[str, Any]) -> Environment:
        environment = super().build(name, params)
        environment.check()
        return environment

    def details(self, name: str) -> dict[str, Any]:
        factory = self.factory(name)
        defaults = declared_defaults(factory)
        details = {
            "name": name,
            "summary": parse_docstring(factory.__doc__).summary,
            "parameters": defaults,
        }
        ids = {environment: id_ for id_, environment in self.registered.items()}
        bases = [base for base in getattr(factory, "__mro__", ())[1:] if base in ids]
        if bases:
            base_defaults = declared_parameters(bases[0])
            details["preset_of"] = ids[bases[0]]
            details["differs"] = {
                k: v for k, v in defaults.items() if base_defaults.get(k, ...) != v
            }
        return details

    def resolve(self, name: str) -> str:
        """Return an environment's id with its namespace."""
        self.names()
        if name in self.registered or name in entry_points(self.group):
            return name
        return name if "/" in name else NAMESPACE + name


def _hint(name: str, known: Iterable[str]) -> str:
    ids = list(known)
    return (
        f"no environment {name!r}.{did_you_mean(NAMESPACE + name.split('/')[-1], ids)} "
        f"`pairbench envs` lists all {len(ids)}; a file works too: --env my_env.py"
    )


ENVIRONMENTS = _Environments(
    Contract("environment", Environment, "pairbench.Environment"),
    "pairbench.envs",
    UnknownEnvironment,
    dict,
    hint=_hint,
)


def register_env(name: str) -> Callable[[E_], E_]:
    """Register an :class:`Environment` under an id; a class decorator.

    Args:
        name: an id such as ``"pairbench/LogLinear-v1"``. An environment that behaves differently
            gets a new version.

    Raises:
        InvalidParameter: If the name is not a valid id.
    """
    if not _ID.fullmatch(name):
        raise InvalidParameter(
            f"an environment's id is a namespace, a name and a version, such as 'mine/World-v1'; "
            f"got {name!r}."
        )

    def register(environment: E_) -> E_:
        ENVIRONMENTS.register(name, environment)
        if hasattr(sys.modules.get("gymnasium"), "register"):
            _register_with_gymnasium(name)
        return environment

    return register


def make_env(environment: str | Environment, **params: Any) -> Environment:
    """Build an environment from an id, a file, or a spec.

    ``gymnasium.make`` builds a :class:`PairEnv` from the same id.

    Args:
        environment: an id (``"pairbench/LogLinear-v1"``; the part before the slash may be left
            out), a file (``"file.py:Class"``), either with parameters
            (``"pairbench/LogLinear-v1(dim=32)"``), or an environment, which is returned as it is.
        **params: parameters, added to those of the spec.

    Raises:
        UnknownEnvironment: If no environment has the id.
        InvalidParameter: If a parameter is unknown or has an impossible value.
        PluginError: If the file does not load or holds no environment.
    """
    if isinstance(environment, Environment):
        environment.check()
        return environment
    name, spec_params = parse_spec(environment)
    return ENVIRONMENTS.build(name, spec_params | params)


def environment_ids() -> list[str]:
    """List the ids of all environments that need no file."""
    return ENVIRONMENTS.names()


# Why: docs/decisions/005-an-environment-version-is-a-promise.md
def environment_spec(environment: str, **params: Any) -> Spec:
    """Return the record of an environment, with all parameters filled in.

    ``source`` is the digest of the data files that it and its annotator read, of third-party parts,
    and of the syntax tree of the file that defines it, if given by path; the version of an id
    stands for its code.

    Args:
        environment: an id or a file, with parameters.
        **params: parameters, which override those of the spec.
    """
    name, spec_params = parse_spec(environment)
    environment_object = ENVIRONMENTS.build(name, spec_params | params)
    digests = data_digests(environment_object)
    if is_file(name):
        code = source_digest(ENVIRONMENTS.factory(name)) or ""
        return make_spec(name, environment_object, combine_digests((code, *digests)))
    digest = digests[0] if len(digests) == 1 else combine_digests(digests)
    return make_spec(ENVIRONMENTS.resolve(name), environment_object, digest)


def describe_env(name: str) -> dict[str, Any]:
    """Describe an environment for listings: name, first sentence, parameters with defaults."""
    return ENVIRONMENTS.describe(name)


def environment_from(spec: Spec) -> Environment:
    """Build the environment that a record describes."""
    return ENVIRONMENTS.rebuild(spec)


# Why: docs/decisions/003-gymnasium-learns-ids-from-a-hook.md
def register_with_gymnasium(_module: object = None) -> None:
    """Register every environment with Gymnasium under its id."""
    for name in environment_ids():
        if _ID.fullmatch(name):  # names of entry points can have any form
            _register_with_gymnasium(name)


def _register_with_gymnasium(name: str) -> None:
    import gymnasium

    if name not in gymnasium.registry:
        gymnasium.register(
            name, entry_point="pairbench.worlds.pair_env:PairEnv", kwargs={"environment": name}
        )
