"""One cell of a fine-tuning, from the encoder to out-of-fold predictions, kept in one file.

The file (safetensors: weights and predictions, the rest as JSON in its header) appears whole when the cell is done: it
is what a resumed run goes by. Predictions are made in float32 by the same code that `predict` uses.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mesomer.chem.graph import GraphBatch
from mesomer.data.splits import Split
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.heads import INPUT_BOUND, ProbeModel, PropertyModel
from mesomer.run import StopRequest
from mesomer.training.context import Context
from mesomer.training.finetune_network import (
    VALIDATION_ATOMS,
    CurveListener,
    PropertyBatches,
    PropertyTrainee,
    atom_parts,
    curve_table,
    loop_options,
)
from mesomer.training.finetune_plan import Cell, FinetuneOptions, PropertyData, descriptor_scaling
from mesomer.training.head_start import standardize_inputs, start_linear
from mesomer.training.ledger import StepReport
from mesomer.training.loop import fit
from mesomer.training.predictor import Predictor, fresh_encoder
from mesomer.training.probe import fit_probe
from mesomer.training.scaling import Scaling

_KEY = "mesomer_cell"


@dataclass
class CellResult:
    """What a cell gave. Predictions are final outputs on the original scale, in the order of the split's parts."""

    cell: Cell
    state: dict[str, Tensor]
    predicted: dict[str, NDArray[np.float64]]  # "valid", "test": [molecules, T']
    scaling: Scaling
    descriptor_scaling: Scaling | None
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    best_epoch: float | None = None
    stopped: str = "done"


