"""Loading of models and tokenizers in the Hugging Face format, by id or folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairbench._util.checks import check_one_of
from pairbench.errors import InvalidParameter

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")
DEVICE_VARIABLE = "PAIRBENCH_DEVICE"
"""Environment variable with the device on which models run; worker processes inherit it."""
DTYPE_VARIABLE = "PAIRBENCH_DTYPE"
"""Environment variable with the dtype of models; worker processes inherit it."""
_CLASSIFIER = "the reward model or classifier"
_INVALID_DEVICE = "device must be 'auto', 'cpu', 'cuda' or 'cuda:1', got {!r}."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with its tokenizer.

    Attributes:
        name: Hugging Face id or folder from which it was loaded.
        model: a ``transformers.PreTrainedModel`` in evaluation mode.
        tokenizer: a ``transformers.PreTrainedTokenizerBase`` with a pad token, which pads on the
            right.
        revision: the hub's commit, or the SHA-256 of the folder's files: equal only where model
            and tokenizer are equal.
    """

    name: str
    model: Any
    tokenizer: Any
    revision: str

    @property
    def device(self) -> "torch.device":
        """The device of the model's weights."""
        device: torch.device = self.model.device
        return device

    @property
    def context(self) -> int:
        """The context length: the maximum number of tokens of a text."""
        config = self.model.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None)
        # A tokenizer without a limit has a model_max_length of 10³⁰.
        return min(int(positions or 2**31), int(self.tokenizer.model_max_length), 2**31)


def load_decoder(
    name: str, *, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Checkpoint:
    """Load a causal language model.

    Args:
        name: a Hugging Face id, or the folder of a saved model with its tokenizer.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …; if None, the value of ``PAIRBENCH_DEVICE``,
            or else a GPU if one is available.
        dtype: of weights and computations, one of :data:`DTYPES`; if None, the value of
            ``PAIRBENCH_DTYPE``, or else ``"auto"``: bfloat16 on a GPU, float32 elsewhere.
        revision: branch, tag or commit of a hub model.

    Raises:
        InvalidParameter: If transformers is not installed, the model cannot be loaded, the device
            is not available, weights or the tokenizer are missing, or the tokenizer has neither a
            pad nor an EOS token.
    """
    return _load("AutoModelForCausalLM", "the language model", name, device, dtype, revision)


def load_classifier(
    name: str, *, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Checkpoint:
    """Load a sequence classifier: a reward model, or a classifier of sentiment, say.

    Arguments and errors are those of :func:`load_decoder`.
    """
    auto_class = "AutoModelForSequenceClassification"
    return _load(auto_class, _CLASSIFIER, name, device, dtype, revision)


def classifier_config(name: str, *, revision: str | None = None) -> tuple[Any, str]:
    """Load a classifier's configuration and its checkpoint's revision, without the weights.

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
    transformers = _import_transformers(_CLASSIFIER)
    with _loading(_CLASSIFIER, name) as source:
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
    return config, _revision(name, revision)


def load_encoder(
    name: str, *, device: str | None = None, dtype: str | None = None, revision: str | None = None
) -> Checkpoint:
    """Load a model without its head, for its hidden states.

    Arguments and errors are those of :func:`load_decoder`.
    """
    return _load("AutoModel", "the encoder", name, device, dtype, revision)


def folder_digest(folder: Path) -> str:
    """Compute the SHA-256 over the names and contents of a folder's files, or of a single file."""
    paths = folder.iterdir() if folder.is_dir() else [folder]
    files = sorted(path for path in paths if path.is_file())
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
    auto_class: str,
    role: str,
    name: str,
    device: str | None,
    dtype: str | None,
    revision: str | None,
) -> Checkpoint:
    """Load a model by one of transformers' auto classes; ``role`` names it in messages."""
    device, dtype = resolve_device_and_dtype(device, dtype)
    transformers = _import_transformers(role)
    import torch

    with _loading(role, name) as source:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=revision)
        model, info = getattr(transformers, auto_class).from_pretrained(
            source, dtype=getattr(torch, dtype), revision=revision, output_loading_info=True
        )
    _prepare_tokenizer(name, tokenizer)
    # An encoder's pooling layer, which is often missing, is not used here.
    if auto_class != "AutoModel":
        _check_weights(name, role, missing=sorted(info["missing_keys"]))
    config = model.config.get_text_config()
    pad = config.pad_token_id
    if pad is None or not 0 <= pad < config.vocab_size:  # some configurations have −1
        config.pad_token_id = tokenizer.pad_token_id
    model.to(device).eval()
    return Checkpoint(name, model, tokenizer, _revision(name, revision))


