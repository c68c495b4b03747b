"""Objectives of the strategies paper: published losses, draws, any encoder, and that they are learnt."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_gin_reference import MODELS

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.encoders.base import build_encoder
from mesomer.errors import MesomerError
from mesomer.interop.checkpoints import ForeignCheckpoint, read_checkpoint
from mesomer.interop.pretrain_gnns import convert
from mesomer.interop.pretrain_gnns_outputs import read_batch
from mesomer.objectives.base import build_objective
from mesomer.objectives.contrastive import CHANGES

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "[Na+].[Cl-]", "C->[Fe]", "*C#N"]
ENCODERS = {
    "gin": {"hidden_size": 8, "depth": 2},
    "batmannet": {"hidden_size": 8, "depth": 2, "heads": 2, "blocks": 1, "dropout": 0.0},
    "grover": {"hidden_size": 8, "depth": 2, "heads": 2, "blocks": 1, "dropout": 0.0},
}
NAMES = ["masked_attributes", "edge_prediction", "infomax", "context_prediction", "contrastive"]


def batch_of(smiles, keys=None):
    return collate([graph_from_smiles(text)[0] for text in smiles], keys)


def objective_of(name, encoder="gin", encoder_options=(), **options):
    torch.manual_seed(0)
    return build_objective(name, build_encoder(encoder, **(ENCODERS[encoder] | dict(encoder_options))), **options)


# --- against the published code ---


@pytest.fixture(scope="module")
def published(parity):
    """The set's arrays, its encoder and its batch."""
    folder = parity("pretrain_gnns")
    name = json.loads((folder / "config.json").read_text())["objectives"]["model"]
    if name not in MODELS:
        pytest.skip(f"the set has no file for {name}")
    encoder = convert(read_checkpoint(folder / MODELS[name])).encoder.eval()
    return dict(np.load(folder / "expected.npz")), encoder, read_batch(folder / "smiles.csv")


def relative(found, expected):
    found, expected = np.asarray(found.detach().double()), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def mean_terms(objective, batch, draw):
    sums = objective(batch, draw)
    assert sums.keys() == objective.weights.keys() == draw.counts.keys()
    return {term: value / draw.counts[term] for term, value in sums.items()}


