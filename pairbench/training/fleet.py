"""DPO of many small language models at once.

Training a small model is dominated by the overhead of launching operations. Here the weights of all
models are stacked, so that one operation serves all of them; π_ref is evaluated once, not in every
step; and a pair's prompt is read once for both completions, whose attention masks hide them from
each other.

Batches, losses and optimiser are those of TRL's ``DPOTrainer``, whose losses agree at every step.
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
from pairbench.language.policy import LanguageModelPolicy
from pairbench.language.tokens import Tokens, tokenize_pool
from pairbench.pool.pool import Pairs, Pool
from pairbench.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """The labelled pairs that one model is trained on.

    Attributes:
        pool: the pool, with texts.
        pairs: ``(n, 3)``.
        labels: ``(n,)`` in [0, 1]; ½ is a tie, and NaN, a missing label, is left out.
        beta: β, reward units per nat.
    """

    pool: Pool
    pairs: Pairs
    labels: Array
    beta: float


class TrainingResult(NamedTuple):
    """A trained policy and its loss curve.

    Attributes:
        policy: the trained model.
        losses: the loss of each batch before its step, ``(steps,)``.
    """

    policy: LanguageModelPolicy
    losses: Array


@dataclass(frozen=True)
class FleetTrainer:
    """Trainer of one language model by a fleet of one; see :class:`pairbench.training.Trainer`.

    Attributes:
        reference: π_ref.
        recipe: loss, optimiser and order of batches.
        ridge: λ of designs' estimates; the model is trained without a ridge.
        ends: whether the EOS token belongs to a completion.
    """

    reference: Checkpoint
    recipe: Recipe
    ridge: float
    ends: bool = True

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: Array) -> LanguageModelPolicy:
        """Train the policy on the labels; return π_ref if there are none."""
        task = TrainingTask(pool, pairs, labels, beta)
        return train_fleet(self.reference, [task], self.recipe, ends=self.ends)[0].policy


# Why: docs/decisions/028-small-models-train-in-a-stack.md
def train_fleet(
    reference: Checkpoint, tasks: Sequence[TrainingTask], recipe: Recipe, *, ends: bool = True
) -> list[TrainingResult]:
    """Train a model on each task, all at once.

    The result of a task is the same as if it were trained alone, up to rounding, and reproducible
    with the same tasks, on a GPU up to rounding. All computations are in float32, also where the
    reference has fewer bits.

    Args:
        reference: π_ref, the initial model of all tasks.
        tasks: the labelled pairs of each model; pools and numbers of labels may differ.
        recipe: loss, optimiser and order of batches.
        ends: whether the EOS token belongs to a completion.

    Returns:
        A result for each task, in their order.

    Raises:
        InvalidParameter: If the model has weights in layers of an unknown kind.
        InvalidPool: If a pool has no texts, or texts are empty or too long.
        TrainingFailed: If a model diverges.
    """
    reference = upcast_checkpoint(reference)
    texts = [
        tokenize_pool(task.pool, reference.tokenizer, reference.context, ends=ends)
        for task in tasks
    ]
    shape = _common_shape(texts)
    examples = [
        _make_examples(reference, task, tokens, shape, recipe)
        for task, tokens in zip(tasks, texts, strict=True)
    ]
    # The longest training comes first, so that the models still in training lead the stack.
    order = sorted(range(len(tasks)), key=lambda t: -examples[t].steps)
    fleet = _Fleet(reference, recipe, len(tasks))
    losses: list[list[float]] = [[] for _ in tasks]
    for step in range(max((e.steps for e in examples), default=0)):
        active = [t for t in order if examples[t].steps > step]
        batch = _stack_batches([examples[t].batch(step) for t in active])
        rates = [recipe.learning_rate * (1 - step / examples[t].steps) for t in active]
        values = fleet.step(batch, rates)
        if not np.isfinite(values).all():
            raise TrainingFailed(
                f"the loss is not finite at step {step + 1}. A learning rate below "
                f"{recipe.learning_rate:g} may help."
            )
        for t, value in zip(active, values, strict=True):
            losses[t].append(value)
    position = {t: index for index, t in enumerate(order)}
    return [
        TrainingResult(
            LanguageModelPolicy(fleet.checkpoint(position[t]), ends), np.array(losses[t])
        )
        for t in range(len(tasks))
    ]


class _Batch(NamedTuple):
    """A batch of pairs: each row is a prompt followed by the beginnings of both completions.

    B pairs, prompts of P tokens, completions of T. Batches of a fleet have a leading axis of
    models.

    Attributes:
        ids: token ids, ``(B, L)`` with L = P + 2 (T − 1); the last token of a completion is not an
            input.
        positions: position ids, ``(B, L)``.
        mask: additive attention mask, ``(B, L, L)``.
        targets: the tokens of both completions, ``(B, 2, T)``.
        target_mask: 1 for tokens and 0 for padding, ``(B, 2, T)``.
        reference: log π_ref of both, ``(B, 2)`` nats.
        first_weight: weight of the loss of "first preferred", ``(B,)``. Both weights of a pair sum
            to its share of the batch.
        second_weight: weight of the loss of "second preferred", ``(B,)``.
        beta: β, ``(B,)``.
    """

    ids: "torch.Tensor"
    positions: "torch.Tensor"
    mask: "torch.Tensor"
    targets: "torch.Tensor"
    target_mask: "torch.Tensor"
    reference: "torch.Tensor"
    first_weight: "torch.Tensor"
    second_weight: "torch.Tensor"
    beta: "torch.Tensor"


@dataclass(frozen=True, eq=False)
class _Examples:
    """The labelled pairs of a task in their order of training.

    Attributes:
        data: all pairs as one batch, with weights for shares of 1.
        order: indices of pairs in the order of training, ``(epochs · n,)``.
        size: the number of pairs of a batch.
    """

    data: _Batch
    order: NDArray[np.int64]
    size: int

    @property
    def steps(self) -> int:
        """Number of batches."""
        return -(-len(self.order) // self.size)

    def batch(self, step: int) -> _Batch:
        """Return the batch of a step, filled up with pairs of weight 0 if it is the last."""
        import torch

        indices = self.order[step * self.size : (step + 1) * self.size]
        device = self.data.beta.device
        filled = torch.from_numpy(np.resize(indices, self.size)).to(device)
        share = torch.zeros(self.size, device=device)
        share[: len(indices)] = 1 / len(indices)
        batch = _Batch(*(values[filled] for values in self.data))
        return batch._replace(
            first_weight=batch.first_weight * share, second_weight=batch.second_weight * share
        )


def _common_shape(texts: Sequence[Tokens]) -> tuple[int, int]:
    """Return the lengths of the longest prompt and the longest completion, in tokens."""
    return (
        max((each.prompts.shape[1] for each in texts), default=0),
        max((each.completions.shape[2] for each in texts), default=0),
    )


def _make_examples(
    reference: Checkpoint,
    task: TrainingTask,
    tokens: Tokens,
    shape: tuple[int, int],
    recipe: Recipe,
) -> _Examples:
    """Build the model's inputs and targets for the answered pairs of a task."""
    import torch

    answered = ~np.isnan(task.labels)
    pairs, labels = task.pairs[answered], task.labels[answered]
    prompt, completions, n = pairs[:, 0], pairs[:, 1:], len(pairs)
    prompt_ids, targets = _pad_tokens(tokens, pairs, shape)
    ids, positions, mask = _pack(prompt_ids, targets)
    log_ref = _reference_log_probs(reference, tokens)[prompt[:, None], completions]
    weights = recipe.loss_weights(labels)
    data = _Batch(
        *(
            torch.from_numpy(values).to(reference.device)
            for values in (
                ids,
                positions,
                mask,
                np.maximum(targets, 0),
                (targets >= 0).astype(np.float32),
                log_ref.astype(np.float32),
                weights.first.astype(np.float32),
                weights.second.astype(np.float32),
                np.full(n, task.beta, dtype=np.float32),
            )
        )
    )
    return _Examples(data, recipe.order(n), recipe.batch_size)