class Cells:
    """Runs cells one after the other; finished ones are read from `folder`, if there is one."""

    def __init__(
        self, data: PropertyData, splits: Sequence[Split], base: Encoder, options: FinetuneOptions, context: Context
    ) -> None:
        self.data, self.splits, self.base, self.options, self.context = data, splits, base, options, context
        self._vectors: NDArray[np.float32] | None = None

    def run(
        self,
        cell: Cell,
        folder: Path | None = None,
        on_step: Callable[[StepReport], None] | None = None,
        stop: StopRequest | None = None,
    ) -> CellResult:
        """The cell's result: stored, or trained now."""
        file = None if folder is None else folder / f"{cell.name}.safetensors"
        if file is not None and file.exists():
            return read_cell(file, cell)
        work = None if folder is None else folder / cell.name
        result = self._probe(cell) if self.options.probe else self._train(cell, work, on_step, stop)
        if file is not None:
            write_cell(file, result)
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        return result

    def encoder(self, cell: Cell) -> Encoder:
        """The encoder that the cell starts from, its own copy unless all members share one."""
        seed = self.options.seed if self.options.shared_encoder else cell.seed
        if self.options.scratch:
            encoder = fresh_encoder(self.base, seed).for_finetuning(seed)
        else:
            encoder = copy.deepcopy(self.base).for_finetuning(seed)
        if self.options.shared_encoder:  # alike for all cells, whichever is run first
            settle_summary(encoder, self.data, np.arange(len(self.data.y)), self.context.device)
        return encoder

    def network(self, cell: Cell, shared: Encoder | None = None) -> PropertyModel:
        """The cell's network before training."""
        options = self.options
        encoder = shared or self.encoder(cell)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cell.seed)
            return PropertyModel(
                encoder,
                self.data.outputs,
                readout=options.readout,
                attn_hidden=options.attn_hidden,
                attn_out=options.attn_out,
                descriptors_dim=self._descriptors_dim,
                ffn_hidden=options.ffn_hidden,
                ffn_layers=options.ffn_layers,
                dropout=options.dropout,
                activation=options.activation,
                disagreement=options.disagreement,
                standardize=options.standardize,
                linear=options.head_start == "linear",
                bound=INPUT_BOUND if options.standardize else None,
            )

    def _train(
        self,
        cell: Cell,
        work: Path | None,
        on_step: Callable[[StepReport], None] | None,
        stop: StopRequest | None,
    ) -> CellResult:
        split, options = self.splits[cell.split], self.options
        scaling = Scaling.of_targets(self.data.y[split.train], self.data.outputs)
        extra = descriptor_scaling(self.data, split.train)
        batches = PropertyBatches(self.data, split.train, scaling, extra, options.batch_size, cell.seed)
        model = self.network(cell)
        settle_summary(model.encoder, self.data, split.train, self.context.device)
        if options.standardize:
            standardize_inputs(model, batches, split.train, self.context.device)
        if options.head_start == "linear":
            start_linear(model, batches, self.data.targets, split, self.context.device)
        trainee = PropertyTrainee(model, batches, split.valid, scaling, options)
        listener = CurveListener(None if work is None else work / "curve.jsonl", on_step)
        if work is not None:
            work.mkdir(parents=True, exist_ok=True)
        steps = batches.steps(0)
        found = fit(
            trainee,
            batches,
            loop_options(options, cell.seed, steps),
            work,
            context=self.context,
            listener=listener,
            stop=stop,
        )
        predictor = self.predictor(model, scaling, extra)
        return CellResult(
            cell,
            self._state(model),
            {part: predict_part(predictor, self.data, split.parts[part]) for part in ("valid", "test")},
            scaling,
            extra,
            found.seconds,
            curve_table(listener.rows),
            None if found.best_step is None else found.best_step / steps,
            found.stopped,
        )

    def _probe(self, cell: Cell) -> CellResult:
        started = time.monotonic()
        split = self.splits[cell.split]
        encoder = self.encoder(cell)
        if self._vectors is None:
            self._vectors = molecule_vectors(encoder.to(self.context.device).eval(), self.data, self.context.device)
        scaling = Scaling.of_targets(self.data.y[split.train], self.data.outputs)
        extra = descriptor_scaling(self.data, split.train)
        model = fit_probe(encoder, self._vectors, self.data, split, scaling, extra)
        predictor = self.predictor(model, scaling, extra)
        return CellResult(
            cell,
            self._state(model),
            {part: predict_part(predictor, self.data, split.parts[part]) for part in ("valid", "test")},
            scaling,
            extra,
            time.monotonic() - started,
        )

    def _state(self, model: PropertyModel | ProbeModel) -> dict[str, Tensor]:
        """The weights that are the cell's own: a shared encoder is not kept for each cell."""
        own = model.state_dict().items()
        shared = self.options.shared_encoder
        return {name: x.detach().cpu() for name, x in own if not (shared and name.startswith("encoder."))}

    def assemble(self, results: Sequence[CellResult]) -> Predictor:
        """One predictor with every cell as a member."""
        shared = self.encoder(results[0].cell) if self.options.shared_encoder else None
        members: list[PropertyModel | ProbeModel] = []
        for result in results:
            member = self._member(result, shared)
            kept = {} if shared is None else {f"encoder.{name}": x for name, x in shared.state_dict().items()}
            member.load_state_dict(kept | result.state)
            members.append(member.eval())
        extras = [result.descriptor_scaling for result in results if result.descriptor_scaling is not None]
        return Predictor(
            targets=self.data.targets,
            network="probe" if self.options.probe else "property",
            network_config=members[0].config(),
            members=members,
            scalings=[result.scaling for result in results],
            shared_encoder=shared is not None,
            descriptors=list(self.data.descriptor_names),
            descriptor_scalings=extras,
        )

    def _member(self, result: CellResult, shared: Encoder | None) -> PropertyModel | ProbeModel:
        if self.options.probe:
            assert shared is not None
            width = result.state["center"].shape[0] - self._descriptors_dim
            return ProbeModel(
                shared,
                self.data.outputs,
                vector_width=width,
                descriptors_dim=self._descriptors_dim,
                bound=INPUT_BOUND,
            )
        return self.network(result.cell, shared)

    @property
    def _descriptors_dim(self) -> int:
        return 0 if self.data.descriptors is None else self.data.descriptors.shape[1]

    def predictor(self, member: PropertyModel | ProbeModel, scaling: Scaling, extra: Scaling | None) -> Predictor:
        """A predictor of one member, on the context's device."""
        return Predictor(
            targets=self.data.targets,
            network="probe" if self.options.probe else "property",
            network_config=member.config(),
            members=[member],
            scalings=[scaling],
            shared_encoder=False,
            descriptors=list(self.data.descriptor_names),
            descriptor_scalings=[] if extra is None else [extra],
        ).to(self.context.device)


