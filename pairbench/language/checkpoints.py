"""Models and tokenizers in the Hugging Face format, by id or folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairbench.errors import InvalidParameter, did_you_mean

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")
DEVICE, DTYPE = "PAIRBENCH_DEVICE", "PAIRBENCH_DTYPE"
"""Environment variables, which worker processes inherit: where models run, and in which numbers."""
_CLASSIFIER = "the reward model or classifier"
_DEVICES = "device must be 'auto', 'cpu', 'cuda' or 'cuda:1', got {!r}."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with its tokenizer.

    Attributes:
        name: the id or folder that it was loaded from.
        model: a ``transformers.PreTrainedModel`` in evaluation mode.
        tokenizer: a ``transformers.PreTrainedTokenizerBase``; it has a token to pad with, and pads
            on the right.
        revision: the hub's commit, or the SHA-256 of the folder's files: equal only where the
            model and the tokenizer are.
    """

    name: str
    model: Any
    tokenizer: Any
    revision: str

    @property
    def device(self) -> "torch.device":
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    @property
    def context(self) -> int:
        """How many tokens the model reads at most."""
        config = self.model.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None)
        # A tokenizer that knows no limit says 10³⁰.
        return min(int(positions or 2**31), int(self.tokenizer.model_max_length), 2**31)


