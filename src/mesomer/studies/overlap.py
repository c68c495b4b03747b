"""Which molecules of a study are in the corpus that the model was pre-trained on.

Three kinds of "in": the same InChIKey, the same skeleton (first block: without stereo), the same Murcko scaffold
(molecules without rings count for nothing there). Decided: "outside the corpus" in the scores means that not even the
skeleton is in it. Where a corpus is named, it is looked through: a prepared one (both parts, held-out molecules too) or
any table of molecules. An InChI is computed only for molecules whose hash of elements and bonds occurs in the study, so
that a corpus of millions takes minutes. Else the keys are asked that the model carries of its corpus; else the corpus
of its run, if it still lies there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.featurize import featurize_many
from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.chem.scaffolds import scaffold
from mesomer.data.corpus import CARD, PARTS, Corpus
from mesomer.data.corpus_keys import BITS, CorpusKeys
from mesomer.data.tables import open_table
from mesomer.progress import Progress
from mesomer.run import read_manifest
from mesomer.studies import skeletons
from mesomer.studies.checks import SHOWN, Check
from mesomer.studies.molecules import StudyData
from mesomer.training.checkpoint import ModelFolder
from mesomer.training.model_keys import ENTRY, keys_of

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MOLECULES_A_PASS = 1 << 16
Piece = tuple[skeletons.Arrays, Callable[[NDArray[np.integer]], list[Any]]]
"""Some molecules of a corpus, and a way to get those at some positions as RDKit molecules."""


def corpus_of(model: str, folder: ModelFolder) -> str | None:
    """The corpus of a run of `mesomer pretrain`, if it still lies where the run found it and is the same."""
    manifest = read_manifest(model) if os.path.isdir(model) else None
    if manifest is None or manifest.get("command") != "pretrain":
        return None
    path = Path(str(manifest["config"].get("corpus")))
    if not (path / CARD).is_file():
        return None
    return str(path) if Corpus.open(path, []).fingerprint == _fingerprint(folder) else None


def _init_outside(folder: ModelFolder) -> str | None:
    """What a model started from, unless its keys say that nothing was trained on outside its own corpus."""
    training = folder.config.get("training") or {}
    entry = training.get(ENTRY) or {}
    covered = entry.get("unknown") == [] and list(entry.get("corpora", {})) == [_fingerprint(folder)]
    return None if covered else training.get("init")


def _fingerprint(folder: ModelFolder) -> str | None:
    return (folder.config.get("training") or {}).get("corpus_fingerprint")


def look_up(study: StudyData, corpus: str | None, model: str, folder: ModelFolder) -> dict[str, Any] | None:
    """The overlap with the `corpus` that was named, else with that of the model; None where neither is at hand."""
    if corpus is None:
        keys = keys_of(folder.path, folder.config)
        if keys is not None:
            return find_in_keys(study, keys)
        corpus = corpus_of(model, folder)
    return None if corpus is None else find_overlap(study, corpus, folder)


def find_in_keys(study: StudyData, keys: CorpusKeys) -> dict[str, Any]:
    """Rows of the study's molecules whose keys a model carries, as `overlap.json` has it."""
    looked_for = {
        "exact": study.keys,
        "skeleton": [skeleton(key) for key in study.keys],
        "scaffold": study.molecules.scaffolds(False),
    }
    return {
        "corpus": None,
        "source": "the keys of the corpus that the model carries",
        "molecules": keys.molecules,
        "is_of_the_model": True,
        "init": ", ".join(keys.unknown) or None,
        "bits": BITS,
        **{
            kind: [row for row, hit in zip(study.data.rows, keys.contains(kind, texts), strict=True) if hit]
            for kind, texts in looked_for.items()
        },
    }


def find_overlap(study: StudyData, corpus: str, folder: ModelFolder) -> dict[str, Any]:
    """Rows of the study's molecules that are in the corpus, as `overlap.json` has it."""
    search = _Search(study)
    prepared = (Path(corpus) / CARD).is_file()
    opened = Corpus.open(corpus, []) if prepared else None
    count = 0
    known = None if opened is None else opened.num_train + opened.num_held_out
    with Progress(known, "molecules", "looking through the corpus") as bar:
        for graph, mols in _prepared(opened) if opened is not None else _table(corpus):
            search.look(graph, mols)
            count += graph.molecules
            bar.advance(graph.molecules)
    rows = study.data.rows
    same = None if opened is None else opened.fingerprint == _fingerprint(folder)
    return {
        "corpus": corpus,
        "source": "the molecules of the corpus themselves",
        "molecules": count,
        "is_of_the_model": same,
        "init": _init_outside(folder) if same else (folder.config.get("training") or {}).get("init"),
        "exact": [rows[at] for at, key in enumerate(study.keys) if key in search.keys],
        "skeleton": [rows[at] for at, key in enumerate(study.keys) if skeleton(key) in search.skeletons],
        "scaffold": [rows[at] for at, name in enumerate(search.own_scaffolds) if name in search.scaffolds],
    }


