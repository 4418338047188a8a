"""Real completions: AlpacaEval's 805 instructions, answered by 57 models.

The reward is the log-odds that AlpacaEval 2's GPT-4-turbo annotator prefers a completion to the
fixed baseline's (gpt4_1106_preview), over a temperature T. **A label for two completions of one
prompt is therefore derived**, σ((l₁ − l₂)/T): only completion-versus-baseline was annotated. The
pool is not part of this project; the data carries CC BY-NC 4.0 and the model providers' terms.

Source: Li et al. 2023, *AlpacaEval*, github.com/tatsu-lab/alpaca_eval; annotator: Dubois et al.
2024, arXiv 2404.04475.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pairbench import World, register_env
from pairbench.errors import InvalidData
from pairbench.pool.features import STYLE_NAMES, centre
from pairbench.worlds.data import Arrays, Dataset, load_arrays, register_dataset
from pairbench.worlds.recorded_pools import RecordedPool, check_arrays, split_prompts, text_arrays

NAME = "alpaca-eval"
BASELINE = "gpt4_1106_preview"
ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
MODELS = """
    FuseChat-Gemma-2-9B-Instruct FuseChat-Llama-3.1-8B-Instruct FuseChat-Llama-3.2-1B-Instruct
    FuseChat-Llama-3.2-3B-Instruct FuseChat-Qwen-2.5-7B-Instruct Mixtral-8x7B-Instruct-v0.1_concise
    OpenHermes-2.5-Mistral-7B Qwen-14B-Chat alpaca-7b alpaca-7b_concise alpaca-7b_verbose
    alpaca-farm-ppo-human alpaca-farm-ppo-sim-gpt4-20k baize-v2-13b chatglm2-6b claude claude-2
    claude-2.1 claude-2.1_concise claude-instant-1.2 falcon-40b-instruct falcon-7b-instruct
    gemma-2b-it gemma-7b-it gpt-3.5-turbo-0301 gpt-3.5-turbo-1106 gpt-3.5-turbo-1106_concise
    gpt-3.5-turbo-1106_verbose gpt35_turbo_instruct gpt4_0613_concise gpt4_1106_preview gpt4_gamed
    humpback-llama2-70b jina-chat minichat-3b minotaur-13b nous-hermes-13b oasst-rlhf-llama-33b
    oasst-sft-llama-33b oasst-sft-pythia-12b openbuddy-falcon-40b-v9 openbuddy-llama-30b-v7.1
    openbuddy-llama2-13b-v11.1 openbuddy-llama2-70b-v10.1 phi-2 phi-2-sft pythia-12b-mix-sft
    text_davinci_001 text_davinci_003 ultralm-13b vicuna-13b vicuna-13b-v1.5
    vicuna-13b-v1.5-togetherai vicuna-7b vicuna-7b-v1.3 vicuna-7b-v1.5 wizardlm-13b
