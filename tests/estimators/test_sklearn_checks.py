"""scikit-learn's own checks: on our estimators behind a column that turns numbers into molecules, and as they are.

As they are, most checks that fit cannot hold, since all of them bring numbers; each of those is named here with its
reason, and one that passes nevertheless fails the run (`xfail_strict`).
"""

from __future__ import annotations

import pytest
from numbers_as_molecules import NumberClassifier, NumberEmbedder, NumberRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks
from small_models import save_encoder

from mesomer.estimators import MolClassifier, MolEmbedder, MolRegressor

FEW = "training needs ten different labelled molecules, and says so; the check gives one row"
LONE = "a validation part with one class only could judge nothing and is refused; the check gives so few rows"
NUMBERS = "the check gives numbers, which are no molecules"
COLUMN = "the tags say one column, as molecules are, and the check asks for a second dimension of its data"


def fitting(numbers: str, column: str = "") -> dict[str, str]:
    """Checks of fitted estimators, by their names without `check_`: those of all, and those named."""
    of_all = """complex_data dtype_object estimator_sparse_array estimator_sparse_matrix estimator_sparse_tag
        estimators_dtypes estimators_empty_data_messages estimators_fit_returns_self estimators_overwrite_params
        fit_check_is_fitted fit_idempotent fit_score_takes_y n_features_in n_features_in_after_fitting
        pipeline_consistency positive_only_tag_during_fit readonly_memmap_input"""
    of_all_columns = """dict_unchanged dont_overwrite_parameters f_contiguous_array_estimator fit2d_1feature
        fit2d_1sample fit2d_predict1d methods_sample_order_invariance methods_subset_invariance"""
    reasons = {f"check_{name}": NUMBERS for name in f"{of_all} {numbers}".split()}
    return reasons | {f"check_{name}": COLUMN for name in f"{of_all_columns} {column}".split()}


EXPECTED = {
    "MolEmbedder": fitting("transformers_unfitted_stateless", "transformer_data_not_an_array transformer_general"),
    "MolRegressor": fitting(
        "estimators_pickle regressor_data_not_an_array regressor_multioutput regressors_int regressors_train "
        "supervised_y_2d",
        "regressors_no_decision_function",
    ),
    "MolClassifier": fitting(
        "classifier_data_not_an_array classifier_multioutput classifiers_classes classifiers_one_label "
        "classifiers_regression_target classifiers_train estimators_pickle supervised_y_2d"
    ),
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
    MolEmbedder(accelerator="cpu", verbose=False),
    MolRegressor(split="cv", **PROBE),
    MolClassifier(split="stratified_cv", **PROBE),
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
