import numpy as np
import pytest
from numpy.typing import NDArray

from pairbench import InvalidParameter
from pairbench.training.recipe import LOSSES, Recipe

Y = np.array([1.0, 0.0, 0.5, 0.8])


def test_each_epoch_sees_each_label_once() -> None:
    order = Recipe(epochs=3, seed=1).order(7)
    np.testing.assert_array_equal(
        np.sort(order.reshape(3, 7), axis=1), np.tile(np.arange(7), (3, 1))
    )
    assert (order[:7] != order[7:14]).any()
    np.testing.assert_array_equal(order, Recipe(epochs=3, seed=1, loss="ipo").order(7))
    assert (order != Recipe(epochs=3, seed=2).order(7)).any()
    assert Recipe().order(0).shape == (0,)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_those_of_the_papers(loss: str) -> None:
    e = 0.2
    win, defeat = Recipe(loss, flip_rate=e).loss_weights(Y)
    expected: dict[str, NDArray[np.float64]] = {
        "dpo": Y,
        "ipo": Y,
        "cdpo": Y * (1 - e) + (1 - Y) * e,
        "rdpo": (Y * (1 - e) - (1 - Y) * e) / (1 - 2 * e),
    }
    np.testing.assert_allclose(win, expected[loss])
    np.testing.assert_allclose(win + defeat, 1)


def test_rdpo_is_right_on_average() -> None:
    """Of labels flipped at the rate that it is told, the mean weight is the true label's."""
    win, _ = Recipe("rdpo", flip_rate=0.3).loss_weights(np.array([1.0, 0.0]))
    assert 0.7 * win[0] + 0.3 * win[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "dop"}, "must be one of dpo, ipo, cdpo, rdpo, got 'dop'. Did you mean 'dpo'"),
        ({"flip_rate": 0.5}, r"flip_rate must be in \[0, 0.5\), got 0.5"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be positive"),
        ({"lora_rank": -1}, "lora_rank must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Recipe(**given)  # type: ignore[arg-type]