@pytest.mark.reference
def test_published_losses_of_masked_attributes(published):
    arrays, encoder, batch = published
    objective = build_objective("masked_attributes", encoder, bonds=True).eval()
    state = objective.state_dict()
    for theirs, ours in (("atom", "name_atoms.atom_state"), ("bond", "name_bonds.atom_state")):
        state[f"{ours}.weight"].copy_(torch.from_numpy(arrays[f"obj/head_{theirs}_w"]))
        state[f"{ours}.bias"].copy_(torch.from_numpy(arrays[f"obj/head_{theirs}_b"]))
    atoms = torch.zeros(batch.num_atoms, dtype=torch.bool)
    atoms[torch.from_numpy(arrays["mask/atoms"])] = True
    draw = objective.masks(batch, atoms)
    assert set(draw.bonds.nonzero().flatten().tolist()) == set((arrays["mask/edges"] // 2).tolist())
    labels = dict(zip(arrays["mask/atoms"].tolist(), arrays["mask/atom_labels"][:, 0].tolist(), strict=True))
    found = objective._named(batch, draw)["element"][1].tolist()
    assert found == [labels[at] for at in sorted(labels)]
    terms = mean_terms(objective, batch, draw)
    assert relative(terms["element"], arrays["mask/loss_atom"]) < 1e-5
    assert relative(terms["bond_type"], arrays["mask/loss_edge"]) < 1e-5


@pytest.mark.reference
def test_published_scores_and_loss_of_edge_prediction(published):
    arrays, encoder, batch = published
    objective = build_objective("edge_prediction", encoder)
    draw = objective.pairs(batch, torch.from_numpy(arrays["edge/negatives"]))
    bound, apart = objective.scores(encoder(batch), batch, draw)
    assert relative(bound, arrays["edge/pos_score"]) < 1e-5
    assert relative(apart, arrays["edge/neg_score"]) < 1e-5
    assert relative(sum(mean_terms(objective, batch, draw).values()), arrays["edge/loss"]) < 1e-5


@pytest.mark.reference
def test_published_scores_and_loss_of_infomax(published):
    arrays, encoder, batch = published
    objective = build_objective("infomax", encoder)
    objective.state_dict()["weight"].copy_(torch.from_numpy(arrays["infomax/weight"]))
    own, other = objective.scores(encoder(batch), batch)
    assert relative(own, arrays["infomax/pos_score"]) < 1e-5
    assert relative(other, arrays["infomax/neg_score"]) < 1e-5
    terms = mean_terms(objective, batch, objective.draw(batch, 0, 0))
    assert relative(sum(terms.values()), arrays["infomax/loss"]) < 1e-5


@pytest.mark.reference
def test_published_vectors_and_losses_of_context_prediction(published, parity):
    arrays, encoder, batch = published
    about = json.loads((parity("pretrain_gnns") / "config.json").read_text())["objectives"]
    objective = build_objective(
        "context_prediction", encoder, radius=about["k"], overlap=about["k"] - about["l1"],
        size=about["l2"] - about["l1"], negatives=about["negatives"],
    ).eval()  # fmt: skip
    net = {name.removeprefix("context/net/"): x for name, x in arrays.items() if name.startswith("context/net/")}
    tensors = {name: torch.from_numpy(np.asarray(x)) for name, x in net.items()}
    second = convert(ForeignCheckpoint(Path("net"), None, tensors, None, None, ())).encoder
    objective.surroundings.load_state_dict(second.state_dict())
    draw = objective.around(batch, batch.atom_offsets[:-1] + torch.from_numpy(arrays["context/root"]))
    assert draw.near.key.tolist() == draw.ring.key.tolist() == arrays["context/used"].tolist()
    assert draw.near.atom_offsets.diff().tolist() == arrays["context/n_sub"].tolist()
    assert draw.ring.atom_offsets.diff().tolist() == arrays["context/n_context"].tolist()
    assert torch.bincount(draw.ring.atom_molecule[draw.common]).tolist() == arrays["context/n_overlap"].tolist()
    root, ring = objective.vectors(draw)
    assert relative(root, arrays["context/center_rep"]) < 1e-5
    assert relative(ring, arrays["context/context_rep"]) < 1e-5
    terms = mean_terms(objective, batch, draw)
    assert relative(terms["context"], arrays["context/loss_pos"]) < 1e-5
    assert relative(terms["other_context"], arrays["context/loss_neg"]) < 1e-5


# --- draws ---


def parts(draw, batch, name):
    """What is drawn in each molecule, by its key."""
    start = batch.atom_offsets.tolist()
    if name == "contrastive":
        both = zip(draw.first.key.tolist(), _codes(draw.first), _codes(draw.second), strict=True)
        return {key: (first.tolist(), second.tolist()) for key, first, second in both}
    if name == "context_prediction":
        roots = zip(draw.near.key.tolist(), (draw.roots - draw.near.atom_offsets[:-1]).tolist(), strict=True)
        return {key: (root, codes.tolist()) for (key, root), codes in zip(roots, _codes(draw.near), strict=True)}
    if name == "masked_attributes":
        return {int(key): draw.atoms[a:b].tolist() for key, a, b in zip(batch.key, start, start[1:], strict=False)}
    owner = batch.atom_molecule[draw.apart[0]]
    return {int(key): (draw.apart[:, owner == i] - start[i]).tolist() for i, key in enumerate(batch.key)}


def _codes(batch):
    return batch.atom_codes.split(batch.atom_offsets.diff().tolist())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "infomax"])
def test_draws_depend_on_the_molecule_the_epoch_and_the_seed_alone(name):
    objective = objective_of(name, **({"radius": 2} if name == "context_prediction" else {}))
    together = batch_of(SMILES, range(10, 17))
    found = parts(objective.draw(together, 3, 5), together, name)
    for at in (0, 3, 2):
        alone = batch_of(SMILES[at : at + 1], [10 + at])
        drawn = objective.draw(alone, 3, 5)
        if name == "context_prediction" and 10 + at not in found:
            assert drawn.near is None
        else:
            assert parts(drawn, alone, name)[10 + at] == found[10 + at]
    others = [parts(objective.draw(together, *which), together, name) for which in ((4, 5), (3, 6))]
    assert all(other != found for other in others) and others[0] != others[1]


