"""Worlds whose policy is a language model, scored by draws from it.

Where a language is not finite, J(π) = E_π[r* − β log π/π_ref] is estimated by completions drawn
from π for each held-out prompt, and J(π*) = β E_x log E_π_ref exp(r*/β) by many more from π_ref:

- the first without bias: log π/π_ref is that of the very tokens that were drawn, the end included,
  so that a completion that is cut after so many tokens is an outcome like others;
- the second by the jackknife. The logarithm of a mean of R draws is too low by β v/2R to first
  order, v being the variance of exp(r*/β) over its squared mean; the jackknife takes this term out
  and leaves one of order 1/R² (Quenouille 1956; Miller, *Biometrika* 1974), and its pseudo-values
  give the variance. Where v is no longer small beside R, because the best completions are too rare
  to be drawn, nothing can help: the estimate is too low, and ``Sampled.effective`` says so.

Random numbers belong to the seed, the prompt and the number of the draw, so that policies are
compared on common ones.
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
from scipy.special import log_softmax, logsumexp

from pairbench.cache import cache_folder
from pairbench.errors import InvalidParameter
from pairbench.files import sealed, unsealed, write_whole
from pairbench.information.fisher import policy_covariance
from pairbench.language.checkpoints import Checkpoint
from pairbench.language.likelihood import log_likelihoods
from pairbench.language.rewards import Texts
from pairbench.language.sampling import (
    Sampling,
    TransformersSampler,
    completion_text,
    end_tokens,
    streams,
)
from pairbench.language.tokens import Tokens
from pairbench.oracles.annotators import make_annotator
from pairbench.oracles.stages import Scene
from pairbench.policies import Policy
from pairbench.policies.language_model import LanguageModelPolicy
from pairbench.pool import Pairs, Pool
from pairbench.scoring import Sampled, Score, best_in_class, gap
from pairbench.stats import Estimate
from pairbench.world import World

Array = NDArray[np.float64]
Reward = Callable[[Texts], Array]
"""r* of prompts with their completions, ``(n,)`` reward units."""

_NORMAL = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution
_BATCH = {"cpu": 64, "cuda": 512}  # completions that are drawn at once
_SHARD = 2**12  # draws that are kept together


class Draws(NamedTuple):
    """Completions drawn from a language model, m for each prompt.

    Attributes:
        tokens: as they were drawn, with the one that ends them where they came to their end.
        texts: n lists of m.
    """

    tokens: Tokens
    texts: list[list[str]]


def drawn(checkpoint: Checkpoint, prompts: Sequence[str], numbers: range, how: Sampling) -> Draws:
    """Draw completions.

    Args:
        checkpoint: the model.
        prompts: texts.
        numbers: of a prompt's draws, which have random numbers by their number.
        how: length and seed.

    Raises:
        InvalidParameter: If the model has several tokens with which a completion may end, or a
            prompt leaves no room for the completion.
    """
    tokenizer, m = checkpoint.tokenizer, len(numbers)
    if (ends := end_tokens(checkpoint)) != [tokenizer.eos_token_id]:
        raise InvalidParameter(
            f"{checkpoint.name!r} must have one token that ends a completion, the tokenizer's EOS, "
            f"for what is drawn to be scored; it has {ends}. Set eos_token_id alike in its "
            "tokenizer and its generation_config.json."
        )
    heads: list[list[int]] = tokenizer(list(prompts), verbose=False)["input_ids"]
    longest = max(map(len, heads))
    if longest + how.max_tokens + 1 > checkpoint.context:
        raise InvalidParameter(
            f"a prompt has {longest} tokens, and with {how.max_tokens} of a completion and one to "
            f"end it they are more than the {checkpoint.context} that {checkpoint.name!r} reads. "
            "Take shorter prompts, or fewer max_tokens."
        )
    sampler = TransformersSampler(checkpoint, how, _BATCH[checkpoint.device.type])
    samples = sampler([head for head in heads for _ in numbers], streams(prompts, numbers))
    prompt_ids = np.full((len(heads), longest), -1)
    completions = np.full((len(heads), m, how.max_tokens + 1), -1)
    texts: list[list[str]] = []
    for x, head in enumerate(heads):
        prompt_ids[x, longest - len(head) :] = head
        own = samples[x * m : (x + 1) * m]
        for k, sample in enumerate(own):
            said = [*sample.ids, *ends] if sample.finished else sample.ids
            completions[x, k, : len(said)] = said
        texts.append([completion_text(tokenizer, head, sample.ids) for sample in own])
    return Draws(Tokens(prompt_ids, completions), texts)


def kept_texts(
    checkpoint: Checkpoint, prompts: Sequence[str], count: int, how: Sampling
) -> list[list[str]]:
    """The texts of each prompt's first draws, n lists of ``count``.

    They are kept in the cache folder ``draws`` under what they depend on, a few prompts a file, so
    that what was stopped goes on.

    Args:
        checkpoint: the model.
        prompts: texts.
        count: draws of each.
        how: length and seed.
    """
    texts: list[list[str]] = []
    size = max(1, _SHARD // count)
    for start in range(0, len(prompts), size):
        some = list(prompts[start : start + size])
        settings = {
            "model": checkpoint.revision,
            "dtype": str(checkpoint.model.dtype),
            "prompts": some,
            "count": count,
            **asdict(how),
        }
        digest = hashlib.sha256(rfc8785.dumps(settings)).hexdigest()
        path = cache_folder("draws") / f"{digest}.json"
        try:
            texts += unsealed(path.read_bytes())["texts"]
        except (FileNotFoundError, ValueError):  # not there, or damaged
            new = drawn(checkpoint, some, range(count), how).texts
            write_whole(path, sealed({"texts": new}))
            texts += new
    return texts


class LogMean(NamedTuple):
    """β log E exp(v/β), estimated from draws of v, for each of n prompts.

    Attributes:
        values: by the jackknife, ``(n,)`` in units of v.
        variances: of the values, ``(n,)``.
        effective: Kish's effective number of draws, (Σw)²/Σw² for w = exp(v/β), ``(n,)``.
    """

    values: Array
    variances: Array
    effective: Array


def log_mean_exp(draws: Array, beta: float) -> LogMean:
    """β log E exp(v/β) by the jackknife.

    Args:
        draws: of v, ``(n, R)``, R being 2 or more.
        beta: β > 0.
    """
    r = draws.shape[1]
    scaled = draws / beta
    total = logsumexp(scaled, axis=1)
    share = np.exp(scaled - total[:, None])
    # Of one draw that outweighs all others, 1 − share would be rounding: it is summed anew.
    top = np.argmax(scaled, axis=1)[:, None]
    others = scaled.copy()
    np.put_along_axis(others, top, -np.inf, axis=1)
    np.put_along_axis(share, top, 0.0, axis=1)
    without = total[:, None] + np.log1p(-share)
    np.put_along_axis(without, top, logsumexp(others, axis=1)[:, None], axis=1)
    whole, left = total - np.log(r), without - np.log(r - 1)
    mean = left.mean(axis=1)
    spread = ((left - mean[:, None]) ** 2).sum(axis=1)
    effective = np.exp(2 * total - logsumexp(2 * scaled, axis=1))
    return LogMean(beta * (r * whole - (r - 1) * mean), beta**2 * (r - 1) / r * spread, effective)


@dataclass(frozen=True, eq=False)
class SampledWorld(World):
    """A world whose policy is scored by draws from it; see the module.

    The pool is made of draws from the reference, and so is the held-out pool, of many more: there,
    π_ref gives each draw the same weight, so that averages over them are estimates of averages over
    all completions. θ* and C(θ*), by which designs are rated and which controls are told, are those
    of the pool: what the features there say of its rewards. There is no floor that is known.

    Attributes:
        reference: π_ref.
        reward: r*, of any texts.
        sampling: length and seed of draws from a policy.
        draws: from a policy for each held-out prompt, 2 or more.
        evaluator: an annotator that compares draws from the policy with draws from the reference,
            as text; see :func:`pairbench.oracles.annotators.make_annotator`.
        compared: how many of them, for each prompt.
    """

    reference: Checkpoint = field(kw_only=True)
    reward: Reward = field(kw_only=True)
    sampling: Sampling = field(kw_only=True)
    draws: int = field(kw_only=True)
    evaluator: str | None = field(default=None, kw_only=True)
    compared: int = field(default=1, kw_only=True)
    _known: "WeakKeyDictionary[Policy, Sampled]" = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    @cached_property
    def best(self) -> tuple[Array, float]:
        """θ* of the pool, and 0 for a floor that is not known."""
        return best_in_class(self.pool, self.truth.rewards, self.beta)[0], 0.0

    @cached_property
    def best_covariance(self) -> Array:
        """C(θ*) of the pool, ``(d, d)``."""
        return policy_covariance(self.pool, self.best[0], self.beta)

    @cached_property
    def optimum(self) -> LogMean:
        """J(π*) of each held-out prompt, from the reference's draws."""
        return log_mean_exp(self.truth.held_out, self.beta)

    def gap(self, policy: Policy) -> float:
        """The policy's gap on the held-out prompts as estimated, no less than 0; reward units."""
        return max(0.0, self.sampled(policy).gap.value)

    def score(self, policy: Policy, pairs: Pairs) -> Score:
        """All figures of merit of a policy trained on labels of ``pairs``."""
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

    def sampled(self, policy: Policy) -> Sampled:
        """All that is estimated of a policy, once for each policy.

        Raises:
            InvalidParameter: If it is no language model.
            TrainingFailed: If its logits are not numbers.
        """
        if policy not in self._known:
            self._known[policy] = self._sampled(_language_model(policy))
        return self._known[policy]

    def _sampled(self, policy: LanguageModelPolicy) -> Sampled:
        prompts, beta, optimum = self.held_out.prompts or (), self.beta, self.optimum
        # Other numbers than the reference's draws have, whose chance is to be independent.
        first = self.held_out.n_completions
        numbers = range(first, first + self.draws)
        tokens, texts = drawn(policy.checkpoint, prompts, numbers, self.sampling)
        log_ratio = log_likelihoods(policy.checkpoint.model, tokens)
        log_ratio = log_ratio - log_likelihoods(self.reference.model, tokens)
        flat = [(prompt, text) for prompt, row in zip(prompts, texts, strict=True) for text in row]
        rewards = self.reward(flat).reshape(log_ratio.shape)
        value = _means(rewards - beta * log_ratio)
        loss = optimum.values - value.means, optimum.variances + value.variances
        return Sampled(
            gap=_interval(*loss),
            value=_interval(*value),
            best=_interval(optimum.values, optimum.variances),
            reward=_interval(*_means(rewards)),
            kl=_interval(*_means(log_ratio)),
            win_rate=_share(*wins(rewards, self.truth.held_out)),
            judged=self._judged(texts, rewards),
            effective=float(optimum.effective.mean()),
        )

    def _judged(self, texts: list[list[str]], rewards: Array) -> Estimate | None:
        """What the evaluator thinks, or None where there is none, or it has no answer."""
        if self.evaluator is None:
            return None
        n, m = self.held_out.n_prompts, self.compared
        theirs = self.held_out.texts or ()
        both = [[*own[:m], *other[:m]] for own, other in zip(texts, theirs, strict=True)]
        pool = Pool(np.zeros((n, 2 * m, 1)), prompts=self.held_out.prompts, texts=both)
        known = np.concatenate([rewards[:, :m], self.truth.held_out[:, :m]], axis=1)
        scene = Scene(pool, known, None, self.sampling.seed)
        x, k = np.indices((n, m)).reshape(2, -1)
        pairs = np.stack([x, k, m + k], axis=1)
        oracle = make_annotator(self.evaluator).oracle(scene)
        labels = oracle.label(pairs, np.zeros(n * m, dtype=np.int64)).reshape(n, m)
        answered = ~np.isnan(labels)
        some = answered.any(axis=1)
        if not some.any():
            return None
        shares = np.where(answered, labels, 0.0).sum(axis=1)[some] / answered.sum(axis=1)[some]
        # Too few are compared for each prompt's own variance: that between prompts is no smaller.
        return _share(shares, np.full(len(shares), shares.var(ddof=1) if some.sum() > 1 else 0))

    def _pool_gap(self, policy: Policy) -> float:
        """The gap on the pool's prompts, over the pool's draws, of which each counts alike."""
        log_ratio = _language_model(policy).log_likelihoods(self.pool) - self._log_ref
        log_probs = log_softmax(np.where(self.pool.valid, log_ratio, 0) + self.pool.log_ref, axis=1)
        return gap(log_probs, self.pool, self.truth.rewards, self.beta)

    @cached_property
    def _log_ref(self) -> Array:
        """log π_ref of the pool's completions, 0 where there is none."""
        values = LanguageModelPolicy(self.reference).log_likelihoods(self.pool)
        return np.where(self.pool.valid, values, 0.0)