def batches_of(data: PropertyData, positions: NDArray[np.integer]) -> list[tuple[NDArray[np.integer], GraphBatch]]:
    """These molecules in batches of like sizes, with their positions in the data."""
    from mesomer.chem.graph import collate

    sizes = np.array([len(data.graphs[at].atoms) for at in positions])
    parts = [positions[part] for part in atom_parts(sizes, VALIDATION_ATOMS)]
    return [(part, collate([data.graphs[at] for at in part])) for part in parts]


def predict_part(predictor: Predictor, data: PropertyData, positions: NDArray[np.integer]) -> NDArray[np.float64]:
    """Final outputs [positions, T'] of a predictor with one member."""
    width = sum(output.width for output in data.outputs)
    found = np.zeros((len(data.y), width))
    device = next(predictor.members[0].parameters()).device
    for part, batch in batches_of(data, positions):
        raw = None if data.descriptors is None else data.descriptors[part]
        found[part] = predictor.predict(batch.to(device), raw)[0]
    return found[positions]


@torch.no_grad()  # inference mode would spoil the weights for training where the encoder moves to another device
def settle_summary(encoder: Encoder, data: PropertyData, positions: NDArray[np.integer], device: torch.device) -> None:
    """Fixes the scales of an encoder's summary: as pre-training left them, or, of an untrained one, as these molecules
    need them. Labels are not looked at.
    """
    if encoder.summary is None:
        return
    standard = encoder.summary.standard
    if standard.untouched:
        encoder.to(device).eval()
        moved = (batch.to(device) for _, batch in batches_of(data, positions))
        standard.settle(torch.cat([encoder.pooled_vectors(encoder(batch), batch) for batch in moved]))
    standard.hold()


@torch.inference_mode()
def molecule_vectors(
    encoder: Encoder, data: PropertyData, device: torch.device, scales: NDArray[np.integer] | None = None
) -> NDArray[np.float32]:
    """The encoder's vectors of all molecules [M, width]; an untrained summary takes its scales from the molecules in
    `scales` (all of them if None), in a copy: the encoder stays as it is.
    """
    if encoder.summary is not None and encoder.summary.standard.untouched:
        encoder = copy.deepcopy(encoder)
        settle_summary(encoder, data, np.arange(len(data.y)) if scales is None else scales, device)
    found: NDArray[np.float32] | None = None
    for part, batch in batches_of(data, np.arange(len(data.y))):
        moved = batch.to(device)
        rows = encoder.molecule_vectors(encoder(moved), moved).float().cpu().numpy()
        if found is None:
            found = np.zeros((len(data.y), rows.shape[1]), np.float32)
        found[part] = rows
    assert found is not None
    return found


def write_cell(path: Path, result: CellResult) -> None:
    """Stores a finished cell, whole or not at all."""
    tensors = {f"state/{name}": value.contiguous() for name, value in result.state.items()}
    tensors |= {f"predicted/{name}": torch.from_numpy(values) for name, values in result.predicted.items()}
    about = {
        "cell": list(result.cell),
        "scaling": result.scaling.to_json(),
        "descriptor_scaling": None if result.descriptor_scaling is None else result.descriptor_scaling.to_json(),
        "seconds": result.seconds,
        "curve": result.curve,
        "best_epoch": result.best_epoch,
        "stopped": result.stopped,
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(about)})


def read_cell(path: Path, cell: Cell) -> CellResult:
    """Reads a finished cell."""
    try:
        with safe_open(path, framework="pt") as handle:
            about = json.loads((handle.metadata() or {})[_KEY])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no dict)
        if about["cell"] != list(cell):
            raise ValueError(f"it belongs to {about['cell']}")
        extra = about["descriptor_scaling"]
        return CellResult(
            cell,
            {name[len("state/") :]: x for name, x in tensors.items() if name.startswith("state/")},
            {name[len("predicted/") :]: x.numpy() for name, x in tensors.items() if name.startswith("predicted/")},
            Scaling.from_json(about["scaling"]),
            None if extra is None else Scaling.from_json(extra),
            about["seconds"],
            about["curve"],
            about["best_epoch"],
            about["stopped"],
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise MesomerError(
            f"The finished part {path} of this run cannot be read: {error}.", "Remove it to train that part again."
        ) from error
