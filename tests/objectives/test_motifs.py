"""Motifs by view: which encoders have them so, what the terms are, and that they are learnt. The published losses are
compared in test_contextual.py, with the contexts'.
"""

from __future__ import annotations

import pytest
import torch

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import GraphBatch, collate
from mesomer.encoders.base import build_encoder
from mesomer.encoders.grover import VIEWS
from mesomer.errors import MesomerError
from mesomer.objectives.motifs import Motifs

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "[Na+].[Cl-]", "CCN"]
LEVELS = ("atom", "bond")


def encoder(name: str = "grover", **options):
    torch.manual_seed(0)
    return build_encoder(name, **({"hidden_size": 8, "depth": 2, "blocks": 1, "dropout": 0.0} | options))


def batch() -> GraphBatch:
    labels = torch.from_numpy(torch.rand(len(SMILES), 85, generator=torch.manual_seed(1)).gt(0.7).numpy())
    graphs = [graph_from_smiles(text)[0] for text in SMILES]
    return collate(graphs, extras={"motifs": labels.to(torch.uint8)})


def test_encoders_with_two_views_of_the_same_things_predict_by_view() -> None:
    assert Motifs(encoder()).by_view and not Motifs(encoder("batmannet")).by_view
    for objective in (Motifs(encoder(), hidden=16), Motifs(encoder(), by_view=False)):
        assert not objective.by_view and objective.weights == {"motifs": 1.0}
    assert Motifs(encoder("batmannet"), by_view=True).weights.keys() == {
        f"{view}_motifs" for view in encoder("batmannet").output_views
    }
    weighted = Motifs(encoder(), weight=2.0, disagreement=0.5)
    assert weighted.weights == {f"{view}_motifs": 2.0 for view in VIEWS} | {
        f"{level}_motif_disagreement": 1.0 for level in LEVELS
    }
    for objective in (weighted, Motifs(encoder(), hidden=16), Motifs(encoder(), disagreement=0)):
        again = Motifs(encoder(), **objective.config())
        assert again.config() == objective.config() and again.weights == objective.weights
        again.load_state_dict(objective.state_dict())
    # what was stored before views could predict: one network
    assert not Motifs(encoder(), hidden=512, weight=1.0).by_view


def test_terms_and_figures_are_of_the_same_predictions() -> None:
    objective, given = Motifs(encoder()).eval(), batch()
    draw = objective.draw(given, 0, 0)
    terms, figures = objective(given, draw), objective.figures(given, draw)
    assert terms.keys() == draw.counts.keys() == objective.weights.keys()
    assert figures.keys() == {f"{view}_motifs" for view in VIEWS}
    for term, figure in figures.items():
        row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
        assert row["values"] == draw.counts[term] == len(SMILES) * 85
        assert row["loss"] == pytest.approx(float(terms[term].detach()) / draw.counts[term], rel=1e-5)
    logits = objective.logits(objective.encoder(given), given)
    lone = SMILES.index("C")
    for view in VIEWS:
        has_rows = view.startswith("atom")
        assert torch.equal(logits[view][lone], objective.heads[view].bias) != has_rows
    objective.heads["atom_from_bond"] = objective.heads["atom_from_atom"]
    assert objective(given, draw)["atom_motif_disagreement"] > 0  # the views differ, not the layers alone


def test_motifs_are_learnt_by_every_view() -> None:
    objective, given = Motifs(encoder(hidden_size=32, random_depth=False)), batch()
    draw = objective.draw(given, 0, 0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        terms = objective(given, draw)
        sum(objective.weights[term] * terms[term] / draw.counts[term] for term in terms).backward()
        optimizer.step()
    for term, figure in objective.figures(given, draw).items():
        row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
        assert row["loss"] < (0.3 if term.startswith("atom") else 0.8) * row["trivial_loss"], term


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by_view": True, "hidden": 16}, "hidden"),
        ({"disagreement": -1.0}, "disagreement is -1"),
        ({"by_view": False, "disagreement": 1.0}, "disagreement is 1"),
        ({"hidden": 16, "disagreement": 1.0}, "disagreement is 1"),
        ({"weight": 0}, "weight 0"),
    ],
)
def test_impossible_options_are_refused(options: dict, told: str) -> None:
    with pytest.raises(MesomerError, match=told):
        Motifs(encoder(), **options)