def test_how_many_atoms_are_hidden_and_how_often_each():
    """floor(0.15 N + 1), all atoms alike."""
    objective = objective_of("masked_attributes")
    batch = batch_of(["C" * 20] * 200 + ["C", "C" * 6, "C" * 7])
    drawn = objective.draw(batch, 0, 0).atoms
    counts = [int(part.sum()) for part in drawn.split(batch.atom_offsets.diff().tolist())]
    assert counts == [4] * 200 + [1, 1, 2]
    often = drawn[:4000].view(200, 20).sum(0).double()
    assert ((often - 40).abs() < 5 * math.sqrt(200 * 0.2 * 0.8)).all()
    assert objective_of("masked_attributes", ratio=1.0).draw(batch, 0, 0).atoms.all()


def test_what_is_hidden_is_not_seen():
    """The encoder's output does not change with the hidden element; what it has to name does."""
    objective = objective_of("masked_attributes", bonds=True).eval()
    named = []
    for text in ("CCOC", "CCSC"):
        batch = batch_of([text])
        draw = objective.masks(batch, torch.tensor([False, False, True, False]))
        named.append(objective._named(batch, draw))
    assert torch.equal(named[0]["element"][0], named[1]["element"][0])
    assert [found["element"][1].item() for found in named] == [7, 15]


def test_bonds_of_other_kinds_are_no_targets():
    objective = objective_of("masked_attributes", bonds=True, ratio=1.0)
    batch = batch_of(["C->[Fe]", "C=C"])
    draw = objective.draw(batch, 0, 0)
    assert draw.bonds.all() and draw.counts["bond_type"] == 1
    assert objective._named(batch, draw)["bond_type"][1].tolist() == [1]


def test_pairs_without_a_bond():
    objective = objective_of("edge_prediction")
    batch = batch_of([*SMILES, "CC", "C1CC1", "CCC"])
    draw = objective.draw(batch, 0, 0)
    first, second = draw.apart
    pairs, bonds = set(zip(first.tolist(), second.tolist(), strict=True)), batch.num_bonds
    assert len(pairs) == draw.apart.shape[1] and not (first == second).any()
    assert not pairs & set(zip(batch.source.tolist(), batch.target.tolist(), strict=True))
    assert torch.equal(batch.atom_molecule[first], batch.atom_molecule[second])
    found = torch.bincount(batch.atom_molecule[first], minlength=len(SMILES) + 3).tolist()
    wanted = batch.bond_offsets.diff().tolist()
    # two atoms and rings of three have no pair to offer, two bonds in a row two
    assert found[:2] == [13, 0] and found[3:5] == [wanted[3], 0] and found[-3:] == [0, 0, 2]
    assert draw.counts == {"bound": bonds / 2, "apart": len(pairs)}


# --- any encoder, and learning ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_encoder_learns(name, encoder):
    options = {"radius": 2} if name == "context_prediction" else {}
    objective, batch = objective_of(name, encoder, **options).train(), batch_of(SMILES)
    draw = objective.draw(batch, 0, 0)
    terms = mean_terms(objective, batch, draw)
    sum(terms.values()).backward()
    unused = {key for key, x in objective.named_parameters() if x.grad is None or not torch.isfinite(x.grad).all()}
    # views that an objective does not read learn nothing
    assert not {key for key in unused if ".bond_" not in key and "edge_blocks" not in key}
    rebuilt = build_objective(name, objective.encoder, **objective.config())
    assert rebuilt.state_dict().keys() == objective.state_dict().keys()
    figures = objective.figures(batch, draw)
    assert figures.keys() == objective.weights.keys()
    for figure in figures.values():
        row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
        assert row["values"] > 0 and 0 <= row["accuracy"] <= 1


