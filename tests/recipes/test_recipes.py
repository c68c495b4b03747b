"""What is written in recipes/ is understood by the commands that it is written for."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import os
import random
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_corpora import demo_smiles, write_table
from small_models import heteroatoms, molecules, save_encoder
from small_models import write_table as write_columns

from mesomer import cli
from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.data.corpus_keys import CorpusKeys
from mesomer.data.prepare import prepare_corpus
from mesomer.encoders.base import build_encoder
from mesomer.training.checkpoint import bundled_models, load_encoder, load_model, read_config, save_model
from mesomer.training.model_keys import keys_of

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SETTINGS = sorted(RECIPES.glob("*.yaml"))
TINY = ["--encoder.hidden_size=8", "--encoder.blocks=1", "--max_steps=2", "--probe_molecules=0", "--threads=1"]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda path: path.stem)
def test_settings_are_understood_and_kept(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrain", "corpus", "--output", "run", "--config", str(settings), "--print_config"]) == 0
    resolved = yaml.safe_load(capsys.readouterr().out)
    assert resolved.items() >= yaml.safe_load(settings.read_text(encoding="utf-8")).items()


def test_the_stages_of_the_bundled_encoder_run_one_after_the_other(tmp_path: Path, capsys, monkeypatch) -> None:
    """The recipe's three commands at the smallest size, each from the weights of the one before."""
    pytest.importorskip("descriptastorus", reason="the 200 descriptors need mesomer[descriptors]")
    table = write_table(tmp_path / "table.csv", demo_smiles(200))
    added = ["descriptors", "fingerprints", "inchikeys"]
    corpus = prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add=added).corpus.path
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    stages = [
        (first, "batmannet-2-masked", TINY),
        (second, "batmannet-2-descriptors", [*TINY[2:], "--init", str(first)]),
        (third, "batmannet-2", [*TINY[2:], "--init", str(second)]),
    ]
    for output, name, options in stages:
        words = ["pretrain", str(corpus), "--config", str(RECIPES / f"{name}.yaml"), "--output", str(output), *options]
        assert cli.main(words) == 0, capsys.readouterr().err
    described = json.loads((third / "encoder" / "config.json").read_text(encoding="utf-8"))
    assert described["objective"]["name"] == "descriptors+fingerprints" and described["training"]["init"] == str(second)
    keys = described["training"]["corpus_keys"]
    assert keys["molecules"] == 200 and keys["unknown"] == []  # each stage knows that the one before saw the same
    grafts_the_hidden_layers(third, tmp_path / "grafted", monkeypatch)


