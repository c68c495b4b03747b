"""Prepare: what ends up in a corpus, and that nothing that happens on the way changes it."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from small_corpora import CHUNK_ROWS, contents, demo_smiles, make_small, write_table

from mesomer.chem.featurize import graph_from_smiles
from mesomer.data import additions
from mesomer.data.chunks import smiles_hash
from mesomer.data.corpus import Corpus
from mesomer.data.duplicates import _first_occurrences, choose_parts, is_held_out
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.errors import MesomerError

BAD = ["C1CC", "", "not a molecule", "[H][H]", "C" * 501]
REASONS = {"cannot parse": 2, "empty": 1, "no heavy atoms": 1, "more than 500 atoms": 1}


def canonical(smiles: str) -> str:
    return Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture
def table(tmp_path, small) -> Path:
    """Good rows with duplicates in other spellings, and bad rows between them."""
    smiles = demo_smiles(330)
    respelt = [Chem.MolToSmiles(Chem.MolFromSmiles(text), doRandom=True) for text in smiles[:20]]
    return write_table(tmp_path / "table.csv", [*smiles[:100], *BAD, *respelt, *smiles[100:]])


def make(table: Path, folder: Path, **options) -> Corpus:
    return prepare_corpus(table, folder, quiet=True, **{"workers": 1, **options}).corpus


def everything(corpus: Corpus) -> list[tuple[int, str, str]]:
    """Number, part and SMILES of all molecules, by number."""
    found = []
    for part in ("train", "held_out"):
        if count := corpus.count(part):
            places = np.arange(count)
            numbers = corpus.molecules(part, places).number.tolist()
            found += zip(numbers, [part] * count, corpus.smiles(part, places), strict=True)
    return sorted(found)


def test_holds_each_molecule_once_in_input_order(table, tmp_path):
    corpus = make(table, tmp_path / "corpus")
    expected = list(dict.fromkeys(canonical(text) for text in demo_smiles(330)))
    found = everything(corpus)
    assert [smiles for _, _, smiles in found] == expected
    assert [number for number, _, _ in found] == list(range(len(expected)))
    assert corpus.card["duplicates"] == 350 - len(expected)
    assert corpus.num_train + corpus.num_held_out == corpus.card["molecules"] == len(expected)
    assert len(corpus.shards("train")) == 3


def test_codes_are_those_of_the_stored_smiles(table, tmp_path):
    corpus = make(table, tmp_path / "corpus")
    for part in ("train", "held_out"):
        places = np.arange(corpus.count(part))
        batch = corpus.batch(part, places)
        atoms, bonds = batch.atom_offsets.tolist(), batch.bond_offsets.tolist()
        for at, smiles in enumerate(corpus.smiles(part, places)):
            graph, _ = graph_from_smiles(smiles)
            assert np.array_equal(batch.atom_codes[atoms[at] : atoms[at + 1]].numpy(), graph.atoms)
            assert np.array_equal(batch.bond_codes[bonds[at] : bonds[at + 1]].numpy(), graph.bonds)
            ends = batch.source[2 * bonds[at] : 2 * bonds[at + 1]].numpy().reshape(-1, 2) - atoms[at]
            assert np.array_equal(ends, graph.ends)


def test_rows_lead_back_to_the_input(table, tmp_path):
    corpus = make(table, tmp_path / "corpus")
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    for number in range(len(corpus.shards("train"))):
        shard = corpus.open_shard("train", number)
        places = np.arange(len(shard.molecules))
        for row, smiles in zip(shard.rows(places), shard.smiles(places), strict=True):
            assert canonical(rows[row - 1]["smiles"]) == smiles


def test_rejects_are_listed_with_row_line_and_reason(table, tmp_path):
    corpus = make(table, tmp_path / "corpus")
    assert corpus.card["rejects"] == REASONS
    rejects = list(csv.DictReader((tmp_path / "corpus" / "rejects.csv").open(encoding="utf-8")))
    assert [(int(item["row"]), int(item["line"])) for item in rejects] == [(101 + n, 102 + n) for n in range(5)]
    assert [item["smiles"] for item in rejects] == BAD


def test_hold_out_rule_is_the_documented_one(table, tmp_path):
    # Published hashes: a change of the rule would silently mix training and held-out molecules of older corpora.
    assert smiles_hash("CCO").hex() == "0c06e880517ec7d4bb17db19c33d30e1"
    for _, part, smiles in everything(make(table, tmp_path / "corpus")):
        below = int.from_bytes(smiles_hash(smiles)[:8], "little") < int(0.05 * 2**64)
        assert (part == "held_out") == below


def test_hold_out_share():
    hashes = np.random.default_rng(0).integers(0, 2**64, (200_000, 2), dtype=np.uint64)
    assert abs(is_held_out(hashes).mean() - 0.05) < 0.002


def test_first_occurrence_wins_and_passes_agree(table, tmp_path, monkeypatch):
    hashes = np.array([[7, 1], [3, 2], [7, 1], [7, 2], [3, 2]], dtype=np.uint64)
    assert sorted(_first_occurrences(hashes)) == [0, 1, 3]
    monkeypatch.setattr("mesomer.data.prepare.remove", lambda path: None)
    make(table, tmp_path / "corpus")
    chunks = sorted((tmp_path / "corpus" / "staging" / "chunks").rglob("*.arrow"))
    assert len(chunks) == -(-355 // CHUNK_ROWS)
    assert np.array_equal(choose_parts(chunks), choose_parts(chunks, hashes_a_pass=40))


def test_any_number_of_workers_makes_the_same_bytes(table, tmp_path):
    for workers in (1, 2):
        make(table, tmp_path / str(workers), workers=workers, add=["motifs"])
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


class Killed(BaseException):
    """Stands for a kill at one moment."""


def test_stopped_after_any_file_it_goes_on_to_the_same_bytes(table, tmp_path, monkeypatch):
    make(table, tmp_path / "whole", add=["motifs"])
    expected, real = contents(tmp_path / "whole"), os.replace
    writes = 0

    def counting(*paths):
        nonlocal writes
        writes += 1
        return real(*paths)

    monkeypatch.setattr(os, "replace", counting)
    make(table, tmp_path / "counted", add=["motifs"])
    for allowed in range(3, writes, 4):
        left = allowed

        def failing(*paths):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*paths)

        folder = tmp_path / f"stopped-{allowed}"
        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(Killed):
            make(table, folder, add=["motifs"])
        monkeypatch.setattr(os, "replace", real)
        make(table, folder, add=["motifs"])
        assert contents(folder) == expected, f"stopped after {allowed} files"


def test_finished_chunks_are_not_made_again(table, tmp_path, monkeypatch):
    from mesomer.data import chunks, prepare

    made = []

    def until_the_fourth(task):
        if len(made) == 3:
            raise Killed
        made.append(task.path.name)
        return chunks.make_chunk(task)

    monkeypatch.setattr(prepare, "make_chunk", until_the_fourth)
    with pytest.raises(Killed):
        make(table, tmp_path / "corpus")
    first = list(made)

    def watched(task):
        made.append(task.path.name)
        return chunks.make_chunk(task)

    monkeypatch.setattr(prepare, "make_chunk", watched)
    made.clear()
    result = prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True)
    assert result.state == "resumed"
    assert not set(first) & set(made)


DRIVER = """
import sys
from mesomer.data import additions, assemble, card, prepare
prepare.CHUNK_ROWS, assemble.SHARD_MOLECULES, assemble.BLOCK, card.BLOCK = 25, 120, 16, 16
additions.BLOCK_MOLECULES = 20
prepare.prepare_corpus(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), add=["motifs"], quiet=True)
"""


def test_kill_9_at_random_moments_changes_nothing(table, tmp_path):
    random.seed(os.urandom(8))

    def start(folder: Path, workers: int = 2) -> subprocess.Popen:
        command = [sys.executable, "-c", DRIVER, str(table), str(folder), str(workers)]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole", 1).wait(120) == 0
    folder, kills = tmp_path / "killed", []
    for _ in range(4):
        process = start(folder)
        limit = time.monotonic() + 60
        while not (folder / "staging").exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        delay = random.uniform(0, 2)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills.append(delay)
        process.wait()
    assert start(folder).wait(120) == 0
    assert contents(folder) == contents(tmp_path / "whole"), f"killed after {kills}"


def test_sigterm_saves_and_exits_130(tmp_path):
    table = write_table(tmp_path / "table.csv", demo_smiles(2173) * 2)
    command = [sys.executable, "-m", "mesomer", "prepare", str(table), "--output", str(tmp_path / "corpus")]
    command += ["--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "corpus" / "staging").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert json.loads((tmp_path / "corpus" / "manifest.json").read_text())["status"] == "interrupted"
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "Resuming" in again.stderr, again.stderr
    assert Corpus.open(tmp_path / "corpus").card["duplicates"] >= 2173


def test_a_finished_corpus_is_left_alone(table, tmp_path):
    make(table, tmp_path / "corpus")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}
    again = prepare_corpus(table, tmp_path / "corpus", workers=2, quiet=True)
    assert again.state == "finished"
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}


def test_other_settings_or_input_name_overwrite(table, tmp_path):
    make(table, tmp_path / "corpus")
    with pytest.raises(MesomerError, match="--overwrite"):
        make(table, tmp_path / "corpus", max_atoms=20)
    write_table(table, ["CCO", "CCN"])
    with pytest.raises(MesomerError, match="--overwrite"):
        make(table, tmp_path / "corpus")
    corpus = make(table, tmp_path / "corpus", overwrite=True)
    assert corpus.card["molecules"] == 2
    assert not (tmp_path / "corpus" / "train-00001.arrow").exists()


def test_an_input_that_cannot_be_used_leaves_nothing(tmp_path, small):
    with pytest.raises(MesomerError, match="No row"):
        make(write_table(tmp_path / "bad.csv", BAD), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(MesomerError):
        make(tmp_path / "absent.csv", tmp_path / "corpus")
    (tmp_path / "file").write_text("x")
    with pytest.raises(MesomerError, match="file"):
        make(write_table(tmp_path / "good.csv", ["CCO"]), tmp_path / "file" / "corpus")
    with pytest.raises(MesomerError, match="workers"):
        make(tmp_path / "good.csv", tmp_path / "corpus", workers=-1)


def test_too_little_disk_is_told_at_the_start(table, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(MesomerError, match=r"needs about .* the disk has 0.0 MB free"):
        make(table, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_disk_estimate_is_near_the_truth(table, tmp_path):
    from mesomer.data.disk import bytes_needed

    corpus = make(table, tmp_path / "corpus")
    size = sum(shard["bytes"] for part in ("train", "held_out") for shard in corpus.shards(part))
    assert 0.8 * size < bytes_needed([s for _, _, s in everything(corpus)], corpus.card["molecules"]) < 2.5 * size


def test_coordinates_follow_their_atoms(tmp_path, small):
    texts = ["OCC(=O)Nc1ccccc1C", "CC[C@H](N)C(=O)O", "CCO"]
    writer = Chem.SDWriter(str(tmp_path / "mols.sdf"))
    order = random.Random(1)
    for text in texts:
        mol = Chem.AddHs(Chem.MolFromSmiles(text))
        AllChem.EmbedMolecule(mol, randomSeed=7)
        places = list(range(mol.GetNumAtoms()))
        order.shuffle(places)
        writer.write(Chem.RenumberAtoms(mol, places))
    writer.close()
    corpus = make(tmp_path / "mols.sdf", tmp_path / "corpus")
    assert corpus.card["with_coordinates"] == 3
    for part in ("train", "held_out"):
        if corpus.count(part):
            batch = corpus.batch(part, np.arange(corpus.count(part)))
            length = (batch.coordinates[batch.source] - batch.coordinates[batch.target]).norm(dim=1)
            assert ((length > 1.1) & (length < 1.7)).all()


def test_drawings_are_not_coordinates(tmp_path, small):
    writer = Chem.SDWriter(str(tmp_path / "mols.sdf"))
    flat, solid = Chem.MolFromSmiles("CCO"), Chem.AddHs(Chem.MolFromSmiles("CCN"))
    AllChem.Compute2DCoords(flat)
    AllChem.EmbedMolecule(solid, randomSeed=7)
    writer.write(flat)
    writer.write(solid)
    writer.close()
    corpus = make(tmp_path / "mols.sdf", tmp_path / "corpus")
    assert corpus.card["with_coordinates"] == 1
    known = [not bool(corpus.batch("train", [at]).coordinates.isnan().any()) for at in range(corpus.num_train)]
    assert sorted(zip(corpus.smiles("train", range(corpus.num_train)), known, strict=True)) in (
        [("CCN", True), ("CCO", False)],
        [("CCN", True)],
        [("CCO", False)],
    )


def test_lists_and_frames_are_taken(tmp_path, small):
    import pandas

    smiles = demo_smiles(30)
    from_list = mesomer_prepare(smiles, tmp_path / "list")
    from_frame = mesomer_prepare(pandas.DataFrame({"smiles": smiles}), tmp_path / "frame")
    assert from_list.fingerprint == from_frame.fingerprint
    with pytest.raises(MesomerError, match="--overwrite"):
        mesomer_prepare(smiles[:-1], tmp_path / "list")


def mesomer_prepare(source, folder):
    from mesomer.data.prepare import prepare

    return prepare(source, folder, workers=1, quiet=True)


def test_several_files_are_one_corpus(tmp_path, small):
    smiles = demo_smiles(60)
    for number in range(3):
        write_table(tmp_path / f"part{number}.csv", [*smiles[20 * number : 20 * number + 20], "broken("])
    corpus = make(f"{tmp_path}/part*.csv", tmp_path / "corpus")
    assert [smiles for _, _, smiles in everything(corpus)] == list(dict.fromkeys(canonical(text) for text in smiles))
    assert len(corpus.card["source"]["files"]) == 3
    rejects = list(csv.DictReader((tmp_path / "corpus" / "rejects.csv").open(encoding="utf-8")))
    assert [Path(item["file"]).name for item in rejects] == ["part0.csv", "part1.csv", "part2.csv"]


def test_a_lost_shard_is_named_and_made_again(table, tmp_path):
    folder = tmp_path / "corpus"
    make(table, folder)
    before = contents(folder)
    (folder / "train-00001.arrow").unlink()
    with pytest.raises(MesomerError, match=r"lacks its part train-00001.arrow.*mesomer prepare --config"):
        Corpus.open(folder)
    make(table, folder)
    assert contents(folder) == before
    data = (folder / "held_out-00000.arrow").read_bytes()
    (folder / "held_out-00000.arrow").write_bytes(data[:-100])
    with pytest.raises(MesomerError, match=r"held_out-00000.arrow is damaged.*mesomer prepare --config"):
        Corpus.open(folder)
    make(table, folder)
    assert contents(folder) == before


def test_a_shard_that_comes_out_different_is_refused(table, tmp_path):
    folder = tmp_path / "corpus"
    make(table, folder)
    card = json.loads((folder / "corpus.json").read_text())
    card["shards"][0]["sha256"] = "0" * 64
    (folder / "corpus.json").write_text(json.dumps(card))
    (folder / card["shards"][0]["file"]).unlink()
    with pytest.raises(MesomerError, match="came out different"):
        make(table, folder)


def test_added_columns(table, tmp_path):
    from mesomer.chem.motifs import motif_labels

    plain = make(table, tmp_path / "corpus")
    shards = {shard["file"]: shard["sha256"] for shard in plain.card["shards"]}
    done = add_to_corpus(tmp_path / "corpus", "motifs", workers=1, quiet=True)
    assert done.added == ["motifs"]
    assert {shard["file"]: shard["sha256"] for shard in done.corpus.card["shards"]} == shards
    places = np.array([5, 300, 2, 130])
    batch = done.corpus.batch("train", places)
    mols = [Chem.MolFromSmiles(text) for text in done.corpus.smiles("train", places)]
    assert np.array_equal(batch.extras["motifs"].numpy(), motif_labels(mols))
    assert "motifs" not in Corpus.open(tmp_path / "corpus", extras=()).batch("train", [0]).extras
    assert add_to_corpus(tmp_path / "corpus", "motifs", workers=1, quiet=True).added == []
    (tmp_path / "corpus" / "train-00001.motifs.arrow").unlink()
    with pytest.raises(MesomerError, match=r"train-00001.motifs.arrow"):
        Corpus.open(tmp_path / "corpus")
    assert add_to_corpus(tmp_path / "corpus", "motifs", workers=1, quiet=True).added == ["motifs"]
    assert np.array_equal(
        Corpus.open(tmp_path / "corpus").batch("train", places).extras["motifs"], batch.extras["motifs"]
    )


def test_additions_of_every_level(table, tmp_path, monkeypatch):
    from mesomer.data.shards import Column

    def atoms(mols, numbers):
        return np.array([[atom.GetIdx(), atom.GetAtomicNum()] for mol in mols for atom in mol.GetAtoms()])

    def bonds(mols, numbers):
        return np.array([[bond.GetBondTypeAsDouble()] for mol in mols for bond in mol.GetBonds()])

    def keys(mols, numbers):
        return numbers[:, None]

    monkeypatch.setitem(additions.ADDITIONS, "a", additions.Addition(Column("atom", "int16", 2), "", atoms))
    monkeypatch.setitem(additions.ADDITIONS, "b", additions.Addition(Column("bond", "float32", 1), "", bonds))
    monkeypatch.setitem(additions.ADDITIONS, "k", additions.Addition(Column("molecule", "int64", 1), "", keys))
    corpus = make(table, tmp_path / "corpus", add="a, b,k")
    batch = corpus.batch("train", [200, 3, 121])
    from mesomer.chem.schema import atom_field

    assert np.array_equal(batch.extras["a"][:, 1], atom_field(batch.atom_codes, "atomic_number"))
    assert np.array_equal(batch.extras["a"][:, 0] + batch.atom_offsets[batch.atom_molecule], np.arange(batch.num_atoms))
    assert len(batch.extras["b"]) * 2 == batch.num_bonds
    assert np.array_equal(batch.extras["k"][:, 0], batch.key)


def test_a_new_version_of_an_addition_is_computed_again(table, tmp_path, monkeypatch):
    make(table, tmp_path / "corpus", add=["motifs"])
    old = additions.ADDITIONS["motifs"]
    newer = additions.Addition(old.column, old.meaning, lambda mols, numbers: np.ones((len(mols), 85)), version=2)
    monkeypatch.setitem(additions.ADDITIONS, "motifs", newer)
    assert add_to_corpus(tmp_path / "corpus", "motifs", workers=1, quiet=True).added == ["motifs"]
    assert Corpus.open(tmp_path / "corpus").batch("train", [1]).extras["motifs"].all()


def test_unknown_additions_have_a_nearest_name(table, tmp_path):
    with pytest.raises(MesomerError, match="Did you mean motifs"):
        make(table, tmp_path / "corpus", add="motif")
    assert not (tmp_path / "corpus").exists()


@pytest.mark.reference
def test_motifs_match_the_reference(parity):
    from mesomer.chem.motifs import motif_labels, motif_names

    folder = parity("grover")
    assert list(motif_names()) == json.loads((folder / "config.json").read_text())["fg_names"]
    expected = np.load(folder / "expected.npz")["fg_labels_85"]
    smiles = [row["smiles"] for row in csv.DictReader((folder / "smiles.csv").open(encoding="utf-8"))]
    assert np.array_equal(motif_labels([Chem.MolFromSmiles(text) for text in smiles]), expected)


def test_a_write_that_fails_is_one_sentence(table, tmp_path):
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from mesomer.cli import main\n"
        f"raise SystemExit(main(['prepare', {str(table)!r}, '--output', {str(tmp_path / 'corpus')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert f"Cannot write {tmp_path / 'corpus'}: the file grew past the size limit." in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "corpus" / "corpus.json").exists()
    assert not list((tmp_path / "corpus").glob("*.arrow"))
    assert make(table, tmp_path / "corpus").card["molecules"]


@pytest.mark.slow
def test_hostile_files(data_folder, tmp_path):
    folder = data_folder / "hostile" / "files"
    for case in csv.DictReader((folder / "FILES.csv").open(encoding="utf-8")):
        if case["commands"] != "read":
            continue
        outcomes = set(case["outcome"].split(" or "))
        target = tmp_path / case["file"]
        try:
            corpus = make(folder / case["file"], target)
        except MesomerError:
            assert "error" in outcomes, case
            assert not target.exists()
        else:
            assert outcomes & ({"rejects"} if corpus.card["rejected"] else {"ok", "warning"}), case


def test_hostile_rows(data_folder, tmp_path):
    path = data_folder / "hostile" / "rows.csv"
    make(path, tmp_path / "corpus")
    rejects = {int(r["row"]): r["reason"] for r in csv.DictReader((tmp_path / "corpus/rejects.csv").open())}
    for number, row in enumerate(csv.DictReader(path.open(encoding="utf-8", newline="")), 1):
        match row["verdict"]:
            case "ok":
                assert number not in rejects, row
            case "empty":
                assert rejects[number] == "empty", row
            case "rejected":
                assert number in rejects, row


def test_the_documented_python_runs(tmp_path, small, monkeypatch, capsys):
    page = Path(__file__).resolve().parents[2] / "docs" / "corpus.md"
    monkeypatch.chdir(tmp_path)
    write_table(Path("library.csv"), demo_smiles(60))
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(page), "exec"), {})
    assert "['number', 'row', 'num_atoms'" in capsys.readouterr().out
