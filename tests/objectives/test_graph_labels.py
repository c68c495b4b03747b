"""Objectives on stored labels of the molecule, and several objectives side by side."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_corpora import demo_smiles, write_table

from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.encoders.batmannet import BatmanNet
from mesomer.encoders.summary import RunningStandard
from mesomer.errors import MesomerError
from mesomer.objectives.base import build_objective
from mesomer.objectives.descriptors import SMALLEST_SCALE
from mesomer.objectives.figures import ClassFigures, NumberFigures
from mesomer.training.checkpoint import load_encoder, load_model

SMALL = {"hidden_size": 16, "blocks": 1, "depth": 2, "dropout": 0.0}
SHORT = {
    "encoder": SMALL,
    "atoms_per_batch": 400,
    "max_lr": 5e-3,
    "threads": 1,
    "probe_molecules": 0,
    "log_steps": 10,
    "accelerator": "cpu",
    "precision": "32",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    pytest.importorskip("descriptastorus", reason="the 200 descriptors need mesomer[descriptors]")
    folder = tmp_path_factory.mktemp("labelled")
    table = write_table(folder / "table.csv", demo_smiles(250))
    return prepare_corpus(
        table, folder / "corpus", workers=1, quiet=True, add=["descriptors", "motifs", "fingerprints"]
    ).corpus


def encoder() -> BatmanNet:
    torch.manual_seed(0)
    return BatmanNet(**SMALL)


def test_the_loss_is_a_sum_over_the_labels_that_are_there(corpus: Corpus) -> None:
    batch = corpus.batch("train", range(20))
    for name in ("descriptors", "motifs", "fingerprints"):
        objective = build_objective(name, encoder()).eval()
        objective.adapt(corpus)
        draw = objective.draw(batch, 0, 0)
        whole = objective(batch, draw)[name]
        figures = objective.figures(batch, draw)[name]
        row = figures.row({key: value.double().numpy() for key, value in figures.sums().items()})
        assert draw.counts[name] == row["values"] == 20 * objective.columns
        assert float(whole.detach()) / row["values"] == pytest.approx(row["loss"], rel=1e-5)
        halves = [corpus.batch("train", part) for part in (range(9), range(9, 20))]
        parts = [objective(half, objective.draw(half, 0, 0))[name] for half in halves]
        assert float(sum(parts).detach()) == pytest.approx(float(whole.detach()), rel=1e-4)


def test_fingerprints_are_those_of_the_molecules(corpus: Corpus) -> None:
    from rdkit.Chem import MolFromSmiles, rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    batch = corpus.batch("train", range(5))
    expected = [generator.GetFingerprintAsNumPy(MolFromSmiles(text)) for text in corpus.smiles("train", range(5))]
    assert np.array_equal(batch.extras["fingerprints"].numpy(), np.stack(expected))


def test_a_descriptor_that_does_not_exist_counts_for_nothing(corpus: Corpus) -> None:
    objective = build_objective("descriptors", encoder())
    objective.adapt(corpus)
    batch = corpus.batch("train", range(6))
    gone = batch.extras["descriptors"].clone()
    gone[2, 5] = torch.nan
    predicted = objective.predicted(objective.encoder(batch), batch).detach()
    batch.extras["descriptors"] = gone
    assert objective.draw(batch, 0, 0).counts["descriptors"] == 6 * 200 - 1
    moved = predicted.clone()
    moved[2, 5] += 10
    assert objective.loss(moved, gone) == objective.loss(predicted, gone)
    moved[2, 6] += 10
    assert objective.loss(moved, gone) > objective.loss(predicted, gone)


def test_descriptors_are_centred_and_scaled_by_the_corpus(corpus: Corpus) -> None:
    objective = build_objective("descriptors", encoder())
    objective.adapt(corpus)
    values = corpus.batch("train", range(corpus.num_train)).extras["descriptors"].double()
    assert torch.allclose(objective.center.double(), values.nanmean(0), atol=1e-6)
    spread = values.std(0, correction=0)
    assert torch.allclose(objective.scale.double(), spread.clamp(min=SMALLEST_SCALE), atol=1e-6)
    assert (spread < SMALLEST_SCALE).any() and (spread > SMALLEST_SCALE).any()


def test_running_standard_follows_its_input_and_takes_one_molecule() -> None:
    torch.manual_seed(0)
    standard = RunningStandard(3)
    center, scale = torch.tensor([100.0, -5.0, 0.0]), torch.tensor([0.1, 3.0, 1.0])
    for _ in range(200):
        given = center + scale * torch.randn(64, 3)
        found = standard(given)
    assert found.mean(0).abs().max() < 0.5 and (found.std(0) - 1).abs().max() < 0.4
    standard(given[:1])
    standard.eval()
    alone = torch.cat([standard(row) for row in given.split(1)])
    assert torch.equal(alone, standard(given))


def test_running_standard_is_constant_after_its_first_batches() -> None:
    standard = RunningStandard(3, followed=4)
    for _ in range(4):
        standard(torch.randn(16, 3))
    before = {name: value.clone() for name, value in standard.state_dict().items()}
    standard(torch.randn(16, 3) + 5)
    after = standard.state_dict()
    assert int(after["batches"]) == 5
    assert torch.equal(before["mean"], after["mean"]) and torch.equal(before["variance"], after["variance"])


def test_trivial_guesses_are_the_mean_and_the_commonest_class() -> None:
    target = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    sums = {
        "loss": np.array(3.0),
        "counts": np.array([3, 3]),
        "totals": target.sum(0),
        "squares": (target**2).sum(0),
    }
    row = NumberFigures.row(sums)
    assert row["trivial_loss"] == pytest.approx(target.var(0).mean())
    assert row["explained"] == pytest.approx(1 - 0.5 / target.var(0).mean())
    counts = np.array([[8.0, 2.0], [5.0, 5.0]])
    row = ClassFigures.row({"loss": np.array(1.0), "correct": np.array(15.0), "class_counts": counts})
    entropies = [-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)), np.log(2)]
    assert row["trivial_accuracy"] == pytest.approx(13 / 20) and row["accuracy"] == pytest.approx(15 / 20)
    assert row["trivial_loss"] == pytest.approx(np.mean(entropies))


@pytest.mark.parametrize(("name", "share"), [("descriptors", 0.4), ("motifs", 0.4), ("fingerprints", 0.6)])
def test_labels_are_learnt(corpus: Corpus, name: str, share: float) -> None:
    objective = build_objective(name, encoder(), hidden=64)
    objective.adapt(corpus)
    batch = corpus.batch("train", range(32))
    draw = objective.draw(batch, 0, 0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        (objective(batch, draw)[name] / draw.counts[name]).backward()
        optimizer.step()
    figures = objective.figures(batch, draw)[name]
    row = figures.row({key: value.double().numpy() for key, value in figures.sums().items()})
    assert row["loss"] < share * row["trivial_loss"]


def test_several_objectives_side_by_side(corpus: Corpus, tmp_path: Path) -> None:
    options = {"masked_graph": {"mask_ratio": 0.3, "decoder_blocks": 1}, "descriptors": {"weight": 4.0, "hidden": 32}}
    name = "masked_graph+descriptors"
    command(
        str(corpus.path), output=str(tmp_path / "run"), objective=name, objective_options=options, epochs=4, **SHORT
    )
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert {"descriptors", "node_element", "edge_bond_type"} <= figures.keys()
    with open(tmp_path / "run" / "metrics.csv", newline="") as handle:
        steps = [row for row in csv.DictReader(handle) if row["part"] == "train"]
    for term in ("descriptors", "node_element"):
        assert float(steps[-1][term]) < float(steps[0][term])
    stored = load_model(str(tmp_path / "run"), ("pretraining",))
    assert stored.config["objective"]["config"]["descriptors"] == {"weight": 4.0, "hidden": 32}
    assert not any(key.startswith("parts.") and ".encoder." in key for key in stored.state)
    alone = load_encoder(str(tmp_path / "run"))
    for key, value in alone.state_dict().items():
        assert torch.equal(value, stored.state[f"encoder.{key}"])
    command(
        str(corpus.path), output=str(tmp_path / "on"), objective=name, init=str(tmp_path / "run"), max_steps=1,
        **{key: value for key, value in SHORT.items() if key != "encoder"},
    )  # fmt: skip
    went_on = load_model(str(tmp_path / "on"), ("pretraining",)).config["objective"]["config"]
    assert went_on == stored.config["objective"]["config"]
    assert "Starting from the encoder and the heads" in (tmp_path / "on" / "log.txt").read_text()


def test_a_summary_is_pretrained_added_to_a_model_and_kept(corpus: Corpus, tmp_path: Path) -> None:
    rest = {key: value for key, value in SHORT.items() if key != "encoder"}
    command(str(corpus.path), output=str(tmp_path / "plain"), objective="masked_graph", max_steps=2, **SHORT)
    plain = load_encoder(str(tmp_path / "plain"))
    command(
        str(corpus.path), output=str(tmp_path / "added"), objective="descriptors+fingerprints", max_steps=30,
        init=str(tmp_path / "plain"), encoder={"summary": 24}, **rest,
    )  # fmt: skip
    added = load_encoder(str(tmp_path / "added"))
    assert added.config() == {**plain.config(), "summary": 24} and 0 < int(added.summary.standard.batches) <= 30
    with open(tmp_path / "added" / "metrics.csv", newline="") as handle:
        steps = [row for row in csv.DictReader(handle) if row["part"] == "train"]
    assert float(steps[-1]["descriptors"]) < float(steps[0]["descriptors"])
    stored = load_model(str(tmp_path / "added"), ("pretraining",)).config["objective"]["config"]
    assert stored["descriptors"]["hidden"] == stored["fingerprints"]["hidden"] == 0
    command(
        str(corpus.path), output=str(tmp_path / "kept"), objective="masked_graph", max_steps=3,
        init=str(tmp_path / "added"), **rest,
    )  # fmt: skip
    kept = load_encoder(str(tmp_path / "kept"))
    for name, value in kept.summary.state_dict().items():
        assert torch.equal(value, added.summary.state_dict()[name])
    weight = "node_blocks.0.merge.weight"
    assert not torch.equal(kept.state_dict()[weight], added.state_dict()[weight])
    assert "is not trained by this objective" in (tmp_path / "kept" / "log.txt").read_text()
    command(
        str(corpus.path), output=str(tmp_path / "again"), objective="descriptors+fingerprints", max_steps=1,
        init=str(tmp_path / "kept"), **rest,
    )  # fmt: skip
    command(
        str(corpus.path), output=str(tmp_path / "before"), objective="descriptors", max_steps=1, **SHORT,
    )  # fmt: skip
    command(
        str(corpus.path), output=str(tmp_path / "after"), objective="descriptors", max_steps=1,
        init=str(tmp_path / "before"), encoder={"summary": 8}, **rest,
    )  # fmt: skip
    described = [
        load_model(str(tmp_path / name), ("pretraining",)).config["objective"]["config"]["hidden"]
        for name in ("before", "after")
    ]
    assert described == [512, 0]  # the old hidden layer is not put behind the new summary
    with pytest.raises(MesomerError, match="does not train the summary"):
        command(
            str(corpus.path), output=str(tmp_path / "no"), objective="masked_graph", max_steps=1,
            **{**SHORT, "encoder": {**SMALL, "summary": 8}},
        )  # fmt: skip
    assert not (tmp_path / "no").exists()
    with pytest.raises(MesomerError, match="has summary 24, and 12 was asked for"):
        command(
            str(corpus.path), output=str(tmp_path / "no"), objective="descriptors", max_steps=1,
            init=str(tmp_path / "added"), encoder={"summary": 12}, **rest,
        )  # fmt: skip


def test_the_parts_give_what_they_give_alone(corpus: Corpus) -> None:
    batch = corpus.batch("train", range(12))
    torch.manual_seed(1)
    joint = build_objective("masked_graph+motifs", encoder()).eval()
    joint.adapt(corpus)
    draw = joint.draw(batch, 0, 0)
    found = joint(batch, draw)
    for part in joint.parts.values():
        own = part(batch, part.draw(batch, 0, 0))
        assert own.keys() == part.weights.keys()
        for term, value in own.items():
            assert torch.equal(found[term], value)
    assert found.keys() == joint.weights.keys() == draw.counts.keys()
    assert len({id(p) for p in joint.parameters()}) == len(list(joint.parameters()))


def test_parts_that_hide_nothing_share_one_pass_of_the_encoder(corpus: Corpus) -> None:
    batch = corpus.batch("train", range(12))
    joint = build_objective("descriptors+masked_graph+motifs", encoder()).eval()
    joint.adapt(corpus)
    draw = joint.draw(batch, 0, 0)
    passes = []
    joint.encoder.register_forward_hook(lambda *_: passes.append(1))
    found, figures = joint(batch, draw), joint.figures(batch, draw)
    # masked_graph encodes what is left visible by another way than forward
    assert len(passes) == 2
    for part, own in zip(joint.parts.values(), draw.draws, strict=True):
        for term, value in part(batch, own).items():
            assert torch.equal(found[term], value)
        for term, figure in part.figures(batch, own).items():
            assert all(torch.equal(value, figures[term].sums()[key]) for key, value in figure.sums().items())
    assert found.keys() == joint.weights.keys() and all(
        not value.requires_grad for f in figures.values() for value in f.sums().values()
    )
    joint.train()
    torch.manual_seed(0)
    joint(batch, draw)["motifs"].backward()
    assert all(p.grad is not None for p in joint.parts["motifs"].parameters())


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("masked_graph+motiv", {}, "motiv"),
        ("masked_graph+motifs", {"mask_ratio": 0.3}, "mask_ratio"),
        ("motifs+motifs", {}, "one name"),
        ("motifs", {"weight": 0.0}, "weight 0"),
        ("masked_graph+motifs", {"motifs": 3}, "by name"),
        ("motifs", {"depth": 3}, "depth"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict, told: str) -> None:
    with pytest.raises(MesomerError, match=told):
        build_objective(name, encoder(), **options)


def test_a_corpus_without_the_labels_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(40))
    plain = prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True).corpus
    with pytest.raises(MesomerError, match="--add motifs"):
        command(str(plain.path), output=str(tmp_path / "run"), objective="motifs", epochs=1, **SHORT)
    assert not (tmp_path / "run").exists()
