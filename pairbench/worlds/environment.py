"""Environments, from which worlds are drawn by seed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import ClassVar

from pairbench.oracles.annotators import Annotator, make_annotator
from pairbench.spec.loading import third_party_digests
from pairbench.view.budget import Prices, check_unit, make_prices
from pairbench.worlds.world import World

# Why: docs/decisions/006-added-parameters-leave-old-records-valid.md
ADDED_AFTER_PUBLICATION = {"added": True}
"""Metadata of a parameter that was added after an id was published. Records leave it out while it
has its default, so that cells played without it stay valid."""


@dataclass(frozen=True)
class Environment(ABC):
    """A distribution of worlds: a frozen dataclass whose fields are its parameters.

    The docstring of a subclass states what it diagnoses and its known optimum. Register it with
    :func:`pairbench.register_env`; play it with :func:`pairbench.play` or, through Gymnasium, as
    :class:`pairbench.PairEnv`.

    Attributes:
        annotator: annotator spec, see :func:`pairbench.oracles.annotators.make_annotator`; None
            for the oracle of :meth:`world`.
        prices: price list, see :class:`pairbench.Prices`: ``"label=1, token_read=0.002"``.
        unit: unit of budgets, ``"labels"`` or ``"money"``.

    All environments inherit these parameters.
    """

    annotator: str | None = field(default=None, kw_only=True, metadata=ADDED_AFTER_PUBLICATION)
    prices: str = field(default="label=1", kw_only=True, metadata=ADDED_AFTER_PUBLICATION)
    unit: str = field(default="labels", kw_only=True, metadata=ADDED_AFTER_PUBLICATION)

    budgets: ClassVar[tuple[int, ...]] = (50, 100, 200, 400, 800)
    """The default schedule: cumulative budgets at which the policy is scored."""

    uses_language_models: ClassVar[bool] = False
    """Whether language models generate the world, so that drawing one is slow or needs a GPU."""

    @cached_property
    def chain(self) -> Annotator | None:
        """The annotator that ``annotator`` specifies, None for the world's oracle."""
        return None if self.annotator is None else make_annotator(self.annotator)

    @cached_property
    def price_list(self) -> Prices:
        """The price list that ``prices`` specifies."""
        return make_prices(self.prices)

    def check(self) -> None:
        """Check the parameters of all environments; ``__post_init__`` checks those of a subclass.

        Raises:
            UnknownAnnotator: If a stage of the annotator is not registered.
            InvalidParameter: If the annotator, the prices or the unit are invalid.
        """
        _ = self.chain, self.price_list
        check_unit(self.unit)

    def parts(self) -> tuple[object, ...]:
        """Return the objects that labels and policies depend on: annotator stages, trainers.

        The code of third-party parts is part of the identity of a cell.
        """
        return () if self.chain is None else tuple(stage for _, stage in self.chain.stages)

    @abstractmethod
    def world(self, seed: int) -> World:
        """Draw the world of a seed, identically on every machine."""

    def data_digest(self) -> str | None:
        """Return the SHA-256 of the data file that worlds are built from, None without one."""
        return None


def draw_world(environment: Environment, seed: int) -> World:
    """Draw the world of a seed with its annotator, or take it from the cache of recent worlds."""
    return _draw_world(environment, seed, data_digests(environment))


def data_digests(environment: Environment) -> tuple[str, ...]:
    """Return the SHA-256 of each file that a world and its annotator depend on.

    These are the data file, the input files of annotator stages, and the code of third-party parts.
    """
    data = environment.data_digest()
    inputs = () if environment.chain is None else environment.chain.data_digests()
    code = third_party_digests(environment.parts()).values()
    return (*inputs, *code) if data is None else (data, *inputs, *code)


@lru_cache(maxsize=2)
def _draw_world(environment: Environment, seed: int, _digests: tuple[str, ...]) -> World:
    world = environment.world(seed)
    return world if environment.chain is None else world.with_annotator(environment.chain, seed)