class Means(NamedTuple):
    """Estimates for each of n prompts.

    Attributes:
        means: ``(n,)``.
        variances: of the means, ``(n,)``.
    """

    means: Array
    variances: Array


def wins(rewards: Array, reference: Array) -> Means:
    """P(reward of a draw from π > that of one from π_ref), ties half, for each prompt.

    Every draw of the one is compared with every draw of the other, and the variance is that of
    two-sample U-statistics (Hoeffding 1948): that of each draw's own share of wins, over both.

    Args:
        rewards: of draws from π, ``(n, m)``.
        reference: of draws from π_ref, ``(n, R)``.
    """
    above = rewards[:, :, None] > reference[:, None, :]
    score = above + 0.5 * (rewards[:, :, None] == reference[:, None, :])
    own, other = _means(score.mean(axis=2)), _means(score.mean(axis=1))
    return Means(own.means, own.variances + other.variances)


def _means(values: Array) -> Means:
    return Means(values.mean(axis=1), values.var(axis=1, ddof=1) / values.shape[1])


def _interval(means: Array, variances: Array) -> Estimate:
    """The mean over prompts, and its 95 % interval given the prompts."""
    value = float(means.mean())
    half = _NORMAL * float(np.sqrt(variances.sum())) / len(means)
    return Estimate(value, value - half, value + half)


def _share(means: Array, variances: Array) -> Estimate:
    """The same for shares, which are within [0, 1]."""
    share = _interval(means, variances)
    return Estimate(share.value, max(0.0, share.low), min(1.0, share.high))


def _language_model(policy: Policy) -> LanguageModelPolicy:
    if not isinstance(policy, LanguageModelPolicy):
        raise InvalidParameter(
            "this world is scored by what a policy says: expected a LanguageModelPolicy, got "
            f"{type(policy).__name__}."
        )
    return policy