""".split()


@register_env("pairbench/AlpacaEval57-v1")
@dataclass(frozen=True)
class AlpacaEval57(RecordedPool):
    """Choice among pairs of real completions, the answers of 57 models to each instruction.

    **What this diagnoses.** Behaviour on real features and rewards: near-duplicates, outliers,
    rewards that the features explain only in part (the score reports the floor), and far more pairs
    than labels.

    **Known optimum.** The optimal policy is exact; the best design is unknown, since the reward is
    not linear in the features.

    **Pool.** Features are 20 of style and 64 of words (LSA), centred within each prompt, scaled to
    equal variance on the training prompts, and to E‖φ‖² = 1 in all, so that a ridge of λ says that
    rewards have variance 1/λ a priori; the reference policy is uniform over the models.
    Prompts are split 600/205 by the seed, in proportion over the five sources of instructions.
    Labels are derived, see the module docstring. Lengths are characters / 4.

    **Arguments.**

    - ``temperature``: T, of the labels and the reward. 1.6 fits the agreement of two annotations of
      the same completions; 4 to 8 give the 63 to 72 % agreement of people with one another.
    - ``residual``: subtract from the reward what log length explains within prompts, by least
      squares on the training prompts: a harder target.
    - ``beta``: β, reward units per nat.
    - ``ridge``: λ of the fit.
    - ``trainer``: how labels are turned into a policy: ``"dpo"``, or a trainer for flipped labels,
      for ties, with a squared loss or with optimism, see :func:`pairbench.make_trainer`.
      Predictions and the design efficiency are of ``"dpo"``.

    **Version history.** v1: first.
    """

    dataset = NAME

    temperature: float = 4.0
    residual: bool = False

    def __post_init__(self) -> None:
        self.check_positive("temperature")
        super().__post_init__()

    def world(self, seed: int) -> World:
        """Split the prompts, scale the features, and divide the rewards by the temperature."""
        data = load_arrays(NAME)
        split = split_prompts(data["dataset"], 600 / 805, np.random.default_rng(seed))
        mask, train = data["mask"], split[0]
        reward = np.where(mask, data["logit"], 0.0).astype(np.float64)
        if self.residual:
            length, logit = centre(np.log1p(data["n_chars"]), mask), centre(reward, mask)
            slope = np.sum((length * logit)[train]) / np.sum(length[train] ** 2)
            reward = reward - slope * length
        return self.build_world(data, reward / self.temperature, split, seed)


def _build(folder: Path) -> Arrays:
    """Read ``results/*/model_outputs.json`` and the annotations beside them."""
    results = folder / "results"
    missing = [m for m in MODELS if not (results / m / "model_outputs.json").is_file()]
    if missing:
        raise InvalidData(
            f"{results} holds no model_outputs.json of {len(missing)} of the {len(MODELS)} models: "
            f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}. PATH must be a clone of "
            "github.com/tatsu-lab/alpaca_eval."
        )
    prompts = _records(results / BASELINE / "model_outputs.json")
    index = {key: i for i, (key, _) in enumerate(_keyed(prompts))}
    shape = (len(prompts), len(MODELS))
    logit, texts = np.full(shape, np.nan), np.full(shape, "", dtype=object)
    mask = np.zeros(shape, dtype=np.bool_)
    for j, model in enumerate(MODELS):
        has_output = np.zeros(len(prompts), dtype=np.bool_)
        for key, record in _keyed(_records(results / model / "model_outputs.json")):
            if key in index:
                texts[index[key], j] = record.get("output") or ""
                has_output[index[key]] = True
        if model == BASELINE:
            logit[:, j] = 0.0
        else:
            for key, record in _keyed(_records(results / model / ANNOTATOR / "annotations.json")):
                if key in index and (preference := record.get("preference")) is not None:
                    if not isinstance(preference, int | float) or not 1 <= preference <= 2:
                        raise InvalidData(
                            f"{model}: a preference is a number from 1 to 2, got {preference!r}."
                        )
                    # The annotator's probability is stored to 1e-10; beyond 1e-9 it is rounding.
                    p = np.clip(preference - 1, 1e-9, 1 - 1e-9)
                    logit[index[key], j] = np.log(p) - np.log1p(-p)
        mask[:, j] = has_output & np.isfinite(logit[:, j])
    return {
        "models": np.array(MODELS),
        "prompts": np.array([str(i) for i in range(len(prompts))]),
        "dataset": np.array([str(record.get("dataset", "")) for record in prompts]),
        "style_names": np.array(STYLE_NAMES),
        "logit": np.where(mask, logit, np.nan).astype(np.float32),
        **text_arrays(texts, mask, dim=64),
    }


def _records(file: Path) -> list[dict[str, Any]]:
    """Read a JSON list of records with an instruction."""
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidData(f"cannot read {file}: {error}.") from error
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and "instruction" in record for record in records
    ):
        raise InvalidData(f"{file} is no list of records with an 'instruction'.")
    return records


def _keyed(
    records: list[dict[str, Any]],
) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """Yield records with a key, the instruction and its occurrence, as some occur twice."""
    occurrence: dict[str, int] = {}
    for record in records:
        instruction = str(record["instruction"])
        occurrence[instruction] = occurrence.get(instruction, -1) + 1
        yield (instruction, occurrence[instruction]), record


register_dataset(
    Dataset(
        NAME,
        "github.com/tatsu-lab/alpaca_eval",
        check=partial(check_arrays, scores=["logit"], groups=["dataset"]),
        build=_build,
    )
)
