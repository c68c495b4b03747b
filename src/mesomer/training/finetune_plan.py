"""What a fine-tuning is made of: options, labelled molecules as graphs, and the cells (splits times members) to train.

Decided: everything that can be told to be wrong before training starts is told here: a part with one class only, a
descriptor that is no number, options that contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.graph import MolGraph
from mesomer.data.decimals import comma_advice, has_decimal_comma
from mesomer.data.geometry import placed_graphs
from mesomer.data.labels import Labelled
from mesomer.data.placed import with_stored_coordinates
from mesomer.data.splits import PARTS, Split
from mesomer.errors import InputError, MesomerError, unknown_name
from mesomer.heads import READOUTS
from mesomer.metrics import metric_for
from mesomer.outputs import Output
from mesomer.training.predictor import RDKIT_DESCRIPTORS, Target
from mesomer.training.scaling import Scaling
from mesomer.training.schedule import SHAPES

FREEZE = ("none", "encoder")
SELECT = ("metric", "loss", "last")
HEAD_STARTS = ("random", "linear")
LARGEST_LABEL = 1e15
LARGEST_FEATURE = float(np.finfo(np.float32).max)
# Options about networks that are trained step by step: a linear model, which is solved for, has no use for them.
NETWORK_OPTIONS = frozenset({
    "epochs", "batch_size", "max_lr", "warmup_epochs", "schedule", "encoder_lr_scale", "weight_decay", "clip",
    "patience", "select", "freeze", "unfreeze_after", "ensemble", "readout", "attn_hidden", "attn_out",
    "ffn_hidden", "ffn_layers", "dropout", "activation", "disagreement", "standardize", "head_start",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How to fine-tune; the names are those of the command's options."""

    epochs: int = 40
    batch_size: int = 32
    max_lr: float = 3e-4
    warmup_epochs: float = 2.0
    schedule: str = "exponential"
    encoder_lr_scale: float = 1.0
    weight_decay: float = 0.0
    clip: float | None = 1.0
    patience: int | None = None
    select: str = "metric"
    freeze: str = "none"
    unfreeze_after: int | None = None
    probe: bool = False
    ensemble: int = 1
    scratch: bool = False
    descriptors: tuple[str, ...] = ()
    readout: str = "mean"
    attn_hidden: int = 128
    attn_out: int = 4
    ffn_hidden: int = 200
    ffn_layers: int = 2
    dropout: float = 0.1
    activation: str = "ReLU"
    disagreement: float = 0.1
    standardize: bool = True
    head_start: str = "random"
    seed: int = 0
    precision: str = "32"
    accelerator: str = "auto"
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name, choices in (
            ("freeze", FREEZE), ("select", SELECT), ("readout", READOUTS), ("schedule", SHAPES),
            ("head_start", HEAD_STARTS),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise unknown_name(f"value of --{name}", getattr(self, name), choices)
        for name in ("epochs", "batch_size", "ensemble", "ffn_hidden", "ffn_layers", "attn_hidden", "attn_out"):
            if getattr(self, name) < 1:
                raise MesomerError(f"--{name} is {getattr(self, name)}, and must be 1 or more.")
        if not 0 <= self.dropout < 1:
            raise MesomerError(f"--dropout is {self.dropout}, and must be from 0 up to, not including, 1.")
        if not self.max_lr > 0 or not self.encoder_lr_scale >= 0 or not self.disagreement >= 0:
            raise MesomerError(
                "--max_lr must be above 0, and --encoder_lr_scale and --disagreement must not be negative.",
            )
        if self.unfreeze_after is not None and not 0 < self.unfreeze_after < self.epochs:
            raise MesomerError(
                f"--unfreeze_after is {self.unfreeze_after}, and must be 1 or more and below --epochs {self.epochs}.",
                "Leave it out to train the encoder from the start, or give --freeze encoder to never train it.",
            )
        if self.select == "last" and self.patience is not None:
            raise MesomerError(
                "--patience stops where a validation figure no longer improves, and --select last looks at none.",
                "Leave one of them out.",
            )
        if self.head_start == "linear" and not self.standardize:
            raise MesomerError("--head_start linear fits the heads to standardised vectors and needs --standardize.")
        if self.freeze == "encoder" and self.unfreeze_after is None and self.encoder_lr_scale != 1:
            raise MesomerError("--freeze encoder never trains the encoder and has no use for --encoder_lr_scale.")
        if self.readout != "attention" and (self.attn_hidden, self.attn_out) != (128, 4):
            raise MesomerError(
                f"--attn_hidden and --attn_out are of the readout attention, and --readout is {self.readout}.",
                "Leave them out, or give --readout attention.",
            )
        if self.probe:
            self._check_probe()
        self._check_loop()

    def _check_loop(self) -> None:
        """Stops at what the training loop would stop at, before there is a run folder."""
        from mesomer.training.finetune_network import loop_options

        loop_options(self, 0, 1)

    def _check_probe(self) -> None:
        changed = [f"--{name}" for name in idle_in_probe({name: getattr(self, name) for name in NETWORK_OPTIONS})]
        if changed:
            raise MesomerError(
                f"--probe fits a linear model on the frozen encoder's vectors and has no use for {', '.join(changed)}.",
                f"Leave {'it' if len(changed) == 1 else 'them'} out, or leave out --probe to train networks.",
            )

    def frozen(self, epoch: int) -> bool:
        """Whether the encoder is frozen in this epoch (from 0)."""
        if self.unfreeze_after is not None:
            return epoch < self.unfreeze_after
        return self.freeze == "encoder"

    @property
    def shared_encoder(self) -> bool:
        """Whether all members keep one and the same encoder."""
        return self.probe or (self.freeze == "encoder" and self.unfreeze_after is None)


def idle_in_probe(given: Mapping[str, Any]) -> list[str]:
    """Names of the given options that are not at their defaults and that a linear model has no use for."""
    return [
        option.name
        for option in fields(FinetuneOptions)
        if option.name in NETWORK_OPTIONS and option.name in given and given[option.name] != option.default
    ]


class Cell(NamedTuple):
    """One training: a split and the number of an ensemble member."""

    split: int
    member: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its file in the run folder."""
        return f"split{self.split:03d}-member{self.member:02d}"


@dataclass(frozen=True)
class PropertyData:
    """Labelled molecules, ready to train on; M molecules in the order of the table."""

    smiles: list[str]
    rows: list[int]
    graphs: list[MolGraph]
    y: NDArray[np.float64]  # [M, T], NaN where missing
    targets: list[Target]
    fingerprints: NDArray[np.uint8]  # [M, bytes]
    descriptor_names: tuple[str, ...] = ()
    descriptors: NDArray[np.float64] | None = None  # [M, columns], NaN where missing

    @property
    def outputs(self) -> list[Output]:
        """Output columns of each target."""
        return [target.output for target in self.targets]


def property_data(
    labelled: Labelled,
    descriptors: Sequence[str] = (),
    coordinates: bool = False,
    quiet: bool = False,
    kept: Path | None = None,
) -> PropertyData:
    """Featurises labelled molecules once, for all splits and members; with `coordinates` also their atoms in space,
    which are read if they were stored in the folder `kept` before.

    What takes long is shared by as many processes as torch has threads.
    """
    import torch

    from mesomer.chem.descriptors import ecfp_bits
    from mesomer.chem.featurize import featurize
    from mesomer.data.computed import computed_descriptors

    graphs = [featurize(mol) for mol in labelled.mols]
    if coordinates:
        stored = None if kept is None else with_stored_coordinates(kept, labelled.smiles, graphs)
        graphs = stored or placed_graphs(graphs, labelled.mols, torch.get_num_threads(), quiet)
    blocks = []
    for name in descriptors:
        if name == RDKIT_DESCRIPTORS:
            blocks.append(computed_descriptors(labelled.mols, torch.get_num_threads()).astype(np.float64))
        else:
            blocks.append(numeric_column(name, labelled.columns[name], labelled.rows)[:, None])
    return PropertyData(
        smiles=labelled.smiles,
        rows=labelled.rows,
        graphs=graphs,
        y=labelled.y,
        targets=[Target(task.name, task.type, tuple(task.classes or ())) for task in labelled.tasks],
        fingerprints=ecfp_bits(labelled.mols),
        descriptor_names=tuple(descriptors),
        descriptors=np.concatenate(blocks, 1) if blocks else None,
    )


def check_range(data: PropertyData) -> None:
    """Stops at labels whose squares no longer fit a float32: they would turn every figure into infinity."""
    rows, columns = np.nonzero(np.abs(np.nan_to_num(data.y)) > LARGEST_LABEL)
    if len(rows):
        at, column = int(rows[0]), int(columns[0])
        raise InputError(
            f"The label of {data.targets[column].name!r} in row {data.rows[at]} is too large to compute with: "
            f"{data.y[at, column]:g}.",
            "Correct it, give the values in another unit, or take their logarithm.",
        )


def numeric_column(name: str, cells: Sequence[Any], rows: Sequence[int]) -> NDArray[np.float64]:
    """A descriptor column as numbers, NaN where empty; anything else is an error that names the first rows."""
    values = np.full(len(cells), np.nan)
    bad = []
    for at, cell in enumerate(cells):
        number, wrong = descriptor_number(cell)
        values[at] = number
        if wrong:
            bad.append(f"row {rows[at]}: {str(cell)[:40]!r}")
    if bad:
        commas = [text for cell in cells if has_decimal_comma(text := str(cell).strip())]
        raise InputError(
            f"The descriptor {name!r} is not numeric: {len(bad)} cells are no finite number ({'; '.join(bad[:3])}).",
            f"{comma_advice(commas)}." if commas else "Correct these cells or leave them empty.",
        )
    return values


def descriptor_number(cell: Any) -> tuple[float, bool]:
    """(number or NaN, whether the cell is something else than empty or a finite number)."""
    from mesomer.chem.parse import is_missing
    from mesomer.data.tasks import to_number

    text = "" if cell is None or cell != cell else str(cell).strip()
    if is_missing(text):
        return float("nan"), False
    number = to_number(text)
    if number is None or not abs(number) <= LARGEST_FEATURE:
        return float("nan"), True
    return number, False


def descriptor_scaling(data: PropertyData, train: NDArray[np.integer]) -> Scaling | None:
    """Standardises the table's columns on a training part; the 200 descriptors are normalised already."""
    if data.descriptors is None:
        return None
    fitted = Scaling.fit(data.descriptors[train])
    table = np.concatenate([[name != RDKIT_DESCRIPTORS] * (200 if name == RDKIT_DESCRIPTORS else 1)
                            for name in data.descriptor_names])  # fmt: skip
    return Scaling(np.where(table, fitted.mean, 0.0), np.where(table, fitted.deviation, 1.0))


def plan_cells(splits: Sequence[Split], options: FinetuneOptions) -> list[Cell]:
    """All cells; a probe has no randomness, so one member for each split is enough."""
    members = 1 if options.probe else options.ensemble
    return [
        Cell(number, member, cell_seed(options.seed, split.seed, number, member))
        for number, split in enumerate(splits)
        for member in range(members)
    ]


def cell_seed(*parts: int) -> int:
    """A seed that shares nothing with that of another cell."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def selection(targets: Sequence[Target], select: str) -> tuple[str, str]:
    """The validation figure that chooses the best epoch, and its direction: the targets' common metric, or the loss."""
    types = {target.type for target in targets}
    if select == "loss" or len(types) > 1:
        return "loss", "min"
    name, metric = metric_for(types.pop())
    return name, metric.better


def check_parts(data: PropertyData, splits: Sequence[Split]) -> list[str]:
    """Stops where a part could neither teach nor judge; warnings for targets that miss a class in some part."""
    warnings = []
    for number, split in enumerate(splits):
        where = f"split {number + 1}" if len(splits) > 1 else "the split"
        for part in PARTS:
            poor = [text for at, target in enumerate(data.targets) if (text := _poverty(data, split, part, at, target))]
            if not poor:
                continue
            if len(poor) == len(data.targets):
                raise InputError(
                    f"The {part} part of {where} cannot be used: {poor[0]}.",
                    "Choose another --split or --seed, or more molecules; stratified_cv spreads rare classes evenly.",
                )
            more = f" and {len(poor) - 3} more" if len(poor) > 3 else ""
            warnings.append(f"In the {part} part of {where}: {'; '.join(poor[:3])}{more}.")
    return warnings


def _poverty(data: PropertyData, split: Split, part: str, at: int, target: Target) -> str | None:
    labels = data.y[split.parts[part], at]
    labels = labels[~np.isnan(labels)]
    if len(labels) == 0:
        return f"{target.name} has no label"
    # Of many classes one may be absent from a small part; a binary target is then neither learnt nor judged.
    lone = len(np.unique(labels)) == 1
    if lone and (target.type == "binary" or (target.type == "multiclass" and part == "train")):
        return f"{target.name} has only the class {target.classes[int(labels[0])]!r}"
    return None
