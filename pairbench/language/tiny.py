"""Small models of common architectures with random weights, in the Hugging Face format.

Saved by ``save_pretrained``, they load like any other model. They replace large models where no
weights can be downloaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairbench.errors import UnknownName, unknown_name_error
from pairbench.language.checkpoints import silence_transformers

PAD, BEGIN, END = "<pad>", "<s>", "</s>"
_CLASSES = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "distilbert": ("DistilBertConfig", "DistilBertForSequenceClassification"),
    "llama-classifier": ("LlamaConfig", "LlamaForSequenceClassification"),
}


def word_tokenizer(words: Sequence[str], context: int = 512) -> Any:
    """Build a tokenizer of words separated by white space, with pad, BOS and EOS tokens.

    Args:
        words: the vocabulary; ids follow those of the three special tokens.
        context: maximum number of tokens of a text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [PAD, BEGIN, END, *words]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _fast(backend, context)


def byte_tokenizer(context: int = 512) -> Any:
    """Build a tokenizer of bytes, which accepts any text, with pad, BOS and EOS tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    names = [PAD, BEGIN, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _fast(backend, context)


def tiny_model(
    architecture: str,
    tokenizer: Any,
    *,
    width: int = 32,
    layers: int = 2,
    heads: int = 2,
    labels: int = 1,
    seed: int = 0,
) -> Any:
    """Build a model with random weights.

    Args:
        architecture: ``"gpt2"``, ``"gpt_neox"``, ``"llama"`` or ``"qwen2"``, or a classifier,
            ``"distilbert"`` or ``"llama-classifier"``.
        tokenizer: the model's tokenizer.
        width: size of the hidden states; the feed-forward layers are four times as wide.
        layers: number of layers.
        heads: number of attention heads.
        labels: number of a classifier's outputs.
        seed: seed of the weights.

    Raises:
        UnknownName: If there is no such architecture.
    """
    import torch
    import transformers

    if architecture not in _CLASSES:
        raise unknown_name_error(UnknownName, "architecture", architecture, _CLASSES)
    config_class, model_class = _CLASSES[architecture]
    context = int(tokenizer.model_max_length)
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": context,
    }
    renamed_sizes = {
        "gpt2": {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": context},
        "distilbert": {
            "dim": width,
            "n_layers": layers,
            "n_heads": heads,
            "hidden_dim": 4 * width,
            "max_position_embeddings": context,
        },
        "qwen2": sizes | {"num_key_value_heads": heads},
    }
    config = getattr(transformers, config_class)(
        **renamed_sizes.get(architecture, sizes),
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **({"num_labels": labels} if "Classification" in model_class else {}),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU, not of GPUs
        return getattr(transformers, model_class)(config).eval()


def save_model(folder: Path, model: Any, tokenizer: Any) -> str:
    """Save model and tokenizer in one folder in the Hugging Face format; return the folder."""
    with silence_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def _fast(backend: Any, context: int) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        model_max_length=context,
    )