def _pad_tokens(
    tokens: Tokens, pairs: Pairs, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad prompts on the left and completions on the right by −1 to the common shape.

    Returns:
        The prompts ``(n, P)`` and both completions ``(n, 2, T)`` of each pair.
    """
    (P, T), n = shape, len(pairs)
    prompt_ids = np.full((n, P), -1)
    prompt_ids[:, P - tokens.prompts.shape[1] :] = tokens.prompts[pairs[:, 0]]
    targets = np.full((n, 2, T), -1)
    length = tokens.completions.shape[2]
    targets[:, :, :length] = tokens.completions[pairs[:, 0][:, None], pairs[:, 1:]]
    return prompt_ids, targets


def _pack(
    prompt_ids: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Join each prompt and both completions, which do not attend to each other, into one row.

    Args:
        prompt_ids: ``(n, P)``, padded by −1.
        targets: ``(n, 2, T)``, padded by −1.

    Returns:
        Token ids ``(n, L)``, position ids ``(n, L)`` and the attention mask ``(n, L, L)``.
    """
    P, T = prompt_ids.shape[1], targets.shape[2]
    # Segment 0 is the prompt, 1 and 2 are the completions.
    segment = np.repeat([0, 1, 2], [P, T - 1, T - 1])
    ids = np.concatenate([prompt_ids, targets[:, 0, :-1], targets[:, 1, :-1]], axis=1)
    not_padding = ids >= 0
    prompt_length = (prompt_ids >= 0).sum(axis=1, keepdims=True)
    prompt_positions = np.maximum((prompt_ids >= 0).cumsum(axis=1) - 1, 0)
    completion_positions = prompt_length + np.arange(T - 1)
    positions = np.concatenate(
        [prompt_positions, completion_positions, completion_positions], axis=1
    )
    index = np.arange(len(segment))
    visible = (index[None, :] <= index[:, None]) & (
        (segment[None, :] == 0) | (segment[None, :] == segment[:, None])
    )
    # Padding attends to itself, so that its softmax is finite.
    visible = (visible & not_padding[:, None, :]) | np.eye(len(index), dtype=np.bool_)
    mask = np.where(visible, np.float32(0), np.finfo(np.float32).min)
    return np.maximum(ids, 0), positions, mask


@lru_cache(maxsize=8)
def _reference_log_probs(reference: Checkpoint, tokens: Tokens) -> Array:
    """Compute log π_ref of a pool's completions; cached, as every step needs it."""
    return direct_log_likelihoods(reference.model, tokens)


def _stack_batches(batches: Sequence[_Batch]) -> _Batch:
    """Stack the batches of all models along a new first axis."""
    import torch

    return _Batch(*(torch.stack(values) for values in zip(*batches, strict=True)))


class _Fleet:
    """R models of one architecture whose trained weights are stacked, with AdamW.

    All trained weights are one tensor ``(R, weights)``, which the optimiser updates; the layers
    have views of it. Models whose training has ended stay at the end of the stack, unused.
    """

    def __init__(self, reference: Checkpoint, recipe: Recipe, size: int) -> None:
        import torch

        from pairbench.training.stacked_layers import stack_layers

        self.reference, self.recipe = reference, recipe
        self.model = copy_for_training(reference, recipe)
        self.model.eval()  # without dropout
        named = [(n, w) for n, w in self.model.named_parameters() if w.requires_grad]
        self.shapes = {name: weights.shape for name, weights in named}
        start = torch.cat([weights.detach().flatten() for _, weights in named])
        self.weights = start.repeat(size, 1)
        self.rows = [torch.nn.Parameter(row) for row in self.weights]
        groups = [{"params": [row]} for row in self.rows]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)
        self.layers = stack_layers(self.model, [weights for _, weights in named])
        self.active = 0

    def step(self, batch: _Batch, rates: Sequence[float]) -> list[float]:
        """Train the first models of the stack for one step.

        Args:
            batch: their batches, with a leading axis of models.
            rates: their learning rates.

        Returns:
            Their losses before the step.
        """
        import torch

        if len(rates) != self.active:
            self.active = len(rates)
            self.leaves = self._views(self.active)
            for layer in self.layers:
                layer.set_weights(self.leaves)
        losses = self._losses(batch)
        gradients = torch.autograd.grad(losses.sum(), self.leaves)
        self._update(torch.cat([g.flatten(1) for g in gradients], dim=1), rates)
        return [float(value) for value in losses.tolist()]

    def checkpoint(self, index: int) -> Checkpoint:
        """Copy one model out of the stack."""
        model = copy_for_training(self.reference, self.recipe)
        parameters, offset = dict(model.named_parameters()), 0
        for name, shape in self.shapes.items():
            values = self.weights[index, offset : offset + shape.numel()]
            parameters[name].data.copy_(values.view(shape))
            offset += shape.numel()
        if self.recipe.lora_rank:
            model = model.merge_and_unload()
        model.requires_grad_(True).eval()
        # A digest would cost more than the training, and no cache uses a policy's revision.
        return replace(self.reference, model=model, revision="trained")

    def _views(self, count: int) -> "list[torch.Tensor]":
        """Return views of the first models' weights by parameter, ``(count, …)`` each."""
        views, offset = [], 0
        for shape in self.shapes.values():
            view = self.weights[:count, offset : offset + shape.numel()].view(count, *shape)
            views.append(view.detach().requires_grad_())
            offset += shape.numel()
        return views

    def _losses(self, batch: _Batch) -> "torch.Tensor":
        """Compute the loss of each model, ``(models,)``."""
        from torch.nn.functional import logsigmoid

        first, second = self._log_ratios(batch)
        if self.recipe.loss == "ipo":
            first, second = (
                ratio / batch.target_mask[:, :, i].sum(dim=-1)
                for i, ratio in enumerate((first, second))
            )
            margin, target = first - second, 1 / (2 * batch.beta)
            first_loss, second_loss = (margin - target) ** 2, (margin + target) ** 2
        else:
            margin = batch.beta * (first - second)
            first_loss, second_loss = -logsigmoid(margin), -logsigmoid(-margin)
        return (batch.first_weight * first_loss + batch.second_weight * second_loss).sum(dim=1)

    def _log_ratios(self, batch: _Batch) -> "list[torch.Tensor]":
        """Compute log π/π_ref of the first and the second completions, ``(models, B)`` each."""
        import torch

        models, pairs, _, T = batch.targets.shape
        log_probs = self._log_probs(batch).view(models, pairs, 2 * T - 1, -1)
        # Both first tokens are predicted at the prompt's end, the others within their completion.
        first = log_probs[:, :, :T]
        second = torch.cat([log_probs[:, :, :1], log_probs[:, :, T:]], dim=2)
        token_log_probs = [
            values.gather(-1, batch.targets[:, :, i, :, None])[..., 0]
            for i, values in enumerate((first, second))
        ]
        return [
            (values * batch.target_mask[:, :, i]).sum(dim=-1) - batch.reference[:, :, i]
            for i, values in enumerate(token_log_probs)
        ]

    def _log_probs(self, batch: _Batch) -> "torch.Tensor":
        """Compute log P of next tokens from the prompt's end on, ``(models · B, 2 T − 1, V)``."""
        logits = self.model(
            input_ids=batch.ids.flatten(0, 1),
            position_ids=batch.positions.flatten(0, 1),
            attention_mask=batch.mask.flatten(0, 1)[:, None],
            use_cache=False,
            logits_to_keep=2 * batch.targets.shape[3] - 1,
        ).logits
        log_probs: torch.Tensor = logits.float().log_softmax(dim=-1)
        return log_probs

    def _update(self, gradient: "torch.Tensor", rates: Sequence[float]) -> None:
        """Clip the gradients ``(models, weights)`` in place, and take a step of AdamW."""
        norm = gradient.norm(dim=1, keepdim=True)
        gradient *= (self.recipe.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        self.optimiser.zero_grad()  # AdamW skips models whose training has ended: no gradient
        for index, rate in enumerate(rates):
            self.rows[index].grad = gradient[index]
            self.optimiser.param_groups[index]["lr"] = rate
        self.optimiser.step()


def copy_for_training(reference: Checkpoint, recipe: Recipe) -> Any:
    """Copy the reference for training, with adapters if the recipe has a LoRA rank.

    Trained weights are in float32 at least; weights that adapters leave frozen keep their type.
    """
    import torch

    model = copy.deepcopy(reference.model)
    if not recipe.lora_rank:
        return upcast_model(model).requires_grad_(True)
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)  # adapters are initialised on the CPU
        return get_peft_model(model, _adapters(model, recipe))


@lru_cache(maxsize=1)
def upcast_checkpoint(reference: Checkpoint) -> Checkpoint:
    """Convert a checkpoint to float32, unless it has as many bits; cached."""
    if reference.model.dtype.itemsize >= 4:
        return reference
    return replace(reference, model=upcast_model(copy.deepcopy(reference.model)))


def upcast_model(model: Any) -> Any:
    """Convert weights of fewer bits to float32, in place.

    The precision of bfloat16 is 1/256. Most steps of an optimiser change a weight by less, and
    would be lost in rounding.
    """
    return model.float() if model.dtype.itemsize < 4 else model


def _adapters(model: Any, recipe: Recipe) -> Any:
    """Build peft's configuration of adapters for all linear layers but the head, no dropout."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        target_modules="all-linear",
        fan_in_fan_out=any(type(layer).__name__ == "Conv1D" for layer in model.modules()),
        task_type="CAUSAL_LM",
    )
