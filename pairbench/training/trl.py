"""DPO of a language model by TRL's ``DPOTrainer``."""

import os
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidParameter
from pairbench.language.checkpoints import Checkpoint, quiet
from pairbench.language.tokens import tokenised
from pairbench.policies.language_model import LanguageModelPolicy
from pairbench.pool import Pairs, Pool
from pairbench.training.fleet import Trained, trainable, widened
from pairbench.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TRLTrainer:
    """Trains a language model as TRL does, see :class:`pairbench.training.Trainer`.

    Batches are those of :class:`pairbench.training.fleet.FleetTrainer`. TRL knows winners only, so
    that ties are left out. Weights that are trained are in float32; a reference in bfloat16 has the
    computations in bfloat16 (autocast).

    Started by ``accelerate launch``, each process trains on its own part of every batch, and all
    have the same policy at the end. Where batches are cut into parts, by processes or by
    ``accumulation``, a smaller last batch is filled up with labels of its own.

    Attributes:
        reference: π_ref.
        recipe: how.
        ridge: λ of designs' own estimates; the model is trained without.
        ends: whether the EOS token belongs to a completion. TRL appends it; where it does not
            belong, all prompts and all completions must be of one length, so that it can be cut.
        accumulation: into how many parts a batch is cut to fit into memory, one after the other.
    """

    reference: Checkpoint
    recipe: Recipe
    ridge: float
    ends: bool = True
    accumulation: int = 1

    def __post_init__(self) -> None:
        if self.accumulation < 1:
            raise InvalidParameter(f"accumulation must be 1 or more, got {self.accumulation}.")
        self._part(processes=1)

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: Array) -> LanguageModelPolicy:
        """The policy; π_ref where there is no label."""
        return self.trained(pool, beta, pairs, labels).policy

    def trained(self, pool: Pool, beta: float, pairs: Pairs, labels: Array) -> Trained:
        """The policy, and the loss of each batch.

        Raises:
            InvalidParameter: If TRL is not installed, the EOS token cannot be cut, batches cannot
                be cut into equal parts, or the processes do not all hold all of the model.
            InvalidPool: If the pool has no texts, or texts are empty or too long.
        """
        won = (labels == 0) | (labels == 1)
        longest = self._longest(pool)
        if not won.any():
            return Trained(LanguageModelPolicy(self.reference, self.ends), np.empty(0))
        try:
            import datasets
            from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]  # they are lazy
        except ImportError as error:
            raise InvalidParameter("TRL is not installed: pip install 'pairbench[llm]'.") from error
        import torch

        device = self.reference.device
        _check_first(device)
        mixed = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(
            self.reference.model.dtype, "no"
        )
        if mixed == "fp16" and device.type == "cpu":
            mixed = "no"  # TRL has none there
        model, recipe = trainable(self.reference, self.recipe), self.recipe
        bars = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            with tempfile.TemporaryDirectory() as folder, quiet():
                settings = DPOConfig(
                    output_dir=folder,
                    beta=beta,
                    gradient_accumulation_steps=self.accumulation,
                    num_train_epochs=1,  # the rows are those of all epochs, in order
                    train_sampling_strategy="sequential",
                    learning_rate=recipe.learning_rate,
                    lr_scheduler_type="linear",
                    max_grad_norm=recipe.max_grad_norm,
                    max_length=longest,
                    truncation_mode="keep_start",
                    seed=recipe.seed,
                    use_cpu=device.type == "cpu",
                    bf16=mixed == "bf16",
                    fp16=mixed == "fp16",
                    activation_checkpointing=False,
                    dataloader_pin_memory=False,
                    disable_dropout=True,
                    logging_steps=1,
                    report_to=[],
                    save_strategy="no",
                    disable_tqdm=True,
                    **_loss(recipe),
                )
                settings.mixed_precision = mixed  # whatever accelerate was launched with
                settings._n_gpu = min(settings.n_gpu, 1)  # or each GPU would get a batch
                processes = settings.world_size
                settings.per_device_train_batch_size = self._part(processes)
                rows = self._rows(pool, pairs[won], labels[won], processes)
                trainer = DPOTrainer(
                    model,
                    # Of an adapted model, TRL takes the one without adapters.
                    ref_model=None if recipe.lora_rank else trainable(self.reference, Recipe()),
                    args=settings,
                    train_dataset=datasets.Dataset.from_list(rows),
                    processing_class=self.reference.tokenizer,
                )
                if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
                    raise InvalidParameter(
                        "each process must hold all of the model, but accelerate is told to share "
                        "it out by FSDP or DeepSpeed. Launch with --multi_gpu instead."
                    )
                _silence(trainer)
                trainer.train()
        finally:
            if not bars:
                datasets.enable_progress_bars()
        trained: Any = trainer.model
        if recipe.lora_rank:
            # First widened: what adapters add is less than bfloat16 tells apart.
            trained = widened(trained).merge_and_unload()
        # TRL's and accelerate's wraps of it; a copy's would call this model.
        vars(trained).pop("forward", None)
        vars(trained).pop("_original_forward", None)
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        checkpoint = replace(self.reference, model=trained.eval(), revision="trained")
        return Trained(LanguageModelPolicy(checkpoint, self.ends), np.array(losses))

    def _part(self, processes: int) -> int:
        """How many labels of a batch are read at once."""
        size, parts = self.recipe.batch_size, processes * self.accumulation
        if size % parts:
            raise InvalidParameter(
                f"batch_size must be a multiple of accumulation × processes, {self.accumulation} × "
                f"{processes}, so that all parts of a batch are alike; got {size}."
            )
        return size // parts

    def _rows(
        self, pool: Pool, pairs: Pairs, labels: Array, processes: int
    ) -> list[dict[str, str]]:
        """TRL's columns, a row for each time that a label is seen."""
        assert pool.prompts is not None
        assert pool.texts is not None
        order, size = self.recipe.order(len(pairs)), self.recipe.batch_size
        if processes * self.accumulation > 1 and (rest := len(order) % size):
            # The mean over a batch is that of its parts' means, so that these must be of one size.
            order = np.concatenate([order[:-rest], np.resize(order[-rest:], size)])
        rows = []
        for row in order.tolist():
            x, first, second = pairs[row].tolist()
            chosen, rejected = (first, second) if labels[row] else (second, first)
            texts = pool.texts[x]
            rows.append(
                {"prompt": pool.prompts[x], "chosen": texts[chosen], "rejected": texts[rejected]}
            )
        return rows

    def _longest(self, pool: Pool) -> int | None:
        """Where TRL is to cut texts, so that the EOS token that it appends goes."""
        tokens = tokenised(pool, self.reference.tokenizer, self.reference.context, ends=self.ends)
        if self.ends:
            return self.reference.context
        there = tokens.completions[:, :, 0] >= 0
        if (tokens.prompts < 0).any() or (tokens.completions[there] < 0).any():
            raise InvalidParameter(
                "TRL ends completions with the EOS token, which can only be cut off where all "
                "prompts and all completions are of one length. Train the fleet's way, or let "
                "completions end (ends=True)."
            )
        return int(tokens.prompts.shape[1] + tokens.completions.shape[2])


