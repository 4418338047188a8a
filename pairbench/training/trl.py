"""DPO of a language model by TRL's ``DPOTrainer``."""

import os
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pairbench._util.checks import check_at_least
from pairbench.errors import InvalidParameter
from pairbench.language.checkpoints import Checkpoint, silence_transformers
from pairbench.language.policy import LanguageModelPolicy
from pairbench.language.tokens import tokenize_pool
from pairbench.pool.pool import Pairs, Pool
from pairbench.training.fleet import TrainingResult, copy_for_training, upcast_model
from pairbench.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TRLTrainer:
    """Trainer of a language model by TRL; see :class:`pairbench.training.Trainer`.

    Batches are those of :class:`pairbench.training.fleet.FleetTrainer`. TRL takes hard labels only,
    so that labels other than 0 and 1, such as ties, are left out. Trained weights are in float32;
    with a reference in bfloat16 the computations are in bfloat16 (autocast).

    Under ``accelerate launch``, each process trains on its part of every batch, and all end with
    the same policy. Where batches are split, among processes or by ``accumulation``, a smaller last
    batch is filled up with its labels again.

    Attributes:
        reference: π_ref.
        recipe: loss, optimiser and order of batches.
        ridge: λ of designs' estimates; the model is trained without a ridge.
        ends: whether the EOS token belongs to a completion. TRL appends it; where it does not
            belong, all prompts and all completions must be of one length, so that it can be cut.
        accumulation: the number of parts of a batch that are read one after the other, to save
            memory.
    """

    reference: Checkpoint
    recipe: Recipe
    ridge: float
    ends: bool = True
    accumulation: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, accumulation=self.accumulation)
        self._part_size(processes=1)

    def fit(self, pool: Pool, beta: float, pairs: Pairs, labels: Array) -> LanguageModelPolicy:
        """Train the policy on the labels; return π_ref if there are none."""
        return self.fit_with_losses(pool, beta, pairs, labels).policy

    def fit_with_losses(
        self, pool: Pool, beta: float, pairs: Pairs, labels: Array
    ) -> TrainingResult:
        """Train the policy and return it with the loss of each batch.

        Args:
            pool: the pool that the pairs index, with texts.
            beta: β, reward units per nat.
            pairs: ``(n, 3)``.
            labels: ``(n,)``; those other than 0 and 1 are left out.

        Raises:
            InvalidParameter: If TRL is not installed, the EOS token cannot be cut, batches cannot
                be split into equal parts, or the model is sharded over the processes.
            InvalidPool: If the pool has no texts, or texts are empty or too long.
        """
        hard = (labels == 0) | (labels == 1)
        max_length = self._max_length(pool)
        if not hard.any():
            return TrainingResult(LanguageModelPolicy(self.reference, self.ends), np.empty(0))
        try:
            import datasets
            import trl  # noqa: F401  # needed below
        except ImportError as error:
            raise InvalidParameter("TRL is not installed: pip install 'pairbench[llm]'.") from error
        _check_device(self.reference.device)
        bars = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            with tempfile.TemporaryDirectory() as folder, silence_transformers():
                trainer = self._make_trainer(
                    folder, pool, beta, pairs[hard], labels[hard], max_length
                )
                trainer.train()
        finally:
            if not bars:
                datasets.enable_progress_bars()
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        model = _unwrap(trainer.model, self.recipe)
        checkpoint = replace(self.reference, model=model.eval(), revision="trained")
        return TrainingResult(LanguageModelPolicy(checkpoint, self.ends), np.array(losses))

    def _make_trainer(
        self,
        folder: str,
        pool: Pool,
        beta: float,
        pairs: Pairs,
        labels: Array,
        max_length: int | None,
    ) -> Any:
        """Build TRL's trainer on hard labels."""
        from datasets import Dataset
        from trl import DPOTrainer  # type: ignore[attr-defined]  # it is lazy

        settings = self._settings(folder, beta, max_length)
        processes = settings.world_size
        settings.per_device_train_batch_size = self._part_size(processes)
        rows = self._rows(pool, pairs, labels, processes)
        trainer = DPOTrainer(
            copy_for_training(self.reference, self.recipe),
            # With adapters, TRL's reference is the model without them.
            ref_model=None
            if self.recipe.lora_rank
            else copy_for_training(self.reference, Recipe()),
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=self.reference.tokenizer,
        )
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise InvalidParameter(
                "each process must hold all of the model, but accelerate is configured to shard "
                "it by FSDP or DeepSpeed. Launch with --multi_gpu instead."
            )
        _silence(trainer)
        return trainer

    def _settings(self, folder: str, beta: float, max_length: int | None) -> Any:
        """Build TRL's settings, all but the batch size of a process."""
        from trl import DPOConfig  # type: ignore[attr-defined]  # it is lazy

        device, recipe = self.reference.device, self.recipe
        precision = _mixed_precision(self.reference)
        settings = DPOConfig(
            output_dir=folder,
            beta=beta,
            gradient_accumulation_steps=self.accumulation,
            num_train_epochs=1,  # the rows repeat the labels for all epochs, in order
            train_sampling_strategy="sequential",
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="linear",
            max_grad_norm=recipe.max_grad_norm,
            max_length=max_length,
            truncation_mode="keep_start",
            seed=recipe.seed,
            use_cpu=device.type == "cpu",
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            activation_checkpointing=False,
            dataloader_pin_memory=False,
            disable_dropout=True,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            **_loss_settings(recipe),
        )
        settings.mixed_precision = precision  # overrides the setting of ``accelerate launch``
        settings._n_gpu = min(settings.n_gpu, 1)  # one process would use all visible GPUs otherwise
        return settings

    def _part_size(self, processes: int) -> int:
        """Return the number of labels of a batch that each process reads at once."""
        size, parts = self.recipe.batch_size, processes * self.accumulation
        if size % parts:
            raise InvalidParameter(
                f"batch_size must be a multiple of accumulation × processes, {self.accumulation} × "
                f"{processes}, so that all parts of a batch are of one size; got {size}."
            )
        return size // parts

    def _rows(
        self, pool: Pool, pairs: Pairs, labels: Array, processes: int
    ) -> list[dict[str, str]]:
        """Build the data set in TRL's columns, with a row for each label of each epoch."""
        assert pool.prompts is not None
        assert pool.texts is not None
        order, size = self.recipe.order(len(pairs)), self.recipe.batch_size
        if processes * self.accumulation > 1 and (rest := len(order) % size):
            # The loss of a batch is the mean of its parts' means, which must be of one size.
            order = np.concatenate([order[:-rest], np.resize(order[-rest:], size)])
        rows = []
        for index in order.tolist():
            prompt, first, second = pairs[index].tolist()
            chosen, rejected = (first, second) if labels[index] else (second, first)
            texts = pool.texts[prompt]
            rows.append(
                {
                    "prompt": pool.prompts[prompt],
                    "chosen": texts[chosen],
                    "rejected": texts[rejected],
                }
            )
        return rows

    def _max_length(self, pool: Pool) -> int | None:
        """Return the length at which TRL truncates texts, to cut the EOS token if need be."""
        tokens = tokenize_pool(
            pool, self.reference.tokenizer, self.reference.context, ends=self.ends
        )
        if self.ends:
            return self.reference.context
        not_empty = tokens.completions[:, :, 0] >= 0
        if (tokens.prompts < 0).any() or (tokens.completions[not_empty] < 0).any():
            raise InvalidParameter(
                "TRL ends completions with the EOS token, which can only be cut off where all "
                "prompts and all completions are of one length. Train with the fleet backend, or "
                "let the EOS token belong to completions (ends=True)."
            )
        return int(tokens.prompts.shape[1] + tokens.completions.shape[2])


