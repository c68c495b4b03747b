"""The molecules of a study: read, keyed by InChIKey, divided once for all arms, and read again alike by every process.

Decided: molecules with the same first block of the InChIKey (tautomers that InChI takes for one, stereoisomers) stay in
one fold, beside those of equal SMILES. Splits are stored before anything is trained, and processes read them from
there. Fewer labels are a nested draw from the training and the validation part, the same for all arms, in which each
class of a class target comes first once or twice.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.descriptors import count_ecfp, descriptors_200
from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.data.labels import Labelled, read_labels
from mesomer.data.placed import store_coordinates
from mesomer.data.splits import Split, find_rule, read_splits, splits_for, write_splits
from mesomer.data.splits.base import Groups, Molecules, group_rows, join_groups
from mesomer.data.tables import open_table
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.studies.design import KINDS_OF_SPLIT, Cell, fold_seed
from mesomer.training.checkpoint import encoder_of, load_model
from mesomer.training.context import Context
from mesomer.training.finetune_cell import molecule_vectors
from mesomer.training.finetune_plan import PropertyData, check_range, property_data
from mesomer.training.predictor import RDKIT_DESCRIPTORS, class_columns, fresh_encoder

if TYPE_CHECKING:
    from rdkit.Chem import Mol


@dataclass(frozen=True)
class Source:
    """How to read the molecules again: what a process is told."""

    data: str
    targets: tuple[str, ...]
    task: str | None
    smiles_column: str | None
    max_atoms: int
    descriptors: tuple[str, ...]
    model: str
    weights_sha256: str
    folder: Path
    """The study folder, where splits and features lie."""
    seed: int = 0
    accelerator: str = "cpu"
    precision: str = "32"
    """In which networks are trained, 32 or bf16; vectors and linear models are always in float32."""
    decimal: str | None = None
    """What numbers of the table have before their decimals; a point if None."""


class KeyedMolecules(Molecules):
    """Molecules whose folds keep together what InChI takes for one skeleton."""

    def __init__(self, mols: Sequence[Mol], keys: Sequence[str]) -> None:
        super().__init__(mols)
        self.keys = keys

    @cached_property
    def units(self) -> Groups:
        """Groups of rows with one SMILES without stereo or one skeleton."""
        skeletons = group_rows([skeleton(key) for key in self.keys])
        return join_groups(Molecules(self.mols).units, skeletons, len(self))


@dataclass
class StudyData:
    """Labelled molecules with keys, splits and features, each computed when first asked for."""

    source: Source
    labelled: Labelled
    data: PropertyData
    keys: list[str]
    splits: dict[tuple[str, int, int], Split] = field(default_factory=dict)
    _vectors: dict[tuple[int, bytes] | None, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @cached_property
    def base(self) -> Encoder:
        """The pre-trained encoder."""
        folder = load_model(self.source.model)
        if folder.sha256 != self.source.weights_sha256:
            raise MesomerError(
                f"The weights of {self.source.model} have changed since the study began.",
                "Give the model that it began with, or start a new study in another --output.",
            )
        return encoder_of(folder)

    @cached_property
    def molecules(self) -> KeyedMolecules:
        """The molecules as splits see them."""
        return KeyedMolecules(self.labelled.mols, self.keys)

    @cached_property
    def context(self) -> Context:
        """Where networks are trained."""
        return Context.start(self.source.accelerator, self.source.precision)

    @cached_property
    def fragments(self) -> NDArray[np.float32]:
        """Counted circular fragments, and the feature columns of the table behind them."""
        return self._with_columns(count_ecfp(self.labelled.mols).astype(np.float32))

    @cached_property
    def descriptors(self) -> NDArray[np.float32]:
        """The 200 descriptors (NaN where undefined), and the feature columns; kept in the study folder."""

        def compute() -> NDArray[np.float32]:
            raw = descriptors_200(self.labelled.mols)
            return np.where(np.isfinite(raw), raw, np.nan).astype(np.float32)

        return self._with_columns(self._kept("descriptors", compute))

    @cached_property
    def with_descriptors(self) -> PropertyData:
        """The molecules with the 200 descriptors as extra features of networks."""
        if RDKIT_DESCRIPTORS in self.data.descriptor_names:
            return self.data
        rich = self.descriptors[:, :200].astype(np.float64)
        own = [] if self.data.descriptors is None else [self.data.descriptors]
        names = (*self.data.descriptor_names, RDKIT_DESCRIPTORS)
        return replace(self.data, descriptors=np.concatenate([*own, rich], 1), descriptor_names=names)

    def vectors(self, seed: int | None, train: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors of the frozen encoder and the feature columns; with a seed, of the network with random weights, whose
        scales are those of the molecules in `train`.
        """
        key = None if seed is None else (seed, train.tobytes())
        if key not in self._vectors:
            others = [at for at in self._vectors if at is not None]
            for at in others:  # of random ones the last alone
                del self._vectors[at]
            encoder = self.base if seed is None else fresh_encoder(self.base, seed)
            device = self.context.device

            def compute() -> NDArray[np.float32]:
                return molecule_vectors(encoder.to(device).eval(), self.data, device, None if seed is None else train)

            found = self._kept("vectors", compute) if seed is None else compute()
            self._vectors[key] = self._with_columns(found)
        return self._vectors[key]

    def _kept(self, name: str, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features that are stored in the study folder, computed by the first process that needs them."""
        path = self.source.folder / "features" / f"{name}.npy"
        if path.exists():
            stored: NDArray[np.float32] = np.load(path)
            if len(stored) == len(self.data.y):
                return stored
        found = compute()
        with atomic_write(path) as temporary, open(temporary, "wb") as handle:
            np.save(handle, found)
        return found

    def _with_columns(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.data.descriptors is None:
            return features
        return np.concatenate([features, self.data.descriptors.astype(np.float32)], 1)

    @property
    def output_width(self) -> int:
        """Columns of a prediction."""
        return class_columns(self.data.targets)[-1][1].stop

    def split_of(self, cell: Cell) -> Split:
        """The cell's split, with the seed of its fold and with as many labels as it may use."""
        found = self.splits.get((cell.split, cell.repeat, cell.fold))
        if found is None:
            raise MesomerError(
                f"The study has no fold {cell.fold} in repeat {cell.repeat} of its {cell.split} splits.",
                "Its splits file was changed: start the study anew.",
            )
        seeded = replace(found, seed=fold_seed(self.source.seed, cell.split, cell.repeat, cell.fold))
        return seeded if cell.labels is None else fewer_labels(self.data, seeded, cell.labels)


def read_molecules(source: Source, coordinates: bool = False) -> StudyData:
    """Reads the labelled molecules; their splits are still to be drawn or read."""
    table = open_table(source.data, source.smiles_column, source.max_atoms, decimal=source.decimal)
    extra = table.named_columns([name for name in source.descriptors if name != RDKIT_DESCRIPTORS])
    labelled = read_labels(table, table.named_columns(source.targets), source.task, conditions=extra)
    data = property_data(labelled, source.descriptors, coordinates, kept=source.folder)
    check_range(data)
    return StudyData(source, labelled, data, inchi_keys(labelled.mols, labelled.canonical))


def draw(study: StudyData, split: str, repeats: int, folds: int, canonical: bool = False) -> list[Split]:
    """All divisions of one kind. Rules that do not keep molecules together draw over the different InChIKeys."""
    rule = find_rule(KINDS_OF_SPLIT.get(split, split))
    if rule.guards:
        labels = study.data.y if rule.needs == "labels" else None
        wanted = folds if rule.folded else None
        return splits_for(rule.name, study.molecules, repeats, study.source.seed, wanted, labels=labels)
    groups = group_rows(study.keys)
    once = Molecules([study.labelled.mols[group[0]] for group in groups])
    drawn = splits_for(rule.name, once, repeats, study.source.seed, canonical=canonical)
    return [_all_rows(split, groups) for split in drawn]


def _all_rows(split: Split, groups: Groups) -> Split:
    def rows(part: NDArray[np.integer]) -> NDArray[np.int64]:
        return np.sort(np.array([row for at in part for row in groups[at]], dtype=np.int64))

    return replace(split, train=rows(split.train), valid=rows(split.valid), test=rows(split.test))


def splits_path(folder: Path, split: str) -> Path:
    """Where the divisions of one kind are stored."""
    return folder / f"splits-{split}.csv"


def store_splits(study: StudyData, drawn: dict[str, list[Split]]) -> None:
    """Writes all divisions, takes them on, and keeps the coordinates of atoms beside them, if there are any."""
    if study.data.graphs[0].coordinates is not None:
        store_coordinates(study.source.folder, study.data.smiles, study.data.graphs)
    for split, found in drawn.items():
        write_splits(splits_path(study.source.folder, split), found, study.data.rows, study.data.smiles)
        study.splits |= {(split, one.repeat, one.fold): one for one in found}


def stored_splits(study: StudyData, names: Sequence[str]) -> None:
    """Takes on divisions that were stored before."""
    for split in names:
        path = splits_path(study.source.folder, split)
        stored = read_splits(path, split)
        if stored.rows != study.data.rows or stored.smiles != study.data.smiles:
            raise MesomerError(
                f"{path} divides other molecules than {study.source.data} has.", "Start the study in another --output."
            )
        study.splits |= {(split, one.repeat, one.fold): one for one in stored.splits}


_held: list[StudyData] = []


def hold(study: StudyData) -> None:
    """Keeps the molecules for the cells that run in this process; those of another study are given up."""
    _held[:] = [study]


def opened(source: Source, splits: tuple[str, ...], coordinates: bool) -> StudyData:
    """The molecules with their stored splits, read once in each process."""
    if not _held or _held[0].source != source or (coordinates and _held[0].data.graphs[0].coordinates is None):
        hold(read_molecules(source, coordinates))
    study = _held[0]
    known = {split for split, _, _ in study.splits}
    stored_splits(study, [split for split in splits if split not in known])
    return study


def fewer_labels(data: PropertyData, split: Split, count: int) -> Split:
    """The split with `count` labelled molecules for training and validation together; smaller draws lie in larger."""
    present = len(split.train) + len(split.valid)
    valid = max(1, round(count * len(split.valid) / present))
    order = np.random.default_rng([split.seed, 1])
    train_rows, valid_rows = (_classes_first(data, order.permutation(part)) for part in (split.train, split.valid))
    return replace(split, train=np.sort(train_rows[: count - valid]), valid=np.sort(valid_rows[:valid]))


def _classes_first(data: PropertyData, rows: NDArray[np.integer]) -> NDArray[np.integer]:
    """The rows in their order, but up to two of each class of each class target first."""
    first: dict[int, None] = {}
    for at, target in enumerate(data.targets):
        if target.type == "regression":
            continue
        labels = data.y[rows, at]
        for turn in range(2):
            for name in np.unique(labels[~np.isnan(labels)]):
                members = rows[labels == name]
                if turn < len(members):
                    first[int(members[turn])] = None
    chosen = list(first)
    return np.array([*chosen, *(row for row in rows.tolist() if row not in first)], dtype=np.int64)


def write_molecules(path: Path, study: StudyData) -> None:
    """`molecules.csv`: row, SMILES, InChIKey and labels, from which all scores can be made again."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["row", "smiles", "key", *(target.name for target in study.data.targets)])
        for row, smiles, key, labels in zip(study.data.rows, study.data.smiles, study.keys, study.data.y, strict=True):
            writer.writerow([row, smiles, key, *("" if np.isnan(y) else repr(float(y)) for y in labels)])