def _check_first(device: "torch.device") -> None:
    """Make sure that the model is where TRL will train it."""
    own = int(os.environ.get("LOCAL_RANK") or 0)
    if device.type == "cuda" and (device.index or 0) != own:
        raise InvalidParameter(
            f"TRL trains on GPU {own} here, but the model is on {str(device)!r}. Take device "
            f"'cuda'; CUDA_VISIBLE_DEVICES={device.index} lets a process see that GPU only."
        )


def _loss(recipe: Recipe) -> dict[str, Any]:
    """TRL's names for the losses."""
    epsilon = recipe.flip_rate
    if recipe.loss == "cdpo":
        # TRL's sigmoid loss takes no flip rate. With A and B the losses of a win and of a defeat,
        # (1−ε) A + ε B = 2 (1−ε) A − (1−2ε) [(1−ε) A − ε B] / (1−2ε), whose last factor is rDPO's.
        return {
            "loss_type": ["sigmoid", "robust"],
            "loss_weights": [2 * (1 - epsilon), -(1 - 2 * epsilon)],
            "label_smoothing": epsilon,
        }
    names = {"dpo": "sigmoid", "ipo": "ipo", "rdpo": "robust"}
    smoothing = epsilon if recipe.loss == "rdpo" else 0.0
    return {"loss_type": [names[recipe.loss]], "label_smoothing": smoothing}


def _silence(trainer: Any) -> None:
    """Let it print nothing."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