def grafts_the_hidden_layers(run: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the recipe ends with: the summary gives what the hidden layers of the heads gave."""
    monkeypatch.setattr(sys, "argv", ["graft_summary.py", str(run), str(output)])
    runpy.run_path(str(RECIPES / "graft_summary.py"), run_name="__main__")
    before, after = load_encoder(str(run)), load_encoder(str(output))
    batch = collate([graph_from_smiles(text)[0] for text in ("CCO", "c1ccccc1C(=O)[O-]", "C[C@H](N)C(=O)O")])
    vectors = after.molecule_vectors(after(batch), batch)
    pooled = before.molecule_vectors(before(batch), batch)
    state = load_model(str(run), ("pretraining",)).state
    hidden = []
    for head in ("descriptors", "fingerprints"):
        mean, variance, weight, bias = (
            state[f"parts.{head}.predict.{name}"] for name in ("0.mean", "0.variance", "1.weight", "1.bias")
        )
        hidden.append(torch.relu((pooled - mean) / (variance + 1e-5).sqrt() @ weight.T + bias))
    assert torch.allclose(vectors, torch.cat([pooled, *hidden], 1), rtol=1e-4, atol=1e-4)
    assert hidden[0].abs().max() > 0 and hidden[1].abs().max() > 0
    carried = keys_of(output, load_model(str(output)).config)
    assert carried is not None and carried.molecules == 200
    card = (output / "README.md").read_text(encoding="utf-8")
    assert f"vectors of {after.molecule_width:,} columns" in card.split("## Data")[0]
    config = load_model(str(output)).config
    assert config["objective"]["name"] == "descriptors+fingerprints"
    assert config["training"]["summary_from_heads"] == ["descriptors", "fingerprints"]
    with pytest.raises(SystemExit):
        runpy.run_path(str(RECIPES / "graft_summary.py"), run_name="__main__")
    sys.argv.append("--overwrite")
    runpy.run_path(str(RECIPES / "graft_summary.py"), run_name="__main__")


def test_the_recipe_of_the_bundled_encoder_works_in_its_clone(tmp_path: Path) -> None:
    """Called from elsewhere; the commands are stand-ins that note where they were called and with what."""
    clone, stubs, elsewhere = (tmp_path / name for name in ("a clone", "stubs", "elsewhere"))
    for folder in (clone / "recipes", stubs, elsewhere):
        folder.mkdir(parents=True)
    recipe = shutil.copy(RECIPES / "batmannet-2.sh", clone / "recipes")
    for name in ("python", "mesomer", "torchrun"):
        (stubs / name).write_text(f'#!/bin/sh\necho "$PWD: {name} $*" >> "{tmp_path}/told"\n')
        (stubs / name).chmod(0o755)
    around = os.environ | {"PATH": f"{stubs}:{os.environ['PATH']}"}
    subprocess.run(["sh", os.path.relpath(recipe, elsewhere)], cwd=elsewhere, env=around, check=True)
    told = (tmp_path / "told").read_text().splitlines()
    assert len(told) == 8 and all(line.startswith(f"{clone}: ") for line in told)
    assert told[-1].endswith("graft_summary.py runs/batmannet-2-last runs/batmannet-2")
    assert (clone / "corpora").is_dir() and not list(elsewhere.iterdir())


def test_finished_models_get_the_keys_of_their_corpus(tmp_path: Path, capsys) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(80))
    corpus = prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add="inchikeys").corpus
    old, other, later = (save_encoder(tmp_path / name) for name in ("old", "other", "later"))
    facts = {"old": {}, "other": {}, "later": {"init": "runs/before"}}
    for path in (old, other, later):
        config = json.loads((path / "config.json").read_text())
        config["training"] = {"corpus_fingerprint": corpus.fingerprint} | facts[path.name]
        (path / "config.json").write_text(json.dumps(config))
    script = runpy.run_path(str(RECIPES / "corpus_keys.py"))["main"]
    assert script([str(corpus.path), str(later)]) == 2 and not list(later.glob("corpus_keys*"))
    assert "--whole_chain" in capsys.readouterr().err
    for _ in range(2):
        words = [str(corpus.path), str(old), str(later), "--refer", str(other), "--whole_chain"]
        assert script(words) == 0, capsys.readouterr().err
    for path in (old, later):
        found = keys_of(path, read_config(path))
        assert found is not None and found.to_bytes() == CorpusKeys.of(corpus).to_bytes()
        assert (path / "README.md").read_text().count("## Keys of the corpus") == 1
    assert read_config(other)["training"]["corpus_keys"]["molecules"] == 80 and len(list(other.iterdir())) == 3


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_bundled_models_name_their_pooling(name: str) -> None:
    """A default that changes later must not change their vectors."""
    described = read_config(bundled_models()[name])["encoder"]["config"]
    assert described["pooling"] == "mean_sum" == load_encoder(name).pooling


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contexts")
    table = write_table(folder / "table.csv", demo_smiles(60))
    added = "atom_contexts,bond_contexts,motifs"
    return prepare_corpus(table, folder / "corpus", workers=1, quiet=True, add=added).corpus.path


@pytest.mark.parametrize("size", ["base", "large", "small"])
def test_recipes_of_grover_train(contexts: Path, size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = RECIPES / f"grover-{size}.yaml"
    words = ["pretrain", str(contexts), "--config", str(settings), "--output", str(tmp_path / "run"), *TINY]
    assert cli.main(words) == 0, capsys.readouterr().err
    described = json.loads((tmp_path / "run" / "pretraining" / "config.json").read_text(encoding="utf-8"))
    wanted, encoder = yaml.safe_load(settings.read_text(encoding="utf-8")), described["encoder"]["config"]
    assert encoder.items() >= {**wanted["encoder"], "depth": 4 if size == "small" else 6, "heads": 4}.items()
    assert described["objective"]["name"] == "contextual+motifs"
    assert described["objective"]["config"]["motifs"]["by_view"]
    for part, options in wanted["objective_options"].items():
        assert described["objective"]["config"][part].items() >= options.items()


@pytest.mark.parametrize("size", ["base", "small"])
def test_both_stages_of_rmat_train(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe's two commands with small encoders, the second from the weights of the first."""
    pytest.importorskip("descriptastorus", reason="the 200 descriptors need mesomer[descriptors]")
    table = write_table(tmp_path / "table.csv", molecules(60))
    added = "atom_contexts,conformers,descriptors"
    corpus = prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add=added).corpus.path
    first, second = tmp_path / "first", tmp_path / "second"
    small = [*TINY, "--encoder.heads=2", "--encoder.ffn_hidden=8"]
    stages = [(first, f"rmat-{size}-masked", small), (second, f"rmat-{size}", [*TINY[2:], "--init", str(first)])]
    for output, name, options in stages:
        words = ["pretrain", str(corpus), "--config", str(RECIPES / f"{name}.yaml"), "--output", str(output), *options]
        assert cli.main(words) == 0, capsys.readouterr().err
        wanted = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
        described = json.loads((output / "pretraining" / "config.json").read_text(encoding="utf-8"))
        assert described["objective"]["name"] == wanted["objective"]
        assert described["objective"]["config"].items() >= wanted.get("objective_options", {}).items()
        assert described["encoder"]["config"].items() >= wanted.get("encoder", {}).items()
    assert described["training"]["init"] == str(first) and described["encoder"]["name"] == "rmat"


