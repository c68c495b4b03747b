"""Which keys of its corpus a model carries, from one pre-training to the next; what wrong files are answered with."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from rdkit import Chem
from small_corpora import demo_smiles, write_table
from small_models import save_encoder

from mesomer.chem.scaffolds import scaffold
from mesomer.commands.info import info
from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import Corpus
from mesomer.data.corpus_keys import KINDS, CorpusKeys
from mesomer.data.prepare import prepare_corpus
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import ModelFolder, bundled_models, load_model, read_config
from mesomer.training.model_keys import FILE, keys_of, keys_to_carry

TINY = {
    "encoder": {"hidden_size": 8, "blocks": 1, "depth": 2},
    "max_steps": 2,
    "atoms_per_batch": 400,
    "threads": 1,
    "probe_molecules": 0,
    "accelerator": "cpu",
    "precision": "32",
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """Two corpora that share some molecules, with the column and without."""
    folder, smiles = tmp_path_factory.mktemp("corpora"), demo_smiles(200)
    found = {}
    for name, part in (("one", smiles[:120]), ("two", smiles[60:])):
        table = write_table(folder / f"{name}.csv", part)
        for suffix, add in (("", "inchikeys"), ("_bare", "")):
            path = folder / f"{name}{suffix}"
            found[name + suffix] = prepare_corpus(table, path, add=add, workers=1, quiet=True).corpus
    return found


@pytest.fixture(scope="module")
def run(corpora: dict[str, Corpus], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the first corpus."""
    output = tmp_path_factory.mktemp("runs") / "first"
    command(str(corpora["one"].path), output=str(output), **TINY)
    return output


@pytest.fixture
def model(run: Path, tmp_path: Path) -> Path:
    """A copy of its encoder, to do harm to."""
    return Path(shutil.copytree(run / "encoder", tmp_path / "model"))


def keys_in(path: Path) -> CorpusKeys | None:
    """Keys of a model folder."""
    return keys_of(path, read_config(path))


def change(path: Path, **training: object) -> ModelFolder:
    """Writes other facts of the training into a model folder; None takes one away."""
    config = json.loads((path / "config.json").read_text())
    config["training"] = {k: v for k, v in (config["training"] | training).items() if v is not None}
    (path / "config.json").write_text(json.dumps(config))
    return load_model(path)


def test_a_run_leaves_the_keys_of_its_corpus(run: Path, corpora: dict[str, Corpus]) -> None:
    one = corpora["one"]
    wanted = CorpusKeys.of(one)
    for part in ("encoder", "pretraining"):
        content = (run / part / FILE).read_bytes()
        assert content == wanted.to_bytes()
        entry = read_config(run / part)["training"]["corpus_keys"]
        assert entry["sha256"] == hashlib.sha256(content).hexdigest() and entry["bits"] == 40
        assert entry["molecules"] == one.num_train + one.num_held_out == entry["exact"] and entry["unknown"] == []
        assert entry["corpora"] == {one.fingerprint: entry["molecules"]}
        card = (run / part / "README.md").read_text()
        assert f"keys of the {entry['molecules']} molecules" in " ".join(card.split()) and FILE in card
    assert f"keys of the {entry['molecules']} molecules" in (run / "log.txt").read_text()
    assert f"corpus keys: of {entry['molecules']} molecules" in info(str(run / "encoder"))["text"]
    assert load_model(run).config["training"]["corpus_keys"] == entry


def test_a_corpus_without_the_column_gives_none_and_says_how(corpora: dict[str, Corpus], tmp_path: Path) -> None:
    bare = corpora["one_bare"]
    command(str(bare.path), output=str(tmp_path / "run"), **TINY)
    path = tmp_path / "run" / "encoder"
    assert keys_in(path) is None and not (path / FILE).exists() and FILE not in (path / "README.md").read_text()
    assert f"mesomer prepare {bare.path} --add inchikeys" in (tmp_path / "run" / "log.txt").read_text()
    assert "corpus keys" not in info(str(path))["text"]