def _check_device(device: "torch.device") -> None:
    """Raise unless the model is on the GPU on which TRL trains in this process, or on the CPU."""
    rank = int(os.environ.get("LOCAL_RANK") or 0)
    if device.type == "cuda" and (device.index or 0) != rank:
        raise InvalidParameter(
            f"TRL trains on GPU {rank} here, but the model is on {str(device)!r}. Take device "
            f"'cuda'; CUDA_VISIBLE_DEVICES={device.index} lets a process see that GPU only."
        )


def _mixed_precision(reference: Checkpoint) -> str:
    """Return accelerate's name of the precision of computations."""
    import torch

    names = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    precision = names.get(reference.model.dtype, "no")
    # TRL has no float16 on the CPU.
    return "no" if precision == "fp16" and reference.device.type == "cpu" else precision


def _unwrap(model: Any, recipe: Recipe) -> Any:
    """Merge adapters into a trained model, and remove the wrappers of TRL and accelerate."""
    if recipe.lora_rank:
        # Upcast first: the updates of adapters are below the precision of bfloat16.
        model = upcast_model(model).merge_and_unload()
    # The wrapped methods in a copy of the model would call this model.
    vars(model).pop("forward", None)
    vars(model).pop("_original_forward", None)
    return model


def _loss_settings(recipe: Recipe) -> dict[str, Any]:
    """Translate the loss into TRL's settings."""
    epsilon = recipe.flip_rate
    if recipe.loss == "cdpo":
        # TRL's sigmoid loss takes no flip rate. With A and B the losses of "first preferred" and
        # "second preferred", cDPO's loss is (1−ε) A + ε B = 2 (1−ε) A − (1−2ε) R, where
        # R = [(1−ε) A − ε B] / (1−2ε) is rDPO's.
        return {
            "loss_type": ["sigmoid", "robust"],
            "loss_weights": [2 * (1 - epsilon), -(1 - 2 * epsilon)],
            "label_smoothing": epsilon,
        }
    names = {"dpo": "sigmoid", "ipo": "ipo", "rdpo": "robust"}
    smoothing = epsilon if recipe.loss == "rdpo" else 0.0
    return {"loss_type": [names[recipe.loss]], "label_smoothing": smoothing}


def _silence(trainer: Any) -> None:
    """Stop the trainer from printing."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
