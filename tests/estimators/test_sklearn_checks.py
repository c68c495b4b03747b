"""scikit-learn's own checks, on our estimators behind a column that turns numbers into molecules."""

from __future__ import annotations

import pytest
from numbers_as_molecules import NumberClassifier, NumberEmbedder, NumberRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks
from small_models import save_encoder

FEW = "training needs ten different labelled molecules, and says so; the check gives one row"
LONE = "a validation part with one class only could judge nothing and is refused; the check gives so few rows"
EXPECTED = {
    "NumberEmbedder": {},
    "NumberRegressor": {"check_fit2d_1sample": FEW},
    "NumberClassifier": {
        "check_classifier_data_not_an_array": LONE,
        "check_classifiers_classes": LONE,
        "check_estimators_dtypes": LONE,
        "check_estimators_nan_inf": LONE,
        "check_fit2d_1feature": LONE,
    },
}
PROBE = {"probe": True, "repeats": 1, "folds": 2, "accelerator": "cpu", "verbose": False}
ESTIMATORS = [
    NumberEmbedder(accelerator="cpu", verbose=False),
    NumberRegressor(split="cv", **PROBE),
    NumberClassifier(split="stratified_cv", **PROBE),
]


@pytest.fixture(scope="module", autouse=True)
def bundled(tmp_path_factory):
    """A small encoder takes the place of the bundled one: the names of tests must not hold a path."""
    from mesomer.training import checkpoint

    folder = tmp_path_factory.mktemp("bundled")
    save_encoder(folder / "batmannet-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "BUNDLED", folder)
        yield


@pytest.mark.filterwarnings("ignore::UserWarning")  # few rows, rare classes: what the checks give is no good data
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED[type(estimator).__name__])
def test_scikit_learns_checks(estimator, check):
    check(estimator)
