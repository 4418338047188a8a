"""Worlds with a language-model policy that is scored by sampling from it.

Where a language is not finite, J(π) = E_π[r* − β log π/π_ref] is estimated by completions drawn
from π for each held-out prompt, and J(π*) = β E_x log E_π_ref exp(r*/β) by many more from π_ref:

- The estimate of J(π) is unbiased. log π/π_ref is computed for the sampled tokens, including the
  end token, so that a completion truncated at the maximal length is an outcome like any other.
- J(π*) is estimated by the jackknife. β times the logarithm of a mean of R draws is biased
  downwards by β v/2R to first order, v being the variance of exp(r*/β) over its squared mean. The
  jackknife removes this term and leaves one of order 1/R² (Quenouille 1956; Miller, *Biometrika*
  1974); its pseudo-values give the variance. Where v is not small compared with R, because the best
  completions are too rare to be drawn, the estimate remains too low; ``Sampled.effective`` shows
  this.

Random numbers are determined by the seed, the prompt and the index of the draw, so that policies
are compared with common random numbers.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import rfc8785
from numpy.typing import NDArray
from scipy.special import log_softmax

from pairbench._util.cache import cache_folder
from pairbench._util.files import seal, unseal, write_atomic
from pairbench.errors import InvalidParameter
from pairbench.information.fisher import policy_covariance
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.policy import LanguageModelPolicy
from pairbench.language.rewards import Texts
from pairbench.language.sampling import (
    Sampling,
    TransformersSampler,
    completion_text,
    end_token_ids,
    stream_ids,
)
from pairbench.language.tokens import Tokens
from pairbench.oracles.annotators import Annotator
from pairbench.oracles.stages import AnnotatorContext
from pairbench.policies import Policy
from pairbench.pool.pool import Pairs, Pool
from pairbench.scoring.exact import best_in_class, gap
from pairbench.scoring.sampled import (
    LogMean,
    log_mean_exp,
    mean_interval,
    sample_means,
    share_interval,
    win_probability,
)
from pairbench.scoring.score import SampledScore, Score
from pairbench.stats.bootstrap import Estimate
from pairbench.worlds.world import World

Array = NDArray[np.float64]
Reward = Callable[[Texts], Array]
"""r* of prompts with their completions, ``(n,)`` reward units."""

_BATCH_SIZE = {"cpu": 64, "cuda": 512}  # completions that are sampled in parallel
_DRAWS_PER_FILE = 2**12  # draws per cache file


class Draws(NamedTuple):
    """Completions drawn from a language model, m for each prompt.

    Attributes:
        tokens: the sampled tokens, with the end token unless truncated.
        texts: the completions, n lists of m.
    """

    tokens: Tokens
    texts: list[list[str]]


def draw_completions(
    checkpoint: Checkpoint, prompts: Sequence[str], numbers: range, sampling: Sampling
) -> Draws:
    """Draw completions from a language model.

    Args:
        checkpoint: the model.
        prompts: n texts.
        numbers: indices of each prompt's draws, which determine their random numbers.
        sampling: maximal length and seed.

    Raises:
        InvalidParameter: If the model has several end tokens, or a prompt leaves no room for the
            completion in the context.
    """
    tokenizer, m = checkpoint.tokenizer, len(numbers)
    if (ends := end_token_ids(checkpoint)) != [tokenizer.eos_token_id]:
        raise InvalidParameter(
            f"{checkpoint.name!r} must have one token that ends a completion, the tokenizer's EOS, "
            f"so that completions can be scored; it has {ends}. Set the same eos_token_id in its "
            "tokenizer and its generation_config.json."
        )
    heads: list[list[int]] = tokenizer(list(prompts), verbose=False)["input_ids"]
    longest = max(map(len, heads))
    if longest + sampling.max_tokens + 1 > checkpoint.context:
        raise InvalidParameter(
            f"a prompt has {longest} tokens; with {sampling.max_tokens} of a completion and an end "
            f"token they are more than the {checkpoint.context} that {checkpoint.name!r} reads. "
            "Take shorter prompts, or fewer max_tokens."
        )
    sampler = TransformersSampler(checkpoint, sampling, _BATCH_SIZE[checkpoint.device.type])
    samples = sampler([head for head in heads for _ in numbers], stream_ids(prompts, numbers))
    prompt_ids = np.full((len(heads), longest), -1)
    completions = np.full((len(heads), m, sampling.max_tokens + 1), -1)
    texts: list[list[str]] = []
    for x, head in enumerate(heads):
        prompt_ids[x, longest - len(head) :] = head
        row = samples[x * m : (x + 1) * m]
        for k, sample in enumerate(row):
            ids = [*sample.ids, *ends] if sample.finished else sample.ids
            completions[x, k, : len(ids)] = ids
        texts.append([completion_text(tokenizer, head, sample.ids) for sample in row])
    return Draws(Tokens(prompt_ids, completions), texts)


def draw_cached_texts(
    checkpoint: Checkpoint, prompts: Sequence[str], count: int, sampling: Sampling
) -> list[list[str]]:
    """Draw completions of prompts, or load them from the cache; n lists of ``count`` texts.

    The cache folder ``draws`` holds a file per few prompts, named by a hash of all inputs, so that
    an interrupted call can be resumed.

    Args:
        checkpoint: the model.
        prompts: n texts.
        count: number of draws per prompt.
        sampling: maximal length and seed.
    """
    texts: list[list[str]] = []
    size = max(1, _DRAWS_PER_FILE // count)
    for start in range(0, len(prompts), size):
        batch = list(prompts[start : start + size])
        settings = {
            "model": checkpoint.revision,
            "dtype": str(checkpoint.model.dtype),
            "prompts": batch,
            "count": count,
            **asdict(sampling),
        }
        digest = hashlib.sha256(rfc8785.dumps(settings)).hexdigest()
        path = cache_folder("draws") / f"{digest}.json"
        try:
            texts += unseal(path.read_bytes())["texts"]
        except (FileNotFoundError, ValueError):  # absent or damaged
            new = draw_completions(checkpoint, batch, range(count), sampling).texts
            write_atomic(path, seal({"texts": new}))
            texts += new
    return texts


@dataclass(frozen=True, eq=False)
class SampledWorld(World):
    """A world whose language-model policy is scored by draws from it; see the module.

    The pool consists of draws from the reference, and so does the held-out pool, with many more per
    prompt. There π_ref gives all draws equal weight, so that averages over them estimate averages
    over all completions. θ* and C(θ*), which rate designs and which controls see, are those of the
    log-linear fit to the rewards of the pool. The floor is unknown.

    Attributes:
        reference: π_ref.
        reward: r*, of any texts.
        sampling: maximal length and seed of draws from a policy.
        draws: number of draws from a policy per held-out prompt, 2 or more.
        evaluator: an annotator that compares draws from the policy with draws from the reference.
        compared: number of comparisons per held-out prompt.
    """

    reference: Checkpoint = field(kw_only=True)
    reward: Reward = field(kw_only=True)
    sampling: Sampling = field(kw_only=True)
    draws: int = field(kw_only=True)
    evaluator: Annotator | None = field(default=None, kw_only=True)
    compared: int = field(default=1, kw_only=True)
    _scores: "WeakKeyDictionary[Policy, SampledScore]" = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    @cached_property
    def best_in_class(self) -> tuple[Array, float]:
        """θ* of the pool, and 0 in place of the unknown floor."""
        return best_in_class(self.pool, self.truth.rewards, self.beta)[0], 0.0

    @cached_property
    def best_covariance(self) -> Array:
        """C(θ*) of the pool, ``(d, d)``."""
        return policy_covariance(self.pool, self.best_in_class[0], self.beta)

    @cached_property
    def optimum(self) -> LogMean:
        """Estimate of J(π*) of each held-out prompt from draws of the reference."""
        return log_mean_exp(self.truth.held_out, self.beta)

    def gap(self, policy: Policy) -> float:
        """Estimate the policy's gap on the held-out prompts, clipped at 0; reward units."""
        return max(0.0, self.sampled(policy).gap.value)

    def score(self, policy: Policy, pairs: Pairs) -> Score:
        """Compute all figures of merit of a policy trained on labels of ``pairs``."""
        sampled, value = self.sampled(policy), self.gap(policy)
        return Score(
            gap=value,
            pool_gap=self._pool_gap(policy),
            floor=0.0,
            estimation=value,
            win_rate=sampled.win_rate.value,
            estimation_error=None,
            design_efficiency=self.design_efficiency(pairs),
            sampled=sampled,
        )

    def sampled(self, policy: Policy) -> SampledScore:
        """Estimate a policy's figures of merit by sampling; cached by policy.

        Raises:
            InvalidParameter: If the policy is no language model.
            TrainingFailed: If its logits are not finite.
        """
        if policy not in self._scores:
            self._scores[policy] = self._estimate(_check_language_model(policy))
        return self._scores[policy]

    def _estimate(self, policy: LanguageModelPolicy) -> SampledScore:
        prompts, beta, optimum = self.held_out.prompts or (), self.beta, self.optimum
        # Indices after those of the reference's draws, so that both are independent.
        first = self.held_out.n_completions
        numbers = range(first, first + self.draws)
        tokens, texts = draw_completions(policy.checkpoint, prompts, numbers, self.sampling)
        log_ratio = log_likelihoods(policy.checkpoint.model, tokens)
        log_ratio = log_ratio - log_likelihoods(self.reference.model, tokens)
        flat = [(prompt, text) for prompt, row in zip(prompts, texts, strict=True) for text in row]
        rewards = self.reward(flat).reshape(log_ratio.shape)
        value = sample_means(rewards - beta * log_ratio)
        loss = optimum.values - value.means, optimum.variances + value.variances
        return SampledScore(
            gap=mean_interval(*loss),
            value=mean_interval(*value),
            best=mean_interval(optimum.values, optimum.variances),
            reward=mean_interval(*sample_means(rewards)),
            kl=mean_interval(*sample_means(log_ratio)),
            win_rate=share_interval(*win_probability(rewards, self.truth.held_out)),
            judged=self._evaluate(texts, rewards),
            effective=float(optimum.effective.mean()),
        )

    def _evaluate(self, texts: list[list[str]], rewards: Array) -> Estimate | None:
        """Estimate the evaluator's win rate over the reference; None without one or its answers."""
        if self.evaluator is None:
            return None
        n, m = self.held_out.n_prompts, self.compared
        reference_texts = self.held_out.texts or ()
        compared = [[*y[:m], *y_ref[:m]] for y, y_ref in zip(texts, reference_texts, strict=True)]
        pool = Pool(np.zeros((n, 2 * m, 1)), prompts=self.held_out.prompts, texts=compared)
        compared_rewards = np.concatenate([rewards[:, :m], self.truth.held_out[:, :m]], axis=1)
        scene = AnnotatorContext(pool, compared_rewards, None, self.sampling.seed)
        x, k = np.indices((n, m)).reshape(2, -1)
        pairs = np.stack([x, k, m + k], axis=1)
        oracle = self.evaluator.oracle(scene)
        labels = oracle.label(pairs, np.zeros(n * m, dtype=np.int64)).reshape(n, m)
        answered = ~np.isnan(labels)
        counts = answered.sum(axis=1)
        judged = counts > 0
        if not judged.any():
            return None
        shares = np.where(answered, labels, 0.0).sum(axis=1)[judged] / counts[judged]
        # Too few comparisons for a variance per prompt; that between prompts is an upper bound.
        variance = shares.var(ddof=1) if len(shares) > 1 else 0
        return share_interval(shares, np.full(len(shares), variance))

    def _pool_gap(self, policy: Policy) -> float:
        """Compute the gap on the prompts of the pool, over its draws with equal weights."""
        log_ratio = _check_language_model(policy).log_likelihoods(self.pool) - self._log_ref
        log_probs = log_softmax(np.where(self.pool.valid, log_ratio, 0) + self.pool.log_ref, axis=1)
        return gap(log_probs, self.pool, self.truth.rewards, self.beta)

    @cached_property
    def _log_ref(self) -> Array:
        """log π_ref of the pool's completions, 0 where not valid."""
        values = LanguageModelPolicy(self.reference).log_likelihoods(self.pool)
        return np.where(self.pool.valid, values, 0.0)


def _check_language_model(policy: Policy) -> LanguageModelPolicy:
    """Return the policy if it is a language model, otherwise raise InvalidParameter."""
    if not isinstance(policy, LanguageModelPolicy):
        raise InvalidParameter(
            "this world scores completions drawn from a policy: expected a LanguageModelPolicy, "
            f"got {type(policy).__name__}."
        )
    return policy
