"""Text features that need no language model: surface style and latent semantic analysis."""

import re
import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pairbench.errors import InvalidData

STYLE_NAMES: tuple[str, ...] = (
    "log_chars",
    "log_words",
    "words_per_char",
    "log_newlines",
    "log_paragraphs",
    "log_numbered",
    "log_bullets",
    "log_bold",
    "log_headers",
    "log_codefence",
    "log_excl",
    "log_quest",
    "log_commas",
    "as_an_ai",
    "early_sorry",
    "ends_clean",
    "type_token",
    "upper_frac",
    "digit_frac",
    "nonascii_frac",
)
"""Columns of :func:`style_features`."""

_NUMBERED = re.compile(r"^\s*\d+[.)]", re.MULTILINE)
_BULLET = re.compile(r"^\s*[-*•]", re.MULTILINE)
_HEADER = re.compile(r"^#+ ", re.MULTILINE)
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
_UPPER, _DIGIT = string.ascii_uppercase.encode(), string.digits.encode()
_CLEAN_ENDS = ("", *'.!?)"`')
_EARLY_CHARS = 200
_ROUNDING = 1e-12
_ALL = slice(None)

CHARS_PER_TOKEN = 4
"""Characters per token of English, roughly, to estimate lengths."""


def style_features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Compute surface features of each text.

    With n characters, w words (`str.split`) and log = log(1 + count), the columns are:

    - log_chars: log of n.
    - log_words: log of w.
    - words_per_char: 5 w / (n + 1), which is near 1 for English.
    - log_newlines: log of the count of newlines.
    - log_paragraphs: log of the count of double newlines, not overlapping.
    - log_numbered: log of the count of lines that open with digits and "." or ")", indented or not.
    - log_bullets: log of the count of lines that open with "-", "*" or "•", indented or not
      (so a line that opens with bold text or is a rule counts too).
    - log_bold: log of the count of "**", two to a bold span.
    - log_headers: log of the count of lines that open with "#"s and a space.
    - log_codefence: log of the count of "```", two to a block.
    - log_excl, log_quest, log_commas: log of the counts of "!", "?" and ",".
    - as_an_ai: 1 if "as an ai" occurs, in any case.
    - early_sorry: 1 if "sorry" occurs in the first 200 characters, in any case.
    - ends_clean: 1 if the last character that is not white space is one of . ! ? ) " `
      or there is none.
    - type_token: distinct words / (w + 1), case kept.
    - upper_frac, digit_frac, nonascii_frac: upper-case, digit (`str.isdigit`) and non-ASCII
      characters / (n + 1).

    Args:
        texts: The texts.

    Returns:
        ``(n, 20)``, columns as in `STYLE_NAMES`.
    """
    if not len(texts):
        return np.empty((0, len(STYLE_NAMES)), dtype=np.float32)
    rows = np.array([_style_counts(text) for text in texts], dtype=np.float64)
    logs = [j for j, name in enumerate(STYLE_NAMES) if name.startswith("log_")]
    rows[:, logs] = np.log1p(rows[:, logs])
    return rows.astype(np.float32)


def lsa_features(
    texts: Sequence[str], dim: int = 64, seed: int = 0, *, fewer: bool = False
) -> NDArray[np.float32]:
    """Compute LSA features: a truncated SVD of the TF-IDF matrix of the texts themselves.

    The words are scikit-learn's default tokens (lower case, two characters or more, no stop words),
    the 20,000 most frequent of those in at least 5 texts, weighted (1 + log count) times the
    smoothed inverse document frequency, with rows of unit length before the SVD. The features are
    not rescaled after it.

    Args:
        texts: The texts.
        dim: The number of features.
        seed: The seed of the randomised SVD.
        fewer: Whether to return fewer features, even none, if the texts do not allow ``dim``.

    Returns:
        ``(n, dim)``.

    Raises:
        InvalidData: If the texts share too few words for that many features.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    tfidf = TfidfVectorizer(min_df=5, max_features=20_000, sublinear_tf=True)
    try:
        words = tfidf.fit_transform(texts)
        dim = min(dim, *words.shape) if fewer else dim
        features = TruncatedSVD(dim, random_state=seed).fit_transform(words)
        if features.shape[1] < dim:
            raise ValueError("there are fewer texts than features.")
        return np.asarray(features, dtype=np.float32)
    except ValueError as error:
        if fewer:  # no word stands in five texts
            return np.empty((len(texts), 0), dtype=np.float32)
        raise InvalidData(
            f"cannot make {dim} word features of {len(texts)} texts: {error} "
            f"At least {dim} words must each stand in five texts or more."
        ) from error