def test_rates_of_rmat_are_tuned_on_the_validation_parts(tmp_path: Path) -> None:
    encoder = build_encoder("rmat", hidden_size=16, heads=2, blocks=1, ffn_hidden=16)
    config = {"encoder": {"name": "rmat", "config": encoder.config()}}
    model = save_model(tmp_path / "model", "encoder", config, encoder.state_dict(), "# test\n")
    smiles = molecules(40)
    rows = {"smiles": smiles, "n": [heteroatoms(text) + 0.5 for text in smiles]}
    words = [sys.executable, str(RECIPES / "rmat_rates.py"), str(write_columns(tmp_path / "table.csv", rows))]
    words += ["--targets", "n", "--model", str(model), "--output", str(tmp_path / "runs"), "--epochs", "5"]
    words += ["--repeats", "2", "--rates", "0.05", "1e-9"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    scores = {rate: float(score) for rate, score in re.findall(r"rate (\S+): (\S+) on the validation", done.stdout)}
    assert scores.keys() == {"0.05", "1e-09"} and f"chosen rate {min(scores, key=scores.get)}, n: " in done.stdout
    kept = yaml.safe_load((tmp_path / "runs" / "rate-0.05" / "config.yaml").read_text(encoding="utf-8"))
    peak = 100 * 0.05 / math.sqrt(768 * 0.2 * 5 * 2)  # five epochs of two batches
    assert kept["max_lr"] == pytest.approx(peak) and kept["warmup_epochs"] == 1 and kept["select"] == "last"
    wrong = subprocess.run([*words[:3], "--targets", "m", *words[5:]], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


def test_the_corpus_is_a_function_of_the_seed(data_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MESOMER_DATA", str(data_folder))
    told = []
    for name in ("one", "two"):
        words = [sys.executable, str(RECIPES / "drug_like.py"), str(tmp_path / f"{name}.csv.gz"), "--zinc", "50"]
        told.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    one, two = ((tmp_path / f"{name}.csv.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    for name, text in zip(("one", "two"), told, strict=True):
        assert f"mesomer prepare {tmp_path / name}.csv.gz --output corpora/{name} --add" in text
    with gzip.open(data_folder / "corpus" / "zinc_clean_leads.csv.gz", "rt", newline="") as handle:
        leads = [row["smiles"] for row in csv.DictReader(handle)]
    random.Random(0).shuffle(leads)
    rows = gzip.decompress(one).decode().splitlines()
    assert rows[0] == "smiles" and rows[1:51] == leads[:50] and len(rows) == 1 + 50 + 75_271


def test_the_corpus_of_the_bundled_encoder_is_the_one_of_its_card(
    data_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MESOMER_DATA", str(data_folder))
    table = tmp_path / "drug_like.csv.gz"
    subprocess.run([sys.executable, str(RECIPES / "drug_like.py"), str(table)], capture_output=True, check=True)
    card = RECIPES.parent / "src" / "mesomer" / "bundled" / "batmannet-2" / "README.md"
    assert hashlib.sha256(gzip.decompress(table.read_bytes())).hexdigest()[:16] in card.read_text(encoding="utf-8")


def test_too_many_molecules_are_refused(data_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MESOMER_DATA", str(data_folder))
    words = [sys.executable, str(RECIPES / "drug_like.py"), str(tmp_path / "x.csv.gz"), "--zinc", "9000000"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "9,000,000" in done.stderr and not list(tmp_path.iterdir())