def load_decoder(
    name: str, *, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Checkpoint:
    """A causal language model.

    Args:
        name: a Hugging Face id, or the folder of a saved model with its tokenizer.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …; if None, what ``PAIRBENCH_DEVICE`` names, or
            a GPU where there is one.
        dtype: of weights and computations, one of :data:`DTYPES`; if None, what
            ``PAIRBENCH_DTYPE`` names, or ``"auto"``: bfloat16 on a GPU, float32 elsewhere.
        revision: branch, tag or commit of a hub model.

    Raises:
        InvalidParameter: If transformers is not installed, the model cannot be loaded, the device
            is not there, weights or the tokenizer are missing, or the tokenizer has neither a pad
            nor an EOS token.
    """
    return _load("AutoModelForCausalLM", "the language model", name, device, dtype, revision)


def load_classifier(
    name: str, *, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Checkpoint:
    """A sequence classifier: a reward model, or one of sentiment.

    See :func:`load_decoder`.
    """
    auto = "AutoModelForSequenceClassification"
    return _load(auto, _CLASSIFIER, name, device, dtype, revision)


def classifier_config(name: str, *, revision: str | None = None) -> tuple[Any, str]:
    """A classifier's configuration, and the revision that its checkpoint has, without its weights.

    Args:
        name: a Hugging Face id, or the folder of a saved model with its tokenizer.
        revision: branch, tag or commit of a hub model.

    Raises:
        InvalidParameter: If transformers is not installed, or the configuration cannot be loaded.
    """
    folder = _folder(name)
    return _config(name, revision, None if folder is None else folder_digest(folder))


@lru_cache(maxsize=16)
def _config(name: str, revision: str | None, _digest: str | None) -> tuple[Any, str]:
    transformers = _transformers(_CLASSIFIER)
    with _loading(_CLASSIFIER, name) as source:
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
    return config, _revision(name, revision)


def load_encoder(
    name: str, *, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Checkpoint:
    """A model without its head, whose hidden states are what is wanted of it.

    See :func:`load_decoder`.
    """
    return _load("AutoModel", "the encoder", name, device, dtype, revision)


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files, or of a single file."""
    there = folder.iterdir() if folder.is_dir() else [folder]
    files = sorted(path for path in there if path.is_file())
    return _digest(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=64)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(f"{len(path.name)} {path.name}".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _load(
    auto: str, what: str, name: str, device: str | None, dtype: str | None, revision: str | None
) -> Checkpoint:
    place, numbers = checked_place(device, dtype)
    transformers = _transformers(what)
    import torch

    with _loading(what, name) as source:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=revision)
        model, found = getattr(transformers, auto).from_pretrained(
            source, dtype=getattr(torch, numbers), revision=revision, output_loading_info=True
        )
    # Without files, transformers makes an empty tokenizer, which reads nothing in any text.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InvalidParameter(
            f"{name!r} holds no tokenizer. Save it beside the model: "
            "tokenizer.save_pretrained(FOLDER)."
        )
    # An encoder's pooling layer, which is often missing, says nothing here.
    if auto != "AutoModel" and (missing := sorted(found["missing_keys"])):
        raise InvalidParameter(
            f"{name!r} does not hold {what}: of its weights, {len(missing)} would be random "
            f"for want of others, such as {missing[0]}. Take a model that was trained for this."
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InvalidParameter(
                f"the tokenizer of {name!r} has neither a pad nor an EOS token, so that texts of "
                "different lengths cannot share a batch. Set one and save it: "
                "tokenizer.pad_token = '…'; tokenizer.save_pretrained(FOLDER)."
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    config = model.config.get_text_config()
    pad = config.pad_token_id
    if pad is None or not 0 <= pad < config.vocab_size:  # some configurations say −1
        config.pad_token_id = tokenizer.pad_token_id
    model.to(place).eval()
    return Checkpoint(name, model, tokenizer, _revision(name, revision))


def _folder(name: str) -> Path | None:
    folder = Path(name).expanduser()
    return folder if name and folder.is_dir() else None


def _revision(name: str, revision: str | None) -> str:
    """The revision of what was just loaded."""
    from huggingface_hub import try_to_load_from_cache

    if (folder := _folder(name)) is not None:
        return folder_digest(folder)
    # The hub's files lie in a folder that is named by the commit.
    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else name


@contextmanager
def _loading(what: str, name: str) -> Iterator[str]:
    """Where to load from, without noise; whatever is wrong comes with what to do about it."""
    folder = _folder(name)
    try:
        with quiet():
            yield name if folder is None else str(folder)
    except Exception as error:  # each format and architecture has errors of its own
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        # An id has one slash at most.
        lost = folder is None and (not name or name[0] in "./~" or name.count("/") > 1)
        raise InvalidParameter(
            f"cannot load {what} {name!r}: {'there is no such folder' if lost else reason}. "
            "Expected the folder of a saved model with its tokenizer, or a Hugging Face id: "
            f"`hf download {'ID' if lost else name}` on a machine with network brings it into the "
            "cache, `--local-dir FOLDER` into a folder."
        ) from error


def checked_place(device: str | None = None, dtype: str | None = None) -> tuple[str, str]:
    """The device to use, and the dtype to use there, which is no longer ``"auto"``.

    Args:
        device: see :func:`checked_device`.
        dtype: see :func:`checked_dtype`.

    Raises:
        InvalidParameter: If the device is not there, or there is no such dtype.
    """
    place, numbers = checked_device(device), checked_dtype(dtype)
    if numbers == "auto":
        numbers = "bfloat16" if place.startswith("cuda") else "float32"
    return place, numbers


def checked_device(device: str | None = None) -> str:
    """The device to use, ``"cpu"`` or ``"cuda…"``.

    Args:
        device: what was asked for; None for ``PAIRBENCH_DEVICE``, or what is there. ``"cuda"`` in a
            process of ``accelerate launch`` is its own GPU.

    Raises:
        InvalidParameter: If it is not there.
    """
    import torch

    wanted = os.environ.get(DEVICE, "auto") if device is None else device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        wanted = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        place = torch.device(wanted)
    except RuntimeError:
        raise InvalidParameter(_DEVICES.format(wanted)) from None
    # Others do not compute in float64, and there is one CPU.
    if place.type not in ("cpu", "cuda") or (place.type == "cpu" and place.index):
        raise InvalidParameter(_DEVICES.format(wanted))
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InvalidParameter(
            f"device {wanted!r} is not there: torch sees {torch.cuda.device_count()} GPUs. "
            "Take 'cpu', or a torch built for the GPU."
        )
    return wanted


def checked_dtype(dtype: str | None = None) -> str:
    """The dtype to use, one of :data:`DTYPES`.

    Args:
        dtype: what was asked for; None for ``PAIRBENCH_DTYPE``, or ``"auto"``.

    Raises:
        InvalidParameter: If it is none of them.
    """
    wanted = os.environ.get(DTYPE, "auto") if dtype is None else dtype
    if wanted not in DTYPES:
        near = did_you_mean(wanted, DTYPES)
        raise InvalidParameter(f"dtype must be one of {', '.join(DTYPES)}, got {wanted!r}.{near}")
    return wanted


def _transformers(what: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InvalidParameter(
            f"{what} needs transformers: pip install 'pairbench[llm]'."
        ) from error
    return transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports of loading."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