def test_a_chain_on_two_corpora_unites_their_keys(run: Path, corpora: dict[str, Corpus], tmp_path: Path) -> None:
    rest = {key: value for key, value in TINY.items() if key != "encoder"}
    command(str(corpora["two"].path), output=str(tmp_path / "run"), init=str(run), **rest)
    found, first, second = keys_in(tmp_path / "run" / "encoder"), *(CorpusKeys.of(corpora[n]) for n in ("one", "two"))
    assert found is not None and found.corpora == second.corpora | first.corpora and found.unknown == ()
    for kind in KINDS:
        assert set(found.keys[kind].tolist()) == set(first.keys[kind].tolist()) | set(second.keys[kind].tolist())


def test_what_goes_on_from_a_start(run: Path, model: Path, corpora: dict[str, Corpus]) -> None:
    start, own = load_model(run), CorpusKeys.of(corpora["one"]).to_bytes()
    assert keys_to_carry(corpora["one"], start).content == own
    assert keys_to_carry(corpora["one_bare"], start).content == own  # the same molecules
    assert keys_to_carry(corpora["two_bare"], start)[:2] == (None, None)
    (model / FILE).unlink()
    keyless = change(model, corpus_keys=None)
    assert keys_to_carry(corpora["one"], keyless).content == own
    other = keys_to_carry(corpora["two"], keyless)
    assert other.entry is not None and other.entry["unknown"] == [str(model)]
    later = change(model, init="runs/before")
    assert keys_to_carry(corpora["one"], later).entry["unknown"] == ["runs/before"]


def test_models_without_keys_stay_valid(tmp_path: Path) -> None:
    path = save_encoder(tmp_path / "old")
    assert keys_in(path) is None and load_model(path).kind == "encoder"


def test_a_file_that_the_config_does_not_know_is_known_by_its_corpus(model: Path, corpora: dict[str, Corpus]) -> None:
    change(model, corpus_keys=None)
    found = keys_in(model)
    assert found is not None and found.corpora == CorpusKeys.of(corpora["one"]).corpora


def test_equal_keys_lie_in_one_bundled_folder(run: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model / FILE).unlink()
    monkeypatch.setattr("mesomer.training.model_keys.bundled_models", lambda: {"a": model, "b": run / "encoder"})
    found, own = keys_in(model), keys_in(run / "encoder")
    assert found is not None and own is not None and found.to_bytes() == own.to_bytes()


@pytest.mark.parametrize("harm", ["byte", "cut", "missing", "foreign", "other", "text"])
def test_wrong_files_are_one_sentence(harm: str, model: Path, corpora: dict[str, Corpus]) -> None:
    file = model / FILE
    content = file.read_bytes()
    words = "not the file that config.json describes"
    if harm == "byte":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "cut":
        file.write_bytes(content[:-1])
    elif harm == "missing":
        file.unlink()
        words = "is missing"
    elif harm == "foreign":
        file.write_bytes(CorpusKeys.of(corpora["two"]).to_bytes())
    elif harm == "other":
        file.write_bytes(CorpusKeys.of(corpora["two"]).to_bytes())
        change(model, corpus_keys=None)
        words = "belongs to a model of another corpus"
    else:
        file.write_text("version https://git-lfs.github.com/spec/v1")
        change(model, corpus_keys=None)
        words = "cannot be read: it is no whole safetensors file"
    with pytest.raises(MesomerError, match=words) as caught:
        keys_in(model)
    assert "--corpus" in caught.value.hint and caught.value.message.count(". ") == 0


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_bundled_models_know_their_corpus_wherever_they_are_copied(name: str, tmp_path: Path) -> None:
    folder = bundled_models()[name]
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    keys, training = keys_in(copy), read_config(folder)["training"]
    assert keys is not None and keys.unknown == ()
    assert keys.corpora == {
        training["corpus_fingerprint"]: training["train_molecules"] + training["held_out_molecules"]
    }
    celecoxib = Chem.MolFromSmiles("Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1")
    assert keys.contains("scaffold", [scaffold(celecoxib, False)]).all()
    buckminsterfullerene = "XMWRBQBLMFGWIX-UHFFFAOYSA-N"
    assert not keys.contains("exact", [buckminsterfullerene]).any()
    assert len(list(folder.glob(FILE))) == 0 or (folder / FILE).stat().st_size < 2.5e6