@pytest.mark.parametrize("name", NAMES)
def test_twenty_molecules_are_learnt(name):
    """Far below the trivial guess, on the very draw that was trained on."""
    torch.manual_seed(0)
    smiles = ["C" * n + end for n in range(2, 7) for end in ("O", "N", "C(=O)F", "c1ccccc1")]
    options = {"radius": 1} if name == "context_prediction" else {}
    objective = objective_of(name, encoder_options={"hidden_size": 32, "features": "basic"}, **options)
    batch = batch_of(smiles)
    draw = objective.draw(batch, 0, 0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(60):
        sum(mean_terms(objective, batch, draw).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    for term, figure in objective.figures(batch, draw).items():
        row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
        assert row["loss"] < 0.6 * row["trivial_loss"], (term, row)


def test_infomax_of_a_molecule_alone_has_no_other():
    objective, batch = objective_of("infomax"), batch_of(["CCO"])
    draw = objective.draw(batch, 0, 0)
    assert draw.counts == {"own": 3, "other": 0} and objective(batch, draw)["other"] == 0


def test_contexts_are_of_others_or_not_at_all():
    """Without a ring anywhere nothing is learnt; alone in the batch a ring has no other."""
    objective = objective_of("context_prediction", radius=2, negatives=3)
    assert objective.weights == {"context": 1, "other_context": 3}
    none = objective.draw(batch_of(["C", "CC"]), 0, 0)
    sums = objective(batch_of(["C", "CC"]), none)
    assert none.near is None and set(none.counts.values()) == {0} and sum(sums.values()).requires_grad
    assert sum(sums.values()) == 0 and objective.figures(batch_of(["C", "CC"]), none) == {}
    for count, others in ((1, 0), (2, 1), (3, 2), (4, 3), (6, 3)):
        batch = batch_of(["CCCCCCCC"] * count)
        draw = objective.draw(batch, 0, 0)
        assert draw.counts == {"context": count, "other_context": count * others}
        assert [len(scores) for scores in objective.scores(draw)] == [count, count * others]
    with pytest.raises(MesomerError, match="overlap"):
        objective_of("context_prediction", radius=2, overlap=3)
    with pytest.raises(MesomerError, match="concat"):
        objective_of("context_prediction", encoder_options={"jk": "concat"})


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_a_molecule(change):
    """A fifth is lost, at least one of two, never all; what is kept of a chain is one piece."""
    objective = objective_of("contrastive", changes=[change])
    batch = batch_of(["C" * 20] * 30 + ["C", "CO"])
    draw = objective.draw(batch, 0, 0)
    for copy in (draw.first, draw.second):
        assert copy.num_molecules == batch.num_molecules and torch.equal(copy.key, batch.key)
        atoms, bonds = copy.atom_offsets.diff().tolist(), copy.bond_offsets.diff().tolist()
        hidden = (copy.atom_codes[:, 0] == 119).long().split(atoms)
        assert [int(part.sum()) for part in hidden] == ([4] * 30 + [0, 1] if change == "hide_atoms" else [0] * 32)
        lost = [20 - count for count in atoms[:30]]
        assert lost == [4 if change in ("drop_atoms", "keep_part") else 0] * 30
        assert atoms[30:] == [1, 1 if change in ("drop_atoms", "keep_part") else 2]
        if change == "keep_part":
            assert bonds[:30] == [15] * 30
        if change == "drop_bonds":
            assert bonds == [16] * 30 + [0, 1]  # a fifth of 19, rounded down; an only bond stays
    every = objective_of("contrastive").draw(batch, 0, 0).first
    found = set(zip(every.atom_offsets.diff().tolist(), every.bond_offsets.diff().tolist(), strict=True))
    assert {(20, 19), (20, 16), (16, 15)} <= found and len(found) > 3


def test_the_contrastive_loss_is_its_formula():
    objective = objective_of("contrastive", temperature=0.5)
    batch = batch_of(SMILES)
    draw = objective.draw(batch, 0, 0)
    cosines = objective.cosines(draw).double()
    expected = 0.0
    for i in range(len(SMILES)):
        others = sum(math.exp(cosines[i, k].item() / 0.5) for k in range(len(SMILES)) if k != i)
        expected -= math.log(math.exp(cosines[i, i].item() / 0.5) / others)
    assert objective(batch, draw)["contrast"].item() == pytest.approx(expected, rel=1e-5)
    assert cosines.abs().max() <= 1 + 1e-6
    alone = batch_of(["CCO"])
    draw = objective.draw(alone, 0, 0)
    assert draw.counts == {"contrast": 0} and objective(alone, draw)["contrast"] == 0
    assert objective.figures(alone, draw) == {}
    for wrong in ({"changes": ["mine"]}, {"changes": []}, {"temperature": 0}, {"strength": 1}):
        with pytest.raises(MesomerError):
            objective_of("contrastive", **wrong)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "contrastive"])
def test_an_encoder_without_atoms_is_refused(name):
    encoder = build_encoder("gin", **ENCODERS["gin"])
    encoder.readout_views = ("bond_state",)
    with pytest.raises(MesomerError, match="vectors of atoms"):
        build_objective(name, encoder)
    with pytest.raises(MesomerError):
        build_objective(name, encoder, ratio=1.5)
