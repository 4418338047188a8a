"""Range checks of parameters, with one wording for all."""

import math
from collections.abc import Collection

from pairbench.errors import InvalidParameter, did_you_mean


def check_positive(**values: float) -> None:
    """Check that values are positive and finite; keyword names stand in the message.

    Raises:
        InvalidParameter: If one is not.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidParameter(f"{name} must be positive and finite, got {value}.")


def check_nonnegative(**values: float) -> None:
    """Check that values are finite and 0 or more.

    Raises:
        InvalidParameter: If one is not.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise InvalidParameter(f"{name} must be a finite number, 0 or more, got {value}.")


def check_finite(**values: float) -> None:
    """Check that values are finite.

    Raises:
        InvalidParameter: If one is not.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise InvalidParameter(f"{name} must be a finite number, got {value}.")


def check_at_least(least: int, /, **values: float) -> None:
    """Check that values are ``least`` or more.

    Raises:
        InvalidParameter: If one is not.
    """
    for name, value in values.items():
        if not value >= least:
            raise InvalidParameter(f"{name} must be {least} or more, got {value}.")


def check_between(low: float, high: float, /, **values: float) -> None:
    """Check that values lie between two bounds, which are included.

    Raises:
        InvalidParameter: If one does not.
    """
    for name, value in values.items():
        if not low <= value <= high:
            raise InvalidParameter(f"{name} must be between {low:g} and {high:g}, got {value}.")


def check_one_of(known: Collection[str], /, **values: str) -> None:
    """Check that values are among the known ones; the message names the nearest.

    Raises:
        InvalidParameter: If one is not.
    """
    for name, value in values.items():
        if value not in known:
            raise InvalidParameter(
                f"{name} must be one of {', '.join(known)}, got {value!r}."
                f"{did_you_mean(value, known)}"
            )