class _Search:
    """What is looked for, and what was found."""

    def __init__(self, study: StudyData) -> None:
        arrays = featurize_many(study.labelled.mols)
        graph = skeletons.arrays(arrays.atoms, arrays.ends, arrays.atom_counts, arrays.bond_counts)
        self.own_keys = set(study.keys)
        self.own_skeletons = {skeleton(key) for key in study.keys}
        self.own_scaffolds = study.molecules.scaffolds(False)
        self.keys: set[str] = set()
        self.skeletons: set[str] = set()
        self.scaffolds: set[str] = set()
        self._wanted = np.unique(skeletons.whole(graph))
        cores = skeletons.cores(graph)
        self._open: dict[int, set[str]] = {}
        for core, name in zip(cores.tolist(), self.own_scaffolds, strict=True):
            if name:
                self._open.setdefault(core, set()).add(name)

    def look(self, graph: skeletons.Arrays, mols: Callable[[NDArray[np.integer]], list[Mol]]) -> None:
        """Looks through some molecules of the corpus."""
        alike = np.flatnonzero(np.isin(skeletons.whole(graph), self._wanted))
        if len(alike):
            for key in inchi_keys(found := mols(alike), _spelled(found)):
                if key in self.own_keys:
                    self.keys.add(key)
                if skeleton(key) in self.own_skeletons:
                    self.skeletons.add(skeleton(key))
        cores = skeletons.cores(graph)
        at = np.flatnonzero(np.isin(cores, np.array(list(self._open), np.uint64)))
        for start in range(0, len(at), 256):  # once a scaffold is found its like need no look
            rest = [place for place in at[start : start + 256].tolist() if int(cores[place]) in self._open]
            for place, mol in zip(rest, mols(np.array(rest, np.int64)) if rest else [], strict=True):
                core = int(cores[place])
                if core not in self._open:
                    continue
                name = scaffold(mol, False)
                if name in self._open[core]:
                    self.scaffolds.add(name)
                    self._open[core].discard(name)
                    if not self._open[core]:
                        del self._open[core]


def _spelled(mols: Sequence[Mol]) -> list[str]:
    from rdkit.Chem import MolToSmiles

    return [MolToSmiles(mol) for mol in mols]


def _prepared(corpus: Corpus) -> Iterator[Piece]:
    from mesomer.chem.parse import parse_smiles
    from mesomer.chem.schema import MAX_ATOMS

    for part in PARTS:
        for number in range(len(corpus.shards(part))):
            shard = corpus.open_shard(part, number)
            for start in range(0, len(shard.molecules), MOLECULES_A_PASS):
                stop = min(start + MOLECULES_A_PASS, len(shard.molecules))
                some = shard.molecules.slice(start, stop)

                def mols(at: NDArray[np.integer], start: int = start, shard: Any = shard) -> list[Any]:
                    return [parse_smiles(text, MAX_ATOMS)[0] for text in shard.smiles(at + start)]

                counts = np.diff(some.atom_offsets), np.diff(some.bond_offsets)
                yield skeletons.arrays(some.atoms, some.ends, *counts), mols


def _table(path: str) -> Iterator[Piece]:
    for chunk in open_table(path).chunks(parse=True):
        assert chunk.mols is not None
        good = [chunk.mols[at] for at in chunk.good]
        if not good:
            continue
        arrays = featurize_many([mol for mol in good if mol is not None])

        def mols(at: NDArray[np.integer], good: Sequence[Any] = good) -> list[Any]:
            return [good[place] for place in at.tolist()]

        yield skeletons.arrays(arrays.atoms, arrays.ends, arrays.atom_counts, arrays.bond_counts), mols


def overlap_checks(study: StudyData, found: dict[str, Any] | None, folder: ModelFolder) -> list[Check]:
    """Notes on the overlap, or on its not being known."""
    if found is None:
        return [
            Check(
                "overlap with the pre-training corpus", "caution",
                "Whether these molecules are in the corpus of the pre-training was not looked at: the model carries no "
                "keys of it, and the corpus is not at hand (give it with --corpus).",
            )
        ]  # fmt: skip
    total = len(study.keys)
    smiles = dict(zip(study.data.rows, study.data.smiles, strict=True))
    which = {True: "the corpus of the pre-training", False: "another corpus than that of the pre-training",
             None: "the molecules given as the corpus"}[found["is_of_the_model"]]  # fmt: skip
    notes = []
    for kind, what in (
        ("exact", "are in"),
        ("skeleton", "are, leaving stereo aside, in"),
        ("scaffold", "share their scaffold with some molecule of"),
    ):
        rows = found[kind]
        severity = "caution" if kind == "skeleton" and 2 * len(rows) > total else "info"
        sentence = f"{len(rows):,} of {total:,} molecules {what} {which} ({found['molecules']:,} molecules)."
        if severity == "caution":
            sentence += " Most are known to the encoder: read the scores of the others."
        shown = tuple(rows[:SHOWN])
        notes.append(Check(f"overlap: {kind}", severity, sentence, shown, tuple(smiles[row] for row in shown[:4])))
    if found["corpus"] is None:
        text = (
            f"Looked up in {found['source']}, {found['bits']} bits of each: a molecule that is not in the corpus is "
            f"taken for one that is with a probability of {found['molecules'] / 2 ** found['bits']:.1g} at most."
        )
        notes.append(Check("overlap: source", "info", text))
    if found["is_of_the_model"] is False:
        text = "The corpus given is not the one that the model was pre-trained on (their fingerprints differ)."
        notes.append(Check("another corpus", "caution", text))
    if found["init"]:
        text = f"The pre-training started from {found['init']}, whose own corpus was not looked at."
        notes.append(Check("earlier pre-training", "caution", text))
    return notes
