"""A small encoder, and molecules with labels that a network learns from atoms alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import heteroatoms, molecules, save_encoder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def short_search():
    """Linear models of classes that take a tenth of the time: fewer penalties, fewer steps."""
    from mesomer.training import probe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "CLASS_PENALTIES", np.array([10.0, 0.1]))
        patch.setattr(probe, "_STEPS", 15)
        yield


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """The name of a small encoder."""
    return str(save_encoder(tmp_path_factory.mktemp("encoder") / "small"))


@pytest.fixture(scope="session")
def smiles():
    return molecules(60)


@pytest.fixture(scope="session")
def counts(smiles):
    """Numbers of heteroatoms, and a bit, so that nobody takes them for classes."""
    return np.array([heteroatoms(text) + 0.25 for text in smiles])


@pytest.fixture(scope="session")
def words(counts):
    return np.where(counts > 2, "yes", "no")


@pytest.fixture
def probe(encoder):
    """Arguments of a fit that takes a tenth of a second."""
    return {"model": encoder, "probe": True, "split": "random", "accelerator": "cpu", "verbose": False}
