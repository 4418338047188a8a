import pkgutil
import types

import pytest

import pairbench


def test_a_public_name_is_no_module_whatever_was_imported_before() -> None:
    # A submodule of the same name would take the place of what the name stands for.
    submodules = {module.name for module in pkgutil.iter_modules(pairbench.__path__)}
    assert submodules.isdisjoint(pairbench.__all__)
    for name in pairbench.__all__:
        assert not isinstance(getattr(pairbench, name), types.ModuleType)


def test_public_names_are_listed_once_and_in_order() -> None:
    assert list(pairbench.__all__) == sorted(set(pairbench.__all__))
    assert set(pairbench.__all__) <= set(dir(pairbench))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No pairbench attribute nothing"):
        _ = pairbench.nothing  # type: ignore[attr-defined]
