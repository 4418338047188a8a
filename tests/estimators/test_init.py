import subprocess
import sys

import pytest

from pairbench import Laplace, make_estimator
from pairbench.errors import InvalidParameter, PairbenchError, UnknownEstimator
from pairbench.estimators import Belief, Dropout, Ensemble, Epistemic, Estimator


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("laplace", Laplace()),
        ("laplace(trust=0.5)", Laplace(trust=0.5)),
        (" laplace (trust=1)", Laplace(trust=1.0)),
        ("ensemble", Ensemble(members=10, hidden=32, bootstrap=True, steps=100)),
        ("ensemble(members=20, bootstrap=False)", Ensemble(members=20, bootstrap=False)),
        ("dropout(rate=0.1, masks=5)", Dropout(rate=0.1, masks=5)),
        ("epistemic(index_dim=3)", Epistemic(index_dim=3, indices=50)),
    ],
)
def test_a_spec_names_an_estimator_and_its_parameters(
    spec: str, expected: Estimator[Belief]
) -> None:
    assert make_estimator(spec) == expected


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("laplce", UnknownEstimator, r"no estimator 'laplce'\. Did you mean 'laplace'\?"),
        ("ensembl(members=3)", UnknownEstimator, r"Did you mean 'ensemble'\?"),
        ("zzz", UnknownEstimator, r"'zzz'\. There are: dropout, ensemble, epistemic, laplace\."),
        ("", UnknownEstimator, "no estimator ''"),
        ("laplace(trst=1)", InvalidParameter, r"no parameter 'trst'\. Did you mean 'trust'\?"),
        ("laplace(trust='very')", InvalidParameter, "trust: .* number.*, got 'very'"),
        ("laplace(trust=1e999)", InvalidParameter, "trust must be a finite number, got inf"),
        ("laplace(trust", InvalidParameter, "cannot read the parameters"),
        ("ensemble(members=0)", InvalidParameter, "members must be 1 or more, got 0"),
        ("ensemble(members=2.5)", InvalidParameter, "members: .* integer"),
        ("ensemble(hidden=0)", InvalidParameter, "hidden must be 1 or more, got 0"),
        ("ensemble(steps=-1)", InvalidParameter, "steps must be 1 or more, got -1"),
        ("dropout(masks=0)", InvalidParameter, "masks must be 1 or more, got 0"),
        ("dropout(hidden=0)", InvalidParameter, "hidden must be 1 or more, got 0"),
        ("dropout(rate=0)", InvalidParameter, "rate must lie between 0 and 1, got 0"),
        ("dropout(rate=1.0)", InvalidParameter, "rate must lie between 0 and 1, got 1"),
        ("epistemic(indices=0)", InvalidParameter, "indices must be 1 or more, got 0"),
        ("epistemic(index_dim=0)", InvalidParameter, "index_dim must be 1 or more, got 0"),
        ("epistemic(steps=0)", InvalidParameter, "steps must be 1 or more, got 0"),
    ],
)
def test_what_is_no_estimator_is_refused_by_name(
    spec: str, error: type[PairbenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_estimator(spec)


def test_torch_is_imported_by_fits_alone() -> None:
    script = (
        "import sys\n"
        "from pairbench import make_estimator\n"
        "for name in ('laplace', 'ensemble', 'dropout', 'epistemic'):\n"
        "    make_estimator(name)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
