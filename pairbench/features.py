"""Features of texts that need no model: surface style, and latent semantics of the words."""

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

_NUMBERED = re.compile(r"^\s*\d+[.)]", re.MULTILINE)
_BULLET = re.compile(r"^\s*[-*•]", re.MULTILINE)
_HEADER = re.compile(r"^#+ ", re.MULTILINE)
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
_UPPER, _DIGIT = string.ascii_uppercase.encode(), string.digits.encode()
_CLEAN_ENDS = ("", *'.!?)"`')
_EARLY = 200
_ALL = slice(None)

CHARS_PER_TOKEN = 4  # a rough figure for English, for lengths only


def style_features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Surface features of each text.

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
    rows = np.array([_raw(text) for text in texts], dtype=np.float64)
    logs = [j for j, name in enumerate(STYLE_NAMES) if name.startswith("log_")]
    rows[:, logs] = np.log1p(rows[:, logs])
    return rows.astype(np.float32)


def lsa_features(
    texts: Sequence[str], dim: int = 64, seed: int = 0, *, fewer: bool = False
) -> NDArray[np.float32]:
    """Truncated SVD of the TF-IDF matrix of the texts, fitted on the texts themselves.

    The words are scikit-learn's default tokens (lower case, two characters or more, no stop words),
    the 20,000 most frequent of those in at least 5 texts, weighted (1 + log count) times the
    smoothed inverse document frequency, with rows of unit length before the SVD. The features are
    not rescaled after it.

    Args:
        texts: The texts.
        dim: How many features.
        seed: The seed of the randomised SVD.
        fewer: Make as many as the texts allow where they do not allow ``dim``, if none at all.

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


def centred(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values less their mean over each prompt's completions, 0 where there is none.

    Args:
        values: ``(n_prompts, n_completions)`` or ``(n_prompts, n_completions, dim)``.
        mask: which completions there are, ``(n_prompts, n_completions)``.
    """
    weight = mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
    mean = (values * weight).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    difference: NDArray[np.float64] = (values - mean) * weight
    return difference


def standardised(
    values: NDArray[np.float64], mask: NDArray[np.bool_], fit: NDArray[np.int64] | slice = _ALL
) -> NDArray[np.float64]:
    """Features centred within prompts, each of equal variance, with E‖φ‖² = 1 in all.

    So a ridge of λ says the same of any features: that rewards have variance 1/λ a priori. A
    feature that does not vary within prompts stays 0, and E‖φ‖² falls short of 1 by its share.

    Args:
        values: ``(n_prompts, n_completions, dim)``, finite.
        mask: which completions there are, ``(n_prompts, n_completions)``.
        fit: the prompts over which variances are taken.
    """
    features = centred(values, mask)
    spread = features[fit][mask[fit]].std(axis=0)
    # Equal values may differ from their mean by rounding.
    varies = spread > 1e-12 * np.abs(values[mask]).max(axis=0)
    features /= np.where(varies, spread, 1.0) * np.sqrt(features.shape[2])
    return features


def scaled(
    values: NDArray[np.float64], mask: NDArray[np.bool_], fit: NDArray[np.int64] | slice = _ALL
) -> NDArray[np.float64]:
    """Features centred within prompts, all on one scale, with E‖φ‖² = 1 in all.

    Unlike :func:`standardised` it keeps the angles between completions, for features whose inner
    products mean something, such as score vectors. A ridge of λ says the same: that rewards have
    variance 1/λ a priori. Features that do not vary within prompts stay 0.

    Args:
        values: ``(n_prompts, n_completions, dim)``, finite where there are completions.
        mask: which completions there are, ``(n_prompts, n_completions)``.
        fit: the prompts over which the scale is taken.
    """
    features = centred(np.where(mask[:, :, None], values, 0.0).astype(np.float64), mask)
    mean = (features[fit][mask[fit]] ** 2).sum(axis=1).mean()
    # Equal values may differ from their mean by rounding.
    if mean > (1e-12 * np.abs(values[mask]).max()) ** 2:
        features /= np.sqrt(mean)
    else:
        features[:] = 0
    return features


def components(
    values: NDArray[np.float64], dim: int, seed: int = 0
) -> tuple[NDArray[np.float64], float]:
    """The leading principal components, E‖φ‖² = 1 again, and the share of variance they hold.

    Args:
        values: features of n completions, ``(n, more)``.
        dim: how many, at most n and ``more``.
        seed: of the randomised search.
    """
    from sklearn.decomposition import PCA

    pca = PCA(dim, random_state=seed)
    found = pca.fit_transform(values)
    found /= np.sqrt((found**2).sum(axis=1).mean())
    return found, float(pca.explained_variance_ratio_.sum())


def _raw(text: str) -> tuple[float, ...]:
    """The features of one text, with counts in place of their logs."""
    words = text.split()
    lower = text.lower()
    chars = len(text) + 1
    # Most characters are ASCII, of which bytes count a kind many times faster than one by one.
    plain = text.encode("ascii", "ignore")
    rest = "" if len(plain) == len(text) else "".join(_NON_ASCII.findall(text))
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
        "sorry" in lower[:_EARLY],
        text.rstrip()[-1:] in _CLEAN_ENDS,
        len(set(words)) / (len(words) + 1),
        (_count(plain, _UPPER) + sum(map(str.isupper, rest))) / chars,
        (_count(plain, _DIGIT) + sum(map(str.isdigit, rest))) / chars,
        len(rest) / chars,
    )


def _count(plain: bytes, kind: bytes) -> int:
    return len(plain) - len(plain.translate(None, kind))
