"""The contextual objective: the published losses and gradients, with those of motifs; draws; what a corpus gives it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from reference_grover import Reference, assert_close, bond_order, model_names, with_padding
from small_corpora import demo_smiles, make_small, write_table

from mesomer.chem.contexts import Vocabulary, atom_contexts, bond_contexts
from mesomer.chem.featurize import featurize_many, graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.data.prepare import prepare
from mesomer.encoders.base import EncoderOutput, build_encoder
from mesomer.encoders.grover import VIEWS, Grover
from mesomer.errors import MesomerError
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.interop.grover import encoder_links
from mesomer.interop.gtransformer import Link
from mesomer.objectives.contextual import Contextual
from mesomer.objectives.motifs import Motifs


def small_encoder(name="grover", **options):
    torch.manual_seed(0)
    return build_encoder(name, **({"hidden_size": 8, "depth": 2, "heads": 2, "blocks": 1, "dropout": 0.0} | options))


def batch_of(smiles, **extras):
    return collate([graph_from_smiles(text)[0] for text in smiles], extras=extras or None)


def labelled(smiles, names=30, seed=0):
    batch, rng = batch_of(smiles), np.random.default_rng(seed)
    extras = {
        "atom_contexts": torch.from_numpy(rng.integers(2, names, (batch.num_atoms, 1)).astype(np.uint16)),
        "bond_contexts": torch.from_numpy(rng.integers(2, names, (batch.num_bonds // 2, 1)).astype(np.uint16)),
    }
    return replace(batch, extras=extras)


SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "[Na+].[Cl-]"]

# --- against the published code ---

KINDS = ("weight", "bias")
HEADS = [
    *(Link(f"av_task_{a}.linear.{kind}", f"heads.atom_from_{a}.{kind}") for a in ("atom", "bond") for kind in KINDS),
    *(
        Link(f"bv_task_{a}.{theirs}.{kind}", f"heads.bond_from_{a}.{ours}.{kind}")
        for a in ("atom", "bond")
        for theirs, ours in (("linear", "forth"), ("linear_rev", "back"))
        for kind in KINDS
    ),
]
MOTIFS = [Link(f"fg_task_all.linear_{view}.{kind}", f"heads.{view}.{kind}") for view in VIEWS for kind in KINDS]


@pytest.fixture(scope="module")
def reference(parity) -> Reference:
    return Reference(parity("grover"))


@pytest.fixture
def published(reference):
    """The objective with the published heads, the batch with its labels, and the objective of the motifs."""
    [name] = model_names("pretrain")
    tensors = read_checkpoint(reference.folder / f"{name}.pt").tensors
    encoder = reference.model(name).encoder
    sizes = {level: len(tensors[f"{head}_task_atom.linear.bias"]) for level, head in (("atom", "av"), ("bond", "bv"))}
    objective = Contextual(encoder, directions="separate", atom_names=sizes["atom"], bond_names=sizes["bond"])
    motifs = Motifs(encoder)
    for part, links in ((objective, HEADS), (motifs, MOTIFS)):
        own = part.state_dict()
        for link in links:
            own[link.ours].copy_(tensors[link.theirs])
    batch = reference.batch(0, reference.first)
    numbers = {
        "atom_contexts": reference.arrays["vocab_atom_ids"][: batch.num_atoms],
        "bond_contexts": reference.arrays["vocab_bond_ids"][: batch.num_bonds // 2],
    }
    extras = {key: torch.from_numpy(value)[:, None] for key, value in numbers.items()}
    extras["motifs"] = torch.from_numpy(reference.array("pre8_target_fg_task"))
    return objective.eval(), replace(batch, extras=extras), motifs.eval()


def given_targets(reference, objective, batch):
    """The published targets as a draw; that they are numbers of the vocabulary is checked on the way."""
    atoms = torch.from_numpy(reference.array("pre8_target_av_task"))[1:]
    in_order = torch.from_numpy(reference.array("pre8_target_bv_task"))[1:]
    bonds = torch.empty_like(in_order)
    bonds[bond_order(batch)[::2] // 2] = in_order
    for level, target in (("atom", atoms), ("bond", bonds)):
        chosen = target > 0
        assert torch.equal(batch.extras[f"{level}_contexts"][chosen, 0].long(), target[chosen].long())
    return objective.targets(atoms > 0, bonds > 0)


def padded_views(encoder, batch):
    rows = encoder.rows(batch)
    features = encoder.features(batch, rows)
    return encoder.views(*encoder.branches(features, rows), rows, features)


def published_log_probabilities(objective, batch, views):
    """With the padding row, bonds in the published order; the padding row of the bonds is paired with itself."""
    order = with_padding(bond_order(batch))
    found = {view: objective.log_probabilities(view, views[view]) for view in VIEWS[:2]}
    for view in VIEWS[2:]:
        rows = views[view][order]
        found[view] = objective.log_probabilities(view, torch.cat([rows[:1], rows]))
    return found


@pytest.mark.reference
def test_published_outputs_losses_and_gradients(reference, published):
    objective, batch, motifs = published
    draw = given_targets(reference, objective, batch)
    views = padded_views(objective.encoder, batch)
    named = published_log_probabilities(objective, batch, views)
    for view, (task, source) in zip(
        VIEWS, [("av", "atom"), ("av", "bond"), ("bv", "atom"), ("bv", "bond")], strict=True
    ):
        key = f"pre8_{task}_task_from_{source}"
        assert_close(named[view], reference.array(key), key)
    output = EncoderOutput({view: x[1:] for view, x in views.items()})
    for view, logits in motifs.logits(output, batch).items():
        assert_close(logits, reference.array(f"pre8_fg_task_{view}"), f"motifs {view}")
    labelled = motifs.draw(batch, 0, 0)
    groups = {term: x / labelled.counts[term] for term, x in motifs.from_encoded(output, batch, labelled).items()}
    assert set(motifs.weights.values()) == {1.0}
    terms = objective(batch, draw)
    means = {term: terms[term] / draw.counts[term] for term in terms}
    av, bv = (sum(means[f"{level}_from_{source}_context"] for source in ("atom", "bond")) for level in ("atom", "bond"))
    fg = sum(groups[f"{view}_motifs"] for view in VIEWS)
    # the published means count the padding row too
    d_av, d_bv = ((named[a] - named[b]).square().mean() for a, b in (VIEWS[:2], VIEWS[2:]))
    d_fg = sum(groups[f"{level}_motif_disagreement"] for level in ("atom", "bond"))
    weights = objective.weights
    assert weights["atom_disagreement"] == reference.config["pretrain_args"]["dist_coff"]
    assert {weights[f"{view}_context"] for view in VIEWS} == {1.0}
    total = av + bv + fg + weights["atom_disagreement"] * d_av + weights["bond_disagreement"] * d_bv + d_fg
    found = [float(part.detach()) for part in (total, av, bv, fg, d_av, d_bv, d_fg)]
    np.testing.assert_allclose(found, reference.array("pre8_losses"), rtol=1e-5)
    for level, both in (("atom", VIEWS[:2]), ("bond", VIEWS[2:])):
        without = (named[both[0]] - named[both[1]])[1:].square().mean()
        assert float(means[f"{level}_disagreement"].detach()) == pytest.approx(float(without.detach()), rel=1e-5)
    total.backward()
    assert_gradients(reference, objective, motifs)


def assert_gradients(reference, objective, motifs):
    found = {}
    links = [link._replace(theirs=f"grover.{link.theirs}") for link in encoder_links(objective.encoder, "encoder")]
    for part, own in ((objective, (*links, *HEADS)), (motifs, MOTIFS)):
        gradients = {name: p.grad for name, p in part.named_parameters() if p.grad is not None}
        found |= {link.theirs: float(link.read(gradients).norm()) for link in own if link.ours in gradients}
    norms = dict(zip(map(str, reference.array("pre8_grad_names")), reference.array("pre8_grad_norms"), strict=True))
    limit = 1e-5 * max(norms.values())
    for name, norm in norms.items():
        if norm < 0:
            assert name not in found, f"{name} has no gradient in the published code"
        else:
            assert found[name] == pytest.approx(norm, abs=limit), name


# --- our own ---


def test_targets_are_a_share_of_each_molecule_anew_in_every_epoch():
    objective = Contextual(small_encoder(), atom_names=30, bond_names=30)
    batch = labelled(SMILES * 5)
    first = objective.draw(batch, 0, 7)
    for chosen, owner in ((first.atom, batch.atom_molecule), (first.bond, batch.bond_molecule)):
        sizes = torch.bincount(owner, minlength=batch.num_molecules)
        picked = torch.bincount(owner[chosen], minlength=batch.num_molecules)
        assert torch.equal(picked, (sizes.double() * 0.15).round(decimals=9).ceil().long())
    again, later = objective.draw(batch, 0, 7), objective.draw(batch, 1, 7)
    assert torch.equal(first.atom, again.atom) and torch.equal(first.bond, again.bond)
    assert not torch.equal(first.atom, later.atom)
    alone = objective.draw(replace(labelled([SMILES[3]]), key=batch.key[3:4]), 0, 7)
    assert torch.equal(alone.atom, first.atom[batch.atom_molecule == 3])
    assert first.counts["atom_disagreement"] == batch.num_atoms * 30
    assert first.counts["bond_from_atom_context"] == float(first.bond.sum())


@pytest.mark.parametrize("directions", ["shared", "separate"])
@pytest.mark.parametrize("name", ["grover", "batmannet"])
def test_chosen_rows_are_part_of_all_rows(name, directions):
    """The shorter way computes the same names; only the disagreement is over other rows."""
    encoder, batch = small_encoder(name).eval(), labelled(SMILES)
    every = Contextual(encoder, atom_names=30, bond_names=30, directions=directions)
    fewer = Contextual(encoder, atom_names=30, bond_names=30, directions=directions, disagreement_rows="chosen")
    fewer.load_state_dict(every.state_dict())
    draws = every.draw(batch, 0, 1), fewer.draw(batch, 0, 1)
    one, other = every(batch, draws[0]), fewer(batch, draws[1])
    assert one.keys() == other.keys() == every.weights.keys() == draws[0].counts.keys() == draws[1].counts.keys()
    assert len(one) == (6 if name == "grover" else 2)
    figures = every.figures(batch, draws[0])
    for term in one:
        if term.endswith("_context"):
            torch.testing.assert_close(one[term], other[term])
            sums = {key: value.double().numpy() for key, value in figures[term].sums().items()}
            row = figures[term].row(sums)
            assert row["values"] == draws[0].counts[term]
            assert row["loss"] == pytest.approx(float(one[term].detach()) / draws[0].counts[term], rel=1e-5)
        else:
            assert draws[1].counts[term] < draws[0].counts[term] and term not in figures
    sum(other.values()).backward()
    assert all(parameter.grad is not None for parameter in fewer.heads.parameters())


def test_names_of_a_bond_do_not_depend_on_the_order_of_atoms():
    objective = Contextual(small_encoder().eval(), atom_names=5, bond_names=5)
    rows = torch.randn(6, 8)
    swapped = rows[[1, 0, 3, 2, 5, 4]]
    for shared in (True, False):
        if not shared:
            objective = Contextual(small_encoder(), atom_names=5, bond_names=5, directions="separate")
        named = [objective.log_probabilities("bond_from_atom", x) for x in (rows, swapped)]
        assert torch.allclose(*named) == shared


def test_rare_names_count_as_other():
    batch = labelled(SMILES, names=30)
    objective = Contextual(small_encoder().eval(), atom_names=4, bond_names=4)
    assert set(objective._numbers(batch, "atom").tolist()) == {1, 2, 3}
    figures = objective.figures(batch, objective.draw(batch, 0, 0))
    assert all(len(figure.class_counts) == 4 for figure in figures.values())


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    make_small(monkeypatch)
    table = write_table(tmp_path / "table.csv", demo_smiles(200))
    return prepare(table, tmp_path / "corpus", workers=1, add="atom_contexts,bond_contexts", quiet=True)


def test_heads_are_built_for_the_vocabularies_of_a_corpus(corpus):
    sizes = [len(corpus.vocabulary(f"{level}_contexts")) for level in ("atom", "bond")]
    objective = Contextual(small_encoder())
    assert not objective.heads and objective.extras == ("atom_contexts", "bond_contexts")
    objective.adapt(corpus)
    assert [objective.names["atom"], objective.names["bond"]] == sizes
    cut = Contextual(small_encoder(), largest_vocabulary=10)
    cut.adapt(corpus)
    assert cut.names == {"atom": 12, "bond": 12}
    assert cut.vocabularies().keys() == objective.vocabularies().keys() == {f"heads.{view}" for view in VIEWS}
    assert not set(cut.vocabularies().values()) & set(objective.vocabularies().values())
    as_long = Contextual(small_encoder(), atom_names=sizes[0], bond_names=12)
    as_long.adapt(corpus)
    assert as_long.vocabularies() == {
        head: (objective if head.startswith("heads.atom") else cut).vocabularies()[head] for head in cut.vocabularies()
    }
    batch = corpus.batch("train", np.arange(20))
    for built in (objective, cut):
        draw = built.draw(batch, 0, 0)
        terms = built(batch, draw)
        assert all(torch.isfinite(term) for term in terms.values())
        again = Contextual(small_encoder(), **built.config())
        assert not again.heads  # another corpus has other names
        again.adapt(corpus)
        again.load_state_dict(built.state_dict())
        assert again.config() == built.config()


def test_an_encoder_with_one_level_has_heads_for_it_alone(corpus):
    encoder = small_encoder()
    type(encoder).output_views, before = ("atom_from_atom",), type(encoder).output_views
    try:
        objective = Contextual(encoder)
    finally:
        type(encoder).output_views = before
    objective.adapt(corpus)
    batch = corpus.batch("train", np.arange(5))
    draw = objective.draw(batch, 0, 0)
    assert objective.extras == ("atom_contexts",) and set(objective(batch, draw)) == {"atom_from_atom_context"}


def test_it_learns_the_contexts_of_a_few_molecules():
    graph = [graph_from_smiles(text)[0] for text in SMILES]
    arrays = featurize_many([Chem.MolFromSmiles(text) for text in SMILES])
    labels = {}
    for level, contexts in (("atom", atom_contexts(arrays)), ("bond", bond_contexts(arrays))):
        vocabulary = Vocabulary.of(contexts.counts())
        labels[f"{level}_contexts"] = vocabulary.numbers(contexts.tokens)[contexts.of_row][:, None]
    batch = collate(graph, extras=labels)
    torch.manual_seed(0)
    encoder = small_encoder(hidden_size=32)
    objective = Contextual(encoder, ratio=1.0, atom_names=40, bond_names=40)
    draw = objective.draw(batch, 0, 0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        terms = objective(batch, draw)
        sum(objective.weights[term] * terms[term] / draw.counts[term] for term in terms).backward()
        optimizer.step()
    objective.eval()
    for figure in objective.figures(batch, draw).values():
        row = figure.row({key: value.double().numpy() for key, value in figure.sums().items()})
        assert row["accuracy"] > 0.9 > row["trivial_accuracy"]


@pytest.mark.parametrize(
    "options",
    [
        {"ratio": 0},
        {"ratio": 1.5},
        {"disagreement": -1},
        {"directions": "mine"},
        {"disagreement_rows": "mine"},
        {"largest_vocabulary": 0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(MesomerError):
        Contextual(small_encoder(), **options)


def test_without_disagreement_there_is_no_such_term():
    objective = Contextual(small_encoder(), disagreement=0, atom_names=30, bond_names=30)
    batch = labelled(SMILES)
    assert set(objective(batch, objective.draw(batch, 0, 0))) == {f"{view}_context" for view in VIEWS}
    assert isinstance(objective.encoder, Grover)
