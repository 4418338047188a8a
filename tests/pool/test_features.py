import numpy as np
import pytest

from pairbench.errors import InvalidData
from pairbench.pool.features import (
    STYLE_NAMES,
    centre,
    lsa_features,
    rescale,
    standardise,
    style_features,
)


def style(text: str, name: str) -> float:
    return float(style_features([text])[0, STYLE_NAMES.index(name)])


def log(count: float) -> float:
    return float(np.log(1 + count))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("log_chars", "", log(0)),
        ("log_chars", "abcd é", log(6)),
        ("log_words", " two\n words ", log(2)),
        ("log_words", "", log(0)),
        ("words_per_char", "one two", 5 * 2 / 8),
        ("words_per_char", "", 0),
        ("log_newlines", "a\nb\n\nc", log(3)),
        ("log_paragraphs", "a\n\nb\n\n\n\nc", log(3)),
        ("log_paragraphs", "a\n\n\nb", log(1)),
        ("log_numbered", "1. one\n 2) two\n3 three\nsee 4. four", log(2)),
        ("log_numbered", "10. ten\n\n11. eleven", log(2)),
        ("log_bullets", "- a\n  * b\n• c\nd - e\n\n- f", log(4)),
        ("log_bullets", "**bold** opens the line", log(1)),
        ("log_bold", "a **b** c **d**", log(4)),
        ("log_headers", "# one\n### two\n#hash\n # indented", log(2)),
        ("log_codefence", "```py\nx\n```", log(2)),
        ("log_excl", "Hi! You!!", log(3)),
        ("log_quest", "What? Why?", log(2)),
        ("log_commas", "a, b, c", log(2)),
        ("as_an_ai", "Well, As An AI model I", 1),
        ("as_an_ai", "as a model", 0),
        ("early_sorry", "I'm SORRY, but", 1),
        ("early_sorry", "x" * 195 + "sorry", 1),
        ("early_sorry", "x" * 196 + "sorry", 0),
        ("early_sorry", "fine", 0),
        ("ends_clean", "Done.", 1),
        ("ends_clean", "Done!", 1),
        ("ends_clean", "Done?", 1),
        ("ends_clean", "(done)", 1),
        ("ends_clean", '"done"', 1),
        ("ends_clean", "`done`", 1),
        ("ends_clean", "Done. \n\n", 1),
        ("ends_clean", "", 1),
        ("ends_clean", " \n", 1),
        ("ends_clean", "and then", 0),
        ("ends_clean", "such as:", 0),
        ("type_token", "the cat The cat", 3 / 5),
        ("type_token", "", 0),
        ("upper_frac", "ABc d", 2 / 6),
        ("digit_frac", "12 cats", 2 / 8),
        ("nonascii_frac", "né ü", 2 / 5),
        ("nonascii_frac", "", 0),
    ],
)
def test_each_style_feature_is_what_it_says(name: str, text: str, expected: float) -> None:
    assert style(text, name) == pytest.approx(expected, rel=1e-6)


def test_every_style_feature_has_a_case_in_which_it_is_not_zero() -> None:
    text = (
        "# Title\n\n1. **One**, 2 cats! Why? Sorry, as an AI I cannot: é\n"
        "- two\n```\ncode\n```\n\nend."
    )
    assert (style_features([text]) > 0).all()


def test_style_features_are_one_row_for_each_text() -> None:
    texts = ["one", "two, three!", ""]
    rows = style_features(texts)
    assert rows.shape == (3, len(STYLE_NAMES)) == (3, 20)
    assert rows.dtype == np.float32
    for row, text in zip(rows, texts, strict=True):
        np.testing.assert_array_equal(row, style_features([text])[0])
    assert style_features([]).shape == (0, 20)


def some_texts(n: int, words: int = 40) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"word{k}" for k in rng.integers(words, size=20)) for _ in range(n)]


def test_lsa_features_are_so_many_and_the_same_each_time() -> None:
    texts = some_texts(60)
    features = lsa_features(texts, 8)
    assert features.shape == (60, 8)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, lsa_features(texts, 8))
    # Rows of a projection of unit vectors.
    assert (np.linalg.norm(features, axis=1) <= 1 + 1e-6).all()


def test_lsa_features_of_one_text_given_twice_are_equal() -> None:
    texts = some_texts(60)
    features = lsa_features([*texts, texts[7].upper()], 8)
    np.testing.assert_allclose(features[7], features[60], atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "dim"),
    [
        (["a lonely text"], 2),
        ([""] * 10, 2),
        (some_texts(30, words=5), 8),
        ([], 2),
        pytest.param(some_texts(10, words=20), 15, id="fewer-texts-than-features"),
    ],
)
def test_too_few_words_for_the_features_are_refused(texts: list[str], dim: int) -> None:
    with pytest.raises(InvalidData, match=f"cannot make {dim} word features of {len(texts)} texts"):
        lsa_features(texts, dim)


def test_values_are_centred_over_the_completions_that_are_there() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(5, 4, 3)), rng.random((5, 4)) < 0.7
    mask[:, :2] = True
    result = centre(values, mask)
    for prompt in range(5):
        there = mask[prompt]
        expected = values[prompt, there] - values[prompt, there].mean(axis=0)
        np.testing.assert_allclose(result[prompt, there], expected, atol=1e-15)
    assert not result[~mask].any()
    # One number for each completion is the same as one feature.
    np.testing.assert_array_equal(centre(values[:, :, 0], mask), result[:, :, 0])


def test_standardised_features_have_unit_norm_on_the_prompts_they_are_fitted_to() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(40, 5, 6)) * 10.0 ** np.arange(6)
    mask = np.ones((40, 5), dtype=np.bool_)
    fit = np.arange(25)
    result = standardise(values, mask, fit)
    np.testing.assert_allclose(result[fit].reshape(-1, 6).std(axis=0), 1 / np.sqrt(6))
    assert np.mean(np.sum(result[fit] ** 2, axis=2)) == pytest.approx(1)


def test_a_feature_that_does_not_vary_within_prompts_stays_0() -> None:
    # The mean of equal numbers differs from them by rounding, which must not become the feature.
    values = np.array([0.1, 0.7, 1.3])[:, None, None] * np.ones((3, 3, 2))
    values[:, :, 1] += np.arange(3)
    mask = np.ones((3, 3), dtype=np.bool_)
    mask[0, 2] = False
    features = standardise(values, mask)
    np.testing.assert_allclose(features[:, :, 0], 0, atol=1e-14)
    assert features[mask][:, 1].std() == pytest.approx(np.sqrt(0.5))


def test_scaled_features_keep_their_angles() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 5, 3)) * [10, 1, 0.1] + 5 * rng.normal(size=(7, 1, 3))
    mask = rng.random((7, 5)) < 0.7
    mask[:, :2] = True
    values[~mask] = np.nan  # what is not there may be anything
    features = rescale(values, mask, fit=slice(4))
    np.testing.assert_array_equal(features[~mask], 0)
    np.testing.assert_allclose(features.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose((features[:4][mask[:4]] ** 2).sum(axis=1).mean(), 1)
    ratio = (features[:, 0] - features[:, 1]) / (values[:, 0] - values[:, 1])
    np.testing.assert_allclose(ratio, ratio[0, 0])


def test_scaled_features_that_never_vary_stay_zero() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=(4, 1, 3)), 3, axis=1)
    values[:, 1] *= 1 + 1e-15
    np.testing.assert_array_equal(rescale(values, np.ones((4, 3), dtype=np.bool_)), 0)
