"""The models of a grid: corpora drawn and prepared, stages of pre-training run one after the other, each once.

Everything lies in folders named by what it depends on; an interrupted grid goes on with the same command.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.data.benchmarks import BENCHMARKS, resolve_data, target_columns
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.data.tables import open_table
from mesomer.encoders.base import build_encoder, sizes
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.objectives.base import Objective
from mesomer.progress import say
from mesomer.studies.grid import Grid, Point
from mesomer.training.checkpoint import save_model
from mesomer.training.finetune import finetune
from mesomer.training.finetune_plan import FinetuneOptions
from mesomer.training.pretrain import PretrainOptions, build, pretrain

_SEED = 0


class GridModels:
    """Makes the model of each point, or finds it made."""

    def __init__(self, grid: Grid, folder: Path, accelerator: str) -> None:
        self.grid, self.folder, self.accelerator = grid, folder, accelerator
        self._known: set[str] | None = None

    def model(self, point: Point) -> Path:
        """The run folder of the last stage of the point's pre-training."""
        place = self.folder / "pretrained" / self.grid.model_key(point)
        made: Path | None = None
        stages = self.grid.pretrainings[point["pretraining"]]
        for number, stage in enumerate(stages, 1):
            output = place / f"stage-{number}"
            say(f"Pre-training {point['pretraining']}, stage {number} of {len(stages)}: {output}")
            if "labels" in stage:
                self._supervised(point, stage, made, output)
            else:
                self._self_supervised(point, stage, made, output)
            made = output
        assert made is not None
        return made

    def _network(self, point: Point) -> tuple[str, dict[str, Any]]:
        """Method and options of the network; `features` is an option of the networks that have one."""
        described = dict(self.grid.networks[point["network"]])
        method = described.pop("method")
        size = described.pop("size", next(iter(sizes(method))))
        options = {**sizes(method)[size], **described}
        return method, options | ({"features": point["features"]} if method == "gin" else {})

    def _self_supervised(self, point: Point, stage: Mapping[str, Any], before: Path | None, output: Path) -> None:
        method, encoder = self._network(point)
        rest = {key: value for key, value in stage.items() if key not in ("objective", "options")}
        options = PretrainOptions(
            method=method, objective=stage["objective"], encoder=encoder, objective_options=stage.get("options", {}),
            init=None if before is None else str(before), accelerator=self.accelerator, seed=_SEED, **rest,
        )  # fmt: skip
        pretrain(self._corpus(point["corpus"], build(options)), output, options)

    def _supervised(self, point: Point, stage: Mapping[str, Any], before: Path | None, output: Path) -> None:
        rest = {key: value for key, value in stage.items() if key not in ("labels", "targets", "molecules")}
        table, targets = self._labels(stage)
        options = FinetuneOptions(scratch=before is None, accelerator=self.accelerator, seed=_SEED, **rest)
        model = self.fresh(point) if before is None else before
        finetune(
            str(table), targets=targets, output=output, model=str(model), split="random", repeats=1, options=options
        )

    def fresh(self, point: Point) -> Path:
        """A model folder that describes the network; its weights are not used."""
        method, options = self._network(point)
        path = self.folder / "networks" / _digest([method, options])
        if not path.exists():
            encoder = build_encoder(method, **options)
            described = {"encoder": {"name": method, "config": encoder.config()}}
            save_model(path, "encoder", described, encoder.state_dict(), "# Random weights, only to name a network\n")
        return path

    def _corpus(self, name: str, objective: Objective) -> Path:
        """The prepared corpus with the columns that an objective and its encoder read."""
        described = self.grid.corpora[name]
        path = self.folder / "corpora" / f"{name}-{_digest(dict(described))}"
        table = path.with_suffix(".csv")
        if not table.exists():
            _draw(resolve_data(described["table"]), described.get("molecules"), described.get("seed", _SEED), table)
        corpus = prepare_corpus(str(table), path).corpus
        missing = [column for column in objective.batch_columns(corpus) if column not in corpus.card["additions"]]
        if missing:
            add_to_corpus(path, missing)
        return path

    def _labels(self, stage: Mapping[str, Any]) -> tuple[Path, list[str]]:
        """The labelled table without the molecules of any set of the grid, and its targets."""
        name = str(stage["labels"])
        source = resolve_data(name)
        given = stage.get("targets") or ()
        targets = _all_columns(source) if given == "all" else list(given)
        if not targets:
            if name not in BENCHMARKS:
                raise MesomerError(
                    f"The stage with the labels of {name} names no targets.", "Add targets to it, or say all."
                )
            targets = target_columns(BENCHMARKS[name], source)
        path = self.folder / "labels" / f"{_digest([name, targets, stage.get('molecules'), list(self.grid.sets)])}.csv"
        if not path.exists():
            if self._known is None:
                columns = {one: self.grid.columns.get(one, {}).get("smiles_column") for one in self.grid.sets}
                self._known = {key for one, name in columns.items() for key in _skeletons(resolve_data(one), name)}
            _without(source, targets, self._known, stage.get("molecules"), path)
        return path, targets


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _all_columns(source: str) -> list[str]:
    table = open_table(source)
    return [name for name in table.columns if name != table.smiles_column]


def _draw(source: str, count: int | None, seed: int, path: Path) -> None:
    """Writes the molecules of a corpus, or so many of them, drawn at random, in the order of the table."""
    smiles = [str(text) for chunk in open_table(source) for text in chunk.smiles if text]
    if count is not None and count < len(smiles):
        smiles = [smiles[at] for at in np.sort(np.random.default_rng(seed).permutation(len(smiles))[:count])]
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["smiles"])
        writer.writerows([text] for text in smiles)


def _skeletons(source: str, smiles_column: str | None) -> set[str]:
    found: set[str] = set()
    for chunk in open_table(source, smiles_column).chunks(parse=True):
        assert chunk.mols is not None
        mols = [chunk.mols[at] for at in chunk.good]
        found |= {skeleton(key) for key in inchi_keys([mol for mol in mols if mol is not None], chunk_texts(chunk))}
    return found


def chunk_texts(chunk: Any) -> list[str]:
    """SMILES of the readable rows of a chunk."""
    return [str(chunk.smiles[at]).strip() for at in chunk.good]


def _without(source: str, targets: Sequence[str], known: set[str], count: int | None, path: Path) -> None:
    """Writes the rows whose molecule is in no set, the first `count` of them if that is given."""
    table, kept = open_table(source), 0
    names = table.named_columns(targets)
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["smiles", *names])
        for chunk in table.chunks(parse=True):
            assert chunk.mols is not None
            mols = [chunk.mols[at] for at in chunk.good]
            keys = inchi_keys([mol for mol in mols if mol is not None], chunk_texts(chunk))
            for at, key in zip(chunk.good, keys, strict=True):
                if skeleton(key) not in known and (count is None or kept < count):
                    writer.writerow([chunk.smiles[at], *(chunk.cells[name][at] for name in names)])
                    kept += 1
    if not kept:
        raise MesomerError(f"Every molecule of {source} is in a set of the grid: there is nothing to learn from.")
