"""Range checks: what passes, and the message of what does not."""

import math
from typing import Any

import pytest

from pairbench._util.checks import (
    check_at_least,
    check_between,
    check_finite,
    check_nonnegative,
    check_one_of,
    check_positive,
)
from pairbench.errors import InvalidParameter

CASES: list[tuple[Any, tuple[Any, ...], list[Any], list[Any], str]] = [
    (check_positive, (), [1e-300, 1, 7.5], [0, -1, math.inf, math.nan], "positive and finite"),
    (check_nonnegative, (), [0, 2.5], [-1e-300, math.inf, math.nan], "a finite number, 0 or more"),
    (check_finite, (), [0, -3, 1e308], [math.inf, -math.inf, math.nan], "a finite number"),
    (check_at_least, (2,), [2, 3, math.inf], [1, -2, math.nan], "2 or more"),
    (check_between, (0, 0.5), [0, 0.25, 0.5], [-0.1, 0.6, math.nan], "between 0 and 0.5"),
    (check_one_of, (("dpo", "ipo"),), ["dpo", "ipo"], ["", "dop"], "one of dpo, ipo"),
]


@pytest.mark.parametrize(("check", "bounds", "valid", "invalid", "expected"), CASES)
def test_a_check_names_the_parameter_the_range_and_the_value(
    check: Any, bounds: tuple[Any, ...], valid: list[Any], invalid: list[Any], expected: str
) -> None:
    for value in valid:
        check(*bounds, alpha=value)
    for value in invalid:
        with pytest.raises(InvalidParameter) as raised:
            check(*bounds, alpha=value)
        assert str(raised.value).startswith(f"alpha must be {expected}, got {value!r}.")


def test_each_of_several_values_is_checked() -> None:
    with pytest.raises(InvalidParameter, match=r"^second must be positive and finite, got 0\.0\.$"):
        check_positive(first=1.0, second=0.0)


def test_the_nearest_name_is_given() -> None:
    with pytest.raises(InvalidParameter, match=r"Did you mean 'dpo'\?"):
        check_one_of(["dpo", "sft"], loss="dop")