def _check_weights(name: str, role: str, missing: list[str]) -> None:
    """Raise if weights are missing, which transformers replaces by random ones."""
    if missing:
        raise InvalidParameter(
            f"{name!r} does not hold {role}: it lacks {len(missing)} weights, which would have "
            f"random values, such as {missing[0]}. Take a model that was trained for this."
        )


def _prepare_tokenizer(name: str, tokenizer: Any) -> None:
    """Let a tokenizer pad on the right, by its EOS token if it has no pad token.

    Raises:
        InvalidParameter: If it has an empty vocabulary, or neither a pad nor an EOS token.
    """
    # Without files, transformers makes a tokenizer with special tokens only.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InvalidParameter(
            f"{name!r} holds no tokenizer. Save it beside the model: "
            "tokenizer.save_pretrained(FOLDER)."
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


def _folder(name: str) -> Path | None:
    """Return the folder of that name, or None if there is none."""
    folder = Path(name).expanduser()
    return folder if name and folder.is_dir() else None


def _revision(name: str, revision: str | None) -> str:
    """Return the revision of a checkpoint that was just loaded."""
    from huggingface_hub import try_to_load_from_cache

    if (folder := _folder(name)) is not None:
        return folder_digest(folder)
    # The hub's cache has a folder for each commit, named by it.
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(cached).parent.name if isinstance(cached, str) else name


@contextmanager
def _loading(role: str, name: str) -> Iterator[str]:
    """Yield the source to load from; errors become InvalidParameter with a remedy."""
    folder = _folder(name)
    try:
        with silence_transformers():
            yield name if folder is None else str(folder)
    except Exception as error:  # each format and architecture has errors of its own
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        # An id has one slash at most.
        not_an_id = folder is None and (not name or name[0] in "./~" or name.count("/") > 1)
        raise InvalidParameter(
            f"cannot load {role} {name!r}: {'there is no such folder' if not_an_id else reason}. "
            "Expected the folder of a saved model with its tokenizer, or a Hugging Face id: "
            f"`hf download {'ID' if not_an_id else name}` on a machine with network brings it into "
            "the cache, `--local-dir FOLDER` into a folder."
        ) from error


def resolve_device_and_dtype(
    device: str | None = None, dtype: str | None = None
) -> tuple[str, str]:
    """Resolve the device and the dtype to use there; ``"auto"`` becomes a definite dtype.

    Args:
        device: as in :func:`resolve_device`.
        dtype: as in :func:`resolve_dtype`.

    Raises:
        InvalidParameter: If the device is not available, or there is no such dtype.
    """
    device, dtype = resolve_device(device), resolve_dtype(dtype)
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    return device, dtype


def resolve_device(device: str | None = None) -> str:
    """Resolve the device to use, ``"cpu"`` or ``"cuda…"``.

    Args:
        device: name of the device; None stands for the value of ``PAIRBENCH_DEVICE``, or else for
            ``"auto"``, a GPU if one is available. In a process of ``accelerate launch``,
            ``"cuda"`` stands for that process's GPU.

    Raises:
        InvalidParameter: If there is no such device.
    """
    import torch

    name = os.environ.get(DEVICE_VARIABLE, "auto") if device is None else device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        parsed = torch.device(name)
    except RuntimeError:
        raise InvalidParameter(_INVALID_DEVICE.format(name)) from None
    # Other devices do not compute in float64, and there is one CPU.
    if parsed.type not in ("cpu", "cuda") or (parsed.type == "cpu" and parsed.index):
        raise InvalidParameter(_INVALID_DEVICE.format(name))
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        raise InvalidParameter(
            f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPUs. "
            "Take 'cpu', or a torch built for the GPU."
        )
    return name


def resolve_dtype(dtype: str | None = None) -> str:
    """Resolve the dtype to use, one of :data:`DTYPES`.

    Args:
        dtype: name of the dtype; None stands for the value of ``PAIRBENCH_DTYPE``, or else for
            ``"auto"``.

    Raises:
        InvalidParameter: If there is no such dtype.
    """
    name = os.environ.get(DTYPE_VARIABLE, "auto") if dtype is None else dtype
    check_one_of(DTYPES, dtype=name)
    return name


def _import_transformers(role: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InvalidParameter(
            f"{role} needs transformers: pip install 'pairbench[llm]'."
        ) from error
    return transformers


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Suppress transformers' progress bars and reports of loading."""
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