def centre(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Subtract the mean over each prompt's completions; 0 where ``mask`` is false.

    Args:
        values: ``(n_prompts, n_completions)`` or ``(n_prompts, n_completions, dim)``.
        mask: the completions that exist, ``(n_prompts, n_completions)``.
    """
    weight = mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
    mean = (values * weight).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    deviations: NDArray[np.float64] = (values - mean) * weight
    return deviations


# Why: docs/decisions/008-features-have-unit-mean-square.md
def standardise(
    values: NDArray[np.float64], mask: NDArray[np.bool_], fit: NDArray[np.int64] | slice = _ALL
) -> NDArray[np.float64]:
    """Centre features within prompts and scale each to the same variance, with E‖φ‖² = 1.

    So a ridge of λ means the same for any features: a prior variance 1/λ of rewards. A feature
    that does not vary within prompts stays 0, and E‖φ‖² falls short of 1 by its share.

    Args:
        values: ``(n_prompts, n_completions, dim)``, finite.
        mask: the completions that exist, ``(n_prompts, n_completions)``.
        fit: the prompts over which variances are computed.
    """
    features = centre(values, mask)
    spread = features[fit][mask[fit]].std(axis=0)
    # Equal values may differ from their mean by rounding.
    varies = spread > _ROUNDING * np.abs(values[mask]).max(axis=0)
    features /= np.where(varies, spread, 1.0) * np.sqrt(features.shape[2])
    return features


def rescale(
    values: NDArray[np.float64], mask: NDArray[np.bool_], fit: NDArray[np.int64] | slice = _ALL
) -> NDArray[np.float64]:
    """Centre features within prompts and scale all by one factor, with E‖φ‖² = 1.

    Unlike :func:`pairbench.pool.features.standardise` it keeps the angles between completions, for
    features whose inner products have a meaning, such as score vectors. A ridge of λ is a prior
    variance 1/λ of rewards here, too. Features that do not vary within prompts stay 0.

    Args:
        values: ``(n_prompts, n_completions, dim)``, finite where ``mask`` is true.
        mask: the completions that exist, ``(n_prompts, n_completions)``.
        fit: the prompts over which the factor is computed.
    """
    features = centre(np.where(mask[:, :, None], values, 0.0).astype(np.float64), mask)
    mean_square = (features[fit][mask[fit]] ** 2).sum(axis=1).mean()
    # Equal values may differ from their mean by rounding.
    if mean_square > (_ROUNDING * np.abs(values[mask]).max()) ** 2:
        features /= np.sqrt(mean_square)
    else:
        features[:] = 0
    return features


def principal_components(
    values: NDArray[np.float64], dim: int, seed: int = 0
) -> tuple[NDArray[np.float64], float]:
    """Project features on their leading principal components, scaled to E‖φ‖² = 1.

    Args:
        values: features of n completions, ``(n, full_dim)``.
        dim: the number of components, at most n and ``full_dim``.
        seed: of the randomised SVD.

    Returns:
        The components, ``(n, dim)``, and the share of the variance that they explain.
    """
    from sklearn.decomposition import PCA

    pca = PCA(dim, random_state=seed)
    projected = pca.fit_transform(values)
    projected /= np.sqrt((projected**2).sum(axis=1).mean())
    return projected, float(pca.explained_variance_ratio_.sum())


def _style_counts(text: str) -> tuple[float, ...]:
    """Compute the style features of one text, with counts in place of their logs."""
    words = text.split()
    lower = text.lower()
    chars = len(text) + 1
    # Most characters are ASCII; in bytes, a class of them is counted much faster than one by one.
    ascii_bytes = text.encode("ascii", "ignore")
    non_ascii = "" if len(ascii_bytes) == len(text) else "".join(_NON_ASCII.findall(text))
    return (
        len(text),
        len(words),
        5 * len(words) / chars,
        text.count("\n"),
        text.count("\n\n"),
        len(_NUMBERED.findall(text)),
        len(_BULLET.findall(text)),
        text.count("**"),
        len(_HEADER.findall(text)),
        text.count("```"),
        text.count("!"),
        text.count("?"),
        text.count(","),
        "as an ai" in lower,
        "sorry" in lower[:_EARLY_CHARS],
        text.rstrip()[-1:] in _CLEAN_ENDS,
        len(set(words)) / (len(words) + 1),
        (_count_bytes(ascii_bytes, _UPPER) + sum(map(str.isupper, non_ascii))) / chars,
        (_count_bytes(ascii_bytes, _DIGIT) + sum(map(str.isdigit, non_ascii))) / chars,
        len(non_ascii) / chars,
    )


def _count_bytes(text: bytes, byte_class: bytes) -> int:
    """Count the bytes of a text that are in a class."""
    return len(text) - len(text.translate(None, byte_class))
