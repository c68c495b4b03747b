"""`mesomer info` tells what a path is, `mesomer models` what comes with the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mesomer.chem.schema import SCHEMA_VERSION
from mesomer.commands.info import _lines, info
from mesomer.run import RunFolder
from mesomer.training.checkpoint import bundled_models


def model(folder, **changes):
    """A model folder with five weights."""
    folder.mkdir()
    config = {
        "mesomer_format": 1,
        "mesomer_version": "0.1.0",
        "schema_version": SCHEMA_VERSION,
        "kind": "predictor",
        "encoder": {"name": "batmannet", "config": {"hidden_size": 2}},
        "tasks": [{"name": "logS", "type": "regression"}],
    } | changes
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n\nTrained on two\nmolecules.\n\nMore.\n")
    save_file({"a": np.zeros((1, 3)), "b": np.zeros(2)}, folder / "model.safetensors")
    return folder


def test_a_model_folder(mesomer, tmp_path):
    model(tmp_path / "m")
    got = mesomer("info", "m")
    assert got.code == 0 and got.out.startswith("m is a property model.\n")
    for line in (
        "encoder: batmannet",
        "  hidden_size: 2",
        "parameters: 5",
        "tasks: logS",
        "about: Trained on two molecules.",
    ):
        assert f"\n{line}\n" in got.out
    facts = json.loads(mesomer("info", "m", "--json").out)
    assert facts["parameters"] == 5 and facts["tasks"] == ["logS"] and facts["settings"] == {"hidden_size": 2}


def test_a_run_folder(mesomer, tmp_path):
    with RunFolder.open(tmp_path / "run", "finetune", {"seed": 7}, {"data": "ab"}) as run:
        run.finish({"text": "RMSE 0.5"})
    model(tmp_path / "run" / "model")
    got = mesomer("info", "run")
    assert got.out.startswith("run is a run of `mesomer finetune`.\nstatus: finished\n")
    for line in ("seed: 7", "models: model", "result: RMSE 0.5", "  data: ab"):
        assert f"\n{line}\n" in got.out


def test_a_corpus_folder(mesomer, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text('{"schema_version": 1, "molecules": 12345}')
    got = mesomer("info", "corpus")
    assert got.out.startswith("corpus is a prepared corpus.\n") and "\nmolecules: 12,345\n" in got.out


def test_the_shards_of_a_corpus_are_lines_for_people(mesomer, tmp_path):
    from mesomer.data.prepare import prepare_corpus

    (tmp_path / "t.smi").write_text("".join(f"{'C' * n}O\n" for n in range(1, 60)))
    corpus = prepare_corpus(tmp_path / "t.smi", tmp_path / "corpus", workers=1, quiet=True).corpus
    got = mesomer("info", "corpus")
    assert got.code == 0 and "{" not in got.out and "}" not in got.out
    shards = corpus.card["shards"]
    assert f"\nshards: {len(shards)}\n" in got.out
    for shard in shards:
        (line,) = [line for line in got.out.splitlines() if line.startswith(f"  {shard['file']}: ")]
        assert (
            f"molecules {shard['molecules']:,}" in line
            and f"sha256 {shard['sha256'][:12]}…" in line
            and "[" not in line
        )


def test_a_long_list_of_files_is_cut():
    lines = _lines({"shards": [{"file": f"train-{n:05d}.arrow", "molecules": 1234} for n in range(25)]})
    assert lines[:2] == ["shards: 25", "  train-00000.arrow: molecules 1,234"]
    assert lines[21:] == ["  … and 5 more (--json has all)"]


def test_a_foreign_checkpoint(mesomer, tmp_path):
    torch.save({"state_dict": {"grover.encoders.w": torch.zeros(3, 4)}, "args": None}, tmp_path / "a.pt")
    got = mesomer("info", "a.pt")
    assert got.code == 0 and "GROVER" in got.out and "\nparameters: 12\n" in got.out and "\nsha256: " in got.out


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nothing", None, "There is nothing at nothing."),
        ("a.pt", b"no checkpoint", "is no torch checkpoint"),
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0{}", "no whole safetensors file"),
        ("a.docx", b"", "of no kind that Mesomer knows"),
    ],
)
def test_what_is_none_of_these(mesomer, tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    got = mesomer("info", name)
    assert got.code == 2 and sentence in got.err and got.out == ""


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{"),
            "no whole safetensors file",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text('{"mesomer_format": 99}'), "made by a newer Mesomer"),
        (lambda folder: (folder / "config.json").unlink(), "is no folder of Mesomer's"),
    ],
)
def test_damaged_models(mesomer, tmp_path, damage, sentence):
    damage(model(tmp_path / "m"))
    got = mesomer("info", "m")
    assert got.code == 2 and sentence in got.err


def test_models_lists_what_is_bundled(mesomer):
    got, facts = mesomer("models"), json.loads(mesomer("models", "--json").out)["models"]
    assert got.code == 0 and [fact["name"] for fact in facts] == list(bundled_models())
    for fact in facts:
        assert fact["parameters"] > 0 and fact["card"] and f"{fact['name']}: {fact['encoder']}" in got.out
        assert mesomer("info", fact["name"]).code == 0


@pytest.mark.parametrize("name", ["t.csv.bz2", "t.can", "t.sd", "t.pq", "t.tab"])
def test_every_format_that_is_read_is_a_table(tmp_path, name):
    (tmp_path / name).write_text("smiles\nCCO\n")
    assert info(str(tmp_path / name))["what"] == "a table, by its name"


def test_a_checkpoint_is_known_by_its_content(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.ep15")
    assert "checkpoint" in info(str(tmp_path / "model.ep15"))["what"]
