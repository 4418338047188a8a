"""DPO of many small language models at once.

Small models spend most of their time between operations. Here the weights of all runs are stacked,
so that one operation serves all of them; the reference is read once, not in every step; and a
pair's prompt is read once for both completions, which do not see each other.

Batches, losses and optimiser are those of TRL's ``DPOTrainer``, with which the losses of every step
agree.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import TrainingFailed
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import direct_log_likelihoods
from pairbench.language.tokens import Tokens, tokenised
from pairbench.policies.language_model import LanguageModelPolicy
from pairbench.pool import Pairs, Pool
from pairbench.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """What one model is trained on.

    Attributes:
        pool: with texts.
        pairs: ``(n, 3)``.
        labels: ``(n,)`` in [0, 1]; NaN is left out, a tie is ½.
        beta: β, reward units per nat.
    """

    pool: Pool
    pairs: Pairs
    labels: Array
    beta: float


class Trained(NamedTuple):
    """What came of a run.

    Attributes:
        policy: the trained model.
        losses: of each batch before its step, ``(steps,)``.
    """

    policy: LanguageModelPolicy
    losses: Array


@dataclass(frozen=True)
class FleetTrainer:
    """Trains one language model at a time, see :class:`pairbench.training.Trainer`.

    Attributes:
        reference: π_ref.
        recipe: how.
        ridge: λ of designs' own estimates; the model is trained without.
        ends: whether the EOS token belongs to a completion.
    """

    reference: Checkpoint
    recipe: Recipe
    ridge: float
    ends: bool = True

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: Array) -> LanguageModelPolicy:
        """The policy; π_ref where there is no label."""
        run = Run(pool, pairs, labels, beta)
        return train_fleet(self.reference, [run], self.recipe, ends=self.ends)[0].policy


def train_fleet(
    reference: Checkpoint, runs: Sequence[Run], recipe: Recipe, *, ends: bool = True
) -> list[Trained]:
    """Train a model on each run, all at once.

    A run gives the same as on its own up to rounding; the same fleet gives the same again, on a GPU
    up to rounding. All is computed in float32, also where the reference is in fewer bits.

    Args:
        reference: π_ref, from which all start.
        runs: on what; with pools and numbers of labels of their own.
        recipe: how.
        ends: whether the EOS token belongs to a completion.

    Raises:
        InvalidParameter: If the model has weights in layers of an unknown kind.
        InvalidPool: If a pool has no texts, or texts are empty or too long.
        TrainingFailed: If a model diverges.
    """
    reference = in_full(reference)
    texts = [tokenised(run.pool, reference.tokenizer, reference.context, ends=ends) for run in runs]
    shape = _common_shape(texts)
    examples = [
        _examples(reference, run, tokens, shape, recipe)
        for run, tokens in zip(runs, texts, strict=True)
    ]
    # The longest first, so that those that still train are the first ones of the stack.
    order = sorted(range(len(runs)), key=lambda r: -examples[r].steps)
    fleet = _Fleet(reference, recipe, len(runs))
    losses: list[list[float]] = [[] for _ in runs]
    for step in range(max((e.steps for e in examples), default=0)):
        active = [r for r in order if examples[r].steps > step]
        batch = _stacked([examples[r].batch(step) for r in active])
        rates = [recipe.learning_rate * (1 - step / examples[r].steps) for r in active]
        values = fleet.step(batch, rates)
        if not np.isfinite(values).all():
            raise TrainingFailed(
                f"the loss is not finite at step {step + 1}. A learning rate below "
                f"{recipe.learning_rate:g} may help."
            )
        for r, value in zip(active, values, strict=True):
            losses[r].append(value)
    found: list[Trained | None] = [None] * len(runs)
    for place, r in enumerate(order):
        policy = LanguageModelPolicy(fleet.checkpoint(place), ends)
        found[r] = Trained(policy, np.array(losses[r]))
    return [each for each in found if each is not None]


class _Batch(NamedTuple):
    """Texts of pairs: a prompt and, one behind the other, what both completions begin with.

    B pairs, prompts of P tokens, completions of T. Of a fleet, each has the runs before it.

    Attributes:
        ids: ``(B, L)`` with L = P + 2 (T − 1); a completion's last token is never read.
        positions: ``(B, L)``.
        mask: what is added to attention's logits, ``(B, L, L)``.
        wanted: the tokens of both completions, ``(B, 2, T)``.
        there: where there are any, ``(B, 2, T)`` 1 or 0.
        reference: log π_ref of both, ``(B, 2)`` nats.
        win: what the loss of a win of the first counts for, ``(B,)``; sums to 1 with that of a
            defeat, times the share of the pair in its batch.
        defeat: likewise.
        beta: β, ``(B,)``.
    """

    ids: "torch.Tensor"
    positions: "torch.Tensor"
    mask: "torch.Tensor"
    wanted: "torch.Tensor"
    there: "torch.Tensor"
    reference: "torch.Tensor"
    win: "torch.Tensor"
    defeat: "torch.Tensor"
    beta: "torch.Tensor"


@dataclass(frozen=True, eq=False)
class _Examples:
    """A run's pairs, and in which order they are seen."""

    rows: _Batch
    order: NDArray[np.int64]
    size: int

    @property
    def steps(self) -> int:
        return -(-len(self.order) // self.size)

    def batch(self, step: int) -> _Batch:
        """Some of the pairs, and others of no weight where there are too few."""
        import torch

        rows = self.order[step * self.size : (step + 1) * self.size]
        device = self.rows.win.device
        filled = torch.from_numpy(np.resize(rows, self.size)).to(device)
        share = torch.zeros(self.size, device=device)
        share[: len(rows)] = 1 / len(rows)
        batch = _Batch(*(values[filled] for values in self.rows))
        return batch._replace(win=batch.win * share, defeat=batch.defeat * share)


def _common_shape(texts: Sequence[Tokens]) -> tuple[int, int]:
    """The longest prompt and the longest completion, tokens."""
    return (
        max((each.prompts.shape[1] for each in texts), default=0),
        max((each.completions.shape[2] for each in texts), default=0),
    )


def _examples(
    reference: Checkpoint, run: Run, tokens: Tokens, shape: tuple[int, int], recipe: Recipe
) -> _Examples:
    import torch

    answered = ~np.isnan(run.labels)
    pairs, labels = run.pairs[answered], run.labels[answered]
    prompt, both, (P, T) = pairs[:, 0], pairs[:, 1:], shape
    n = len(pairs)
    heads = np.full((n, P), -1)
    heads[:, P - tokens.prompts.shape[1] :] = tokens.prompts[prompt]
    tails = np.full((n, 2, T), -1)
    tails[:, :, : tokens.completions.shape[2]] = tokens.completions[prompt[:, None], both]
    there = tails >= 0
    # A stretch for the prompt and one for each completion.
    stretch = np.repeat([0, 1, 2], [P, T - 1, T - 1])
    ids = np.concatenate([heads, tails[:, 0, :-1], tails[:, 1, :-1]], axis=1)
    known = ids >= 0
    length = (heads >= 0).sum(axis=1, keepdims=True)
    positions = np.concatenate(
        [np.maximum((heads >= 0).cumsum(axis=1) - 1, 0)] + 2 * [length + np.arange(T - 1)], axis=1
    )
    place = np.arange(len(stretch))
    seen = (place[None, :] <= place[:, None]) & (
        (stretch[None, :] == 0) | (stretch[None, :] == stretch[:, None])
    )
    # What is padding sees itself, so that its attention is a number.
    seen = (seen & known[:, None, :]) | np.eye(len(place), dtype=np.bool_)
    lowest = np.finfo(np.float32).min
    ref = _reference(reference, tokens)[prompt[:, None], both]
    win, defeat = recipe.weights(labels)
    rows = [
        np.maximum(ids, 0),
        positions,
        np.where(seen, np.float32(0), lowest),
        np.maximum(tails, 0),
        there.astype(np.float32),
        ref.astype(np.float32),
        win.astype(np.float32),
        defeat.astype(np.float32),
        np.full(n, run.beta, dtype=np.float32),
    ]
    device = reference.device
    batch = _Batch(*(torch.from_numpy(values).to(device) for values in rows))
    return _Examples(batch, recipe.order(n), recipe.batch_size)


@lru_cache(maxsize=8)
def _reference(reference: Checkpoint, tokens: Tokens) -> Array:
    """log π_ref of a pool's completions, read once."""
    return direct_log_likelihoods(reference.model, tokens)


def _stacked(batches: Sequence[_Batch]) -> _Batch:
    """The batches of all runs."""
    import torch

    return _Batch(*(torch.stack(values) for values in zip(*batches, strict=True)))


class _Fleet:
    """R models of one architecture whose trained weights are stacked, and AdamW for them.

    All trained weights are one tensor ``(R, weights)``, which the optimiser works on; the layers
    have views of it. Runs that have ended stay in the stack and are no longer looked at.
    """

    def __init__(self, reference: Checkpoint, recipe: Recipe, size: int) -> None:
        import torch

        from pairbench.training.stacked import stacked

        self.reference, self.recipe = reference, recipe
        self.model = trainable(reference, recipe)
        self.model.eval()  # without dropout
        named = [(n, w) for n, w in self.model.named_parameters() if w.requires_grad]
        self.shapes = {name: weights.shape for name, weights in named}
        start = torch.cat([weights.detach().flatten() for _, weights in named])
        self.weights = start.repeat(size, 1)
        self.rows = [torch.nn.Parameter(row) for row in self.weights]
        groups = [{"params": [row]} for row in self.rows]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)
        self.layers = stacked(self.model, [weights for _, weights in named])
        self.active = 0

    def step(self, batch: _Batch, rates: Sequence[float]) -> list[float]:
        """One step of the first runs of the stack; the losses before it.

        Args:
            batch: with the runs before all else.
            rates: their learning rates.
        """
        import torch

        if len(rates) != self.active:
            self.active = len(rates)
            self.leaves = self._views(self.active)
            for layer in self.layers:
                layer.take(self.leaves)
        losses = self._losses(batch)
        gradients = torch.autograd.grad(losses.sum(), self.leaves)
        self._update(torch.cat([g.flatten(1) for g in gradients], dim=1), rates)
        return [float(value) for value in losses.tolist()]

    def checkpoint(self, run: int) -> Checkpoint:
        """The model of a run, on its own."""
        model = trainable(self.reference, self.recipe)
        parameters, at = dict(model.named_parameters()), 0
        for name, shape in self.shapes.items():
            values = self.weights[run, at : at + shape.numel()]
            parameters[name].data.copy_(values.view(shape))
            at += shape.numel()
        if self.recipe.lora_rank:
            model = model.merge_and_unload()
        model.requires_grad_(True).eval()
        # A digest would cost more than the training; nothing is kept of a policy by its revision.
        return replace(self.reference, model=model, revision="trained")

    def _views(self, runs: int) -> "list[torch.Tensor]":
        """The weights of the first runs by parameter, ``(runs, …)`` each."""
        views, at = [], 0
        for shape in self.shapes.values():
            view = self.weights[:runs, at : at + shape.numel()].view(runs, *shape)
            views.append(view.detach().requires_grad_())
            at += shape.numel()
        return views

    def _losses(self, batch: _Batch) -> "torch.Tensor":
        """Each run's loss, ``(runs,)``."""
        import torch
        from torch.nn.functional import logsigmoid

        runs, pairs, _, T = batch.wanted.shape
        log_probs = self._log_probs(batch).view(runs, pairs, 2 * T - 1, -1)
        # The first token of both follows the prompt, the others follow their own.
        first = log_probs[:, :, :T]
        second = torch.cat([log_probs[:, :, :1], log_probs[:, :, T:]], dim=2)
        both = [
            values.gather(-1, batch.wanted[:, :, i, :, None])[..., 0]
            for i, values in enumerate((first, second))
        ]
        ratios = [
            (values * batch.there[:, :, i]).sum(dim=-1) - batch.reference[:, :, i]
            for i, values in enumerate(both)
        ]
        if self.recipe.loss == "ipo":
            ratios = [r / batch.there[:, :, i].sum(dim=-1) for i, r in enumerate(ratios)]
            margin, target = ratios[0] - ratios[1], 1 / (2 * batch.beta)
            win, defeat = (margin - target) ** 2, (margin + target) ** 2
        else:
            margin = batch.beta * (ratios[0] - ratios[1])
            win, defeat = -logsigmoid(margin), -logsigmoid(-margin)
        return (batch.win * win + batch.defeat * defeat).sum(dim=1)

    def _log_probs(self, batch: _Batch) -> "torch.Tensor":
        """log P of all next tokens from the prompt's end on, ``(runs · B, 2 T − 1, V)``."""
        keep = 2 * batch.wanted.shape[3] - 1
        logits = self.model(
            input_ids=batch.ids.flatten(0, 1),
            position_ids=batch.positions.flatten(0, 1),
            attention_mask=batch.mask.flatten(0, 1)[:, None],
            use_cache=False,
            logits_to_keep=keep,
        ).logits
        log_probs: torch.Tensor = logits.float().log_softmax(dim=-1)
        return log_probs

    def _update(self, gradient: "torch.Tensor", rates: Sequence[float]) -> None:
        """AdamW with clipped gradients, ``(runs, weights)``, in place."""
        norm = gradient.norm(dim=1, keepdim=True)
        gradient *= (self.recipe.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        self.optimiser.zero_grad()  # runs that have ended have no gradient, and are left alone
        for run, rate in enumerate(rates):
            self.rows[run].grad = gradient[run]
            self.optimiser.param_groups[run]["lr"] = rate
        self.optimiser.step()


def trainable(reference: Checkpoint, recipe: Recipe) -> Any:
    """A copy of the reference that is to be trained, with adapters where the recipe wants them.

    What is trained is in float32 at least; what adapters leave alone stays as it is.
    """
    import torch

    model = copy.deepcopy(reference.model)
    if not recipe.lora_rank:
        return widened(model).requires_grad_(True)
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)  # the CPU's alone, where adapters begin
        return get_peft_model(model, _adapters(model, recipe))


@lru_cache(maxsize=1)
def in_full(reference: Checkpoint) -> Checkpoint:
    """The reference in float32 at least."""
    if reference.model.dtype.itemsize >= 4:
        return reference
    return replace(reference, model=widened(copy.deepcopy(reference.model)))


def widened(model: Any) -> Any:
    """The model with weights in float32 where they have fewer bits.

    A bfloat16 tells numbers apart that differ by a 256th, which is more than most steps of an
    optimiser change a weight by: they would be rounded away.
    """
    return model.float() if model.dtype.itemsize < 4 else model


def _adapters(model: Any, recipe: Recipe) -> Any:
    """Of all linear layers but the head, as peft has them, without dropout."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        target_modules="all-linear",
        fan_in_fan_out=any(type(layer).__name__ == "Conv1D" for layer in model.modules()),
        task_type="CAUSAL_LM",
    )
