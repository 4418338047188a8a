"""Property tests fail for what they find, never for how long an example took."""

from time import sleep

from hypothesis import given, settings, strategies as st


def test_the_active_profile_has_no_deadline() -> None:
    assert settings.get_current_profile_name() == "pairbench"
    assert settings().deadline is None


@settings(max_examples=1)
@given(seconds=st.just(0.25))
def test_an_example_may_take_longer_than_hypothesis_allows(seconds: float) -> None:
    sleep(seconds)
