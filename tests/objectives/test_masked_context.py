"""R-MAT's contextual pre-training: what is hidden, the draws, what a corpus gives it, any encoder, that it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from small_corpora import demo_smiles, make_small, write_table

from mesomer.chem.conformers import CONFORMERS
from mesomer.chem.contexts import Vocabulary, atom_contexts
from mesomer.chem.featurize import featurize_many, graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.chem.masking import hide
from mesomer.data.prepare import prepare
from mesomer.encoders.base import build_encoder
from mesomer.encoders.rmat_features import layout_of
from mesomer.encoders.rmat_groups import like_sized
from mesomer.errors import MesomerError
from mesomer.objectives.base import DEFAULT_OBJECTIVE, build_objective
from mesomer.objectives.masked_context import CONTEXTS, MaskedContext

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "[Na+].[Cl-]", "C->[Fe]", "*C#N"]
ENCODERS = {
    "rmat": {"hidden_size": 8, "heads": 2, "blocks": 2, "ffn_hidden": 12},
    "mat": {"hidden_size": 8, "heads": 2, "blocks": 2},
    "gin": {"hidden_size": 8, "depth": 2},
    "batmannet": {"hidden_size": 8, "depth": 2, "heads": 2, "blocks": 1, "dropout": 0.0},
    "grover": {"hidden_size": 8, "depth": 2, "heads": 2, "blocks": 1, "dropout": 0.0},
}


def encoder_of(name="rmat", **options):
    torch.manual_seed(0)
    return build_encoder(name, **(ENCODERS[name] | options))


def batch_of(smiles, keys=None, names=30):
    """With contexts and places drawn at random."""
    batch, rng = collate([graph_from_smiles(text)[0] for text in smiles], keys), np.random.default_rng(0)
    contexts = rng.integers(2, names, (batch.num_atoms, 1)).astype(np.uint16)
    places = rng.uniform(-5, 5, (batch.num_atoms, 3)).astype(np.float32)
    return replace(batch, extras={CONTEXTS: torch.from_numpy(contexts), CONFORMERS: torch.from_numpy(places)})


def hidden(batch, draw):
    return hide(batch, draw.atoms, draw.bonds, draw.targets)


def test_what_is_hidden_is_as_published():
    """rmat.md 5.2, pair by pair: flags of targets, of their neighbours and of the pairs between, all else as it was."""
    mol = Chem.MolFromSmiles(SMILES[3])
    batch = batch_of([SMILES[1], SMILES[3], SMILES[0]])
    chosen = {2, 9, 10}
    targets = torch.zeros(batch.num_atoms, dtype=torch.bool)
    targets[[1 + atom for atom in chosen]] = True  # a molecule of one atom comes first
    draw = MaskedContext(encoder_of(), names=30).masks(batch, targets)
    network, masked, layout = encoder_of(), hidden(batch, draw), layout_of(batch)
    nodes, pairs = network.features(batch, layout), network.relations(batch, layout)
    size, first = mol.GetNumAtoms() + 1, 2  # nodes of this molecule begin behind the other's two
    flags = np.zeros((size, size), dtype=bool)
    for i in chosen:
        flags[i + 1, i + 1] = True
        for neighbour in mol.GetAtomWithIdx(i).GetNeighbors():
            flags[i + 1, neighbour.GetIdx() + 1] = flags[neighbour.GetIdx() + 1, i + 1] = True
    expected = pairs.clone()
    at = torch.from_numpy(flags)
    expected[1, :size, :size, :8][at] = torch.eye(8)[0]
    found = network.relations(masked, layout)
    assert flags.sum() > 6 and torch.equal(found, expected)
    rows = nodes.clone()
    rows[first : first + size][at.any(1)] = torch.eye(37)[0]
    assert torch.equal(network.features(masked, layout), rows)
    assert draw.counts == {"masked_context": 3}


def test_without_hidden_atoms_there_is_no_flag():
    batch, network = batch_of(SMILES), encoder_of()
    layout = layout_of(batch)
    assert not network.features(batch, layout)[:, 0].any() and not network.relations(batch, layout)[..., 0].any()


@pytest.mark.parametrize("name", ["rmat", "gin"])
def test_what_is_hidden_is_not_seen(name):
    """What is said of a target does not change with the target, its neighbours and the bonds between."""
    objective = MaskedContext(encoder_of(name), names=30).eval()
    said = []
    for text in ("CCCOCCC", "CCOS=CCC", "CCCNCCC"):
        batch = batch_of([text])
        said.append(objective.logits(batch, objective.masks(batch, torch.arange(7) == 3))[0])
    assert torch.equal(said[0], said[1]) and torch.equal(said[0], said[2])
    # one atom further away is seen
    batch = batch_of(["CNCOCCC"])
    assert not torch.equal(said[0], objective.logits(batch, objective.masks(batch, torch.arange(7) == 3))[0])


def test_targets_are_a_pure_function_of_molecule_epoch_and_seed():
    objective = MaskedContext(encoder_of(), names=30)
    together = batch_of(SMILES, range(10, 17))
    drawn = objective.draw(together, 3, 5)
    for at in (0, 1, 3):
        alone = batch_of(SMILES[at : at + 1], [10 + at])
        assert torch.equal(objective.draw(alone, 3, 5).targets, drawn.targets[together.atom_molecule == at])
    others = [objective.draw(together, *which).targets for which in ((4, 5), (3, 6))]
    assert all(not torch.equal(other, drawn.targets) for other in others) and not torch.equal(*others)


def test_how_many_atoms_are_targets():
    """Each with the given probability, at least one of each molecule; all at a ratio of 1."""
    objective = MaskedContext(encoder_of(), names=30)
    batch = batch_of(["C" * 20] * 300 + ["C", "CO"])
    drawn = objective.draw(batch, 0, 0).targets
    counts = torch.stack([part.sum() for part in drawn.split(batch.atom_offsets.diff().tolist())])
    assert counts.min() == 1 and counts[-2] == 1 and counts[:300].max() > 5
    empty = 0.85**20  # of such molecules one atom is taken all the same
    wanted, spread = 6000 * 0.15 + 300 * empty, math.sqrt(6000 * 0.15 * 0.85)
    assert abs(float(counts[:300].sum()) - wanted) < 4 * spread
    often = drawn[:6000].view(300, 20).sum(0).double()
    assert ((often - wanted / 20).abs() < 5 * spread / math.sqrt(20)).all()
    assert MaskedContext(encoder_of(), names=30, ratio=1.0).draw(batch, 0, 0).targets.all()


@pytest.mark.parametrize("name", ENCODERS)
def test_any_encoder_learns(name):
    objective, batch = MaskedContext(encoder_of(name), names=30).train(), batch_of(SMILES)
    draw = objective.draw(batch, 0, 0)
    terms = objective(batch, draw)
    views = 2 if name == "grover" else 1
    assert terms.keys() == objective.weights.keys() == draw.counts.keys() and len(terms) == views
    sum(terms.values()).backward()
    reached = {key for key, x in objective.named_parameters() if x.grad is not None and torch.isfinite(x.grad).all()}
    # views of bonds learn nothing
    missed = {key for key, _ in objective.named_parameters()} - reached
    assert not {key for key in missed if ".bond_" not in key and "edge_blocks" not in key}
    objective.eval()
    terms, figures = objective(batch, draw), objective.figures(batch, draw)
    for term, figure in figures.items():
        row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
        assert row["values"] == draw.counts[term]
        assert row["loss"] == pytest.approx(float(terms[term].detach()) / draw.counts[term], rel=1e-5)
    rebuilt = build_objective("masked_context", objective.encoder, **objective.config())
    assert rebuilt.state_dict().keys() == objective.state_dict().keys() and rebuilt.config() == objective.config()


def test_a_batch_that_is_encoded_in_groups_is_hidden_alike():
    smiles = ["C" * 60, "CCO", "CCN", "c1ccccc1N", "[Na+].[Cl-]"]
    objective = MaskedContext(encoder_of().double(), names=30).double().eval()
    batch = batch_of(smiles, range(5))
    assert len(like_sized(batch)) > 1
    draw = objective.draw(batch, 0, 0)
    together = objective.logits(batch, draw)[0]
    alone = []
    for at, text in enumerate(smiles):
        rows = batch.atom_molecule == at
        one = replace(batch_of([text], [at]), extras={name: x[rows] for name, x in batch.extras.items()})
        alone.append(objective.logits(one, objective.draw(one, 0, 0))[0])
    torch.testing.assert_close(torch.cat(alone), together)


def test_rare_names_count_as_other():
    objective = MaskedContext(encoder_of(), names=4).eval()
    batch = batch_of(SMILES)
    assert set(objective._numbers(batch).tolist()) == {1, 2, 3}
    assert len(objective.figures(batch, objective.draw(batch, 0, 0))["masked_context"].class_counts) == 4


def test_the_head_is_built_for_the_vocabulary_of_a_corpus(tmp_path, monkeypatch):
    make_small(monkeypatch)
    table = write_table(tmp_path / "table.csv", demo_smiles(150))
    corpus = prepare(table, tmp_path / "corpus", workers=1, add=CONTEXTS, quiet=True)
    size = len(corpus.vocabulary(CONTEXTS))
    objective, cut = (MaskedContext(encoder_of("gin"), largest_vocabulary=most) for most in (None, 10))
    assert not objective.heads and objective.vocabularies() == {}
    for built, names in ((objective, size), (cut, 12)):
        built.adapt(corpus)
        assert built.names == names and built.heads["atom_state"].out_features == names
        again = MaskedContext(encoder_of("gin"), **built.config())
        assert not again.heads  # another corpus has other names
        again.adapt(corpus)
        again.load_state_dict(built.state_dict())
        batch = corpus.batch("train", np.arange(20))
        assert torch.isfinite(built(batch, built.draw(batch, 0, 0))["masked_context"])
    assert objective.vocabularies().keys() == cut.vocabularies().keys() == {"heads.atom_state"}
    assert objective.vocabularies() != cut.vocabularies()


def test_it_learns_the_contexts_of_a_few_molecules():
    """Of hidden atoms in hidden surroundings: by the rest of the molecule."""
    smiles = ["C" * n + end for n in range(2, 7) for end in ("O", "N", "C(=O)F", "c1ccccc1")]
    arrays = featurize_many([Chem.MolFromSmiles(text) for text in smiles])
    contexts = atom_contexts(arrays)
    vocabulary = Vocabulary.of(contexts.counts())
    batch = batch_of(smiles)
    numbers = vocabulary.numbers(contexts.tokens)[contexts.of_row].astype(np.uint16)[:, None]
    batch.extras[CONTEXTS] = torch.from_numpy(numbers)
    objective = MaskedContext(encoder_of(hidden_size=32, heads=4), names=len(vocabulary))
    draw = objective.draw(batch, 0, 0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        (objective(batch, draw)["masked_context"] / draw.counts["masked_context"]).backward()
        optimizer.step()
    figure = objective.eval().figures(batch, draw)["masked_context"]
    row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
    assert row["loss"] < 0.3 * row["trivial_loss"] and row["accuracy"] > 0.9 > row["trivial_accuracy"]


def test_it_is_the_default_of_rmat():
    assert DEFAULT_OBJECTIVE["rmat"] == MaskedContext.name and DEFAULT_OBJECTIVE["mat"] == "masked_attributes"


@pytest.mark.parametrize("options", [{"ratio": 0}, {"ratio": 1.5}, {"largest_vocabulary": 0}, {"mine": 1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(MesomerError):
        build_objective("masked_context", encoder_of(), **options)


def test_an_encoder_without_atoms_is_refused():
    encoder = encoder_of()
    type(encoder).output_views, before = ("node_from_node",), type(encoder).output_views
    try:
        with pytest.raises(MesomerError, match="needs vectors of atoms"):
            MaskedContext(encoder)
    finally:
        type(encoder).output_views = before
