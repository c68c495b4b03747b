"""A model in a program: `load("batmannet-1").embed(smiles)`, `load("runs/sol").predict(smiles)`.

Molecules come as any list, array or column (`inference.molecules`), rows keep their places, and long work shows its
progress. In a notebook a model shows itself as a card and draws what it predicts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mesomer.calls import checked, python_words
from mesomer.data.geometry import Geometry
from mesomer.errors import MesomerError
from mesomer.inference.batches import choose_device
from mesomer.inference.embed import Embedder
from mesomer.inference.molecules import molecule_table, molecules_of
from mesomer.inference.predict import TablePredictor
from mesomer.inference.rows import Wanted, present, table_rows
from mesomer.inference.threads import limited_threads
from mesomer.inference.warn import Unusable, warn
from mesomer.progress import Progress
from mesomer.training.checkpoint import ModelFolder, default_model, load_model
from mesomer.training.predictor import FINGERPRINTS, is_predictor, predictor_of

if TYPE_CHECKING:
    from mesomer.data.tables import Table
    from mesomer.report.notebook import MoleculeGrid

CHUNK_ROWS = {"cpu": 1024}
"""Rows between two signs of progress; a GPU wants more at a time."""


class Model:
    """A loaded model; the arguments are those of `load`."""

    @python_words()
    def __init__(
        self,
        name: str | os.PathLike[str] | Model | None = None,
        accelerator: str = "auto",
        *,
        precision: Literal["32", "bf16"] = "32",
        threads: int | None = None,
        quiet: bool = False,
    ) -> None:
        settings = {"accelerator": accelerator, "precision": precision, "threads": threads, "quiet": quiet}
        given: dict[str, Any] = checked(Model.__init__, settings)
        self.accelerator, self.precision = given["accelerator"], given["precision"]
        self.threads, self.quiet = given["threads"], given["quiet"]
        choose_device(self.accelerator)
        with limited_threads(self.threads):  # a number that cannot be is said here
            self.folder = folder_of(name)
        self._embedders: dict[str, Embedder] = {}
        self._predictor: TablePredictor | None = None

    @python_words()
    def embedder(self, level: str = "molecule") -> Embedder:
        """The embedder of a level."""
        if level not in self._embedders:
            self._embedders[level] = Embedder(self.folder, level, self.accelerator, precision=self.precision)
        return self._embedders[level]

    @python_words()
    def embed(self, smiles: Any, level: str = "molecule") -> Any:
        """Vectors: float32 [n, width] with a row of NaN for a bad molecule, or a list of arrays by atom or bond.

        smiles: SMILES or RDKit molecules, or a mix, as a list, an array, a column of a frame, or a frame.
        """
        with limited_threads(self.threads):
            vectors, unusable = embed_rows(self.embedder(level), smiles, self.quiet)
        unusable.tell(f"their vectors are {'NaN' if level == 'molecule' else 'None'}")
        return vectors

    @python_words()
    def reasons(self, smiles: Any) -> list[str | None]:
        """Why molecules cannot be used; None for good ones."""
        return [reason for _, rows in table_rows(molecule_table(smiles), Wanted()) for reason in rows.reasons]

    @python_words()
    def predict(self, smiles: Any) -> dict[str, NDArray[Any]]:
        """The columns that `mesomer predict` writes, by name; NaN (or None) for bad molecules.

        smiles: As for `embed`; a frame, if the model was trained with descriptor columns.
        """
        with limited_threads(self.threads):
            columns, unusable = self._predicted(smiles)
        unusable.tell("their predictions are empty")
        return columns

    def _predicted(self, smiles: Any) -> tuple[dict[str, NDArray[Any]], Unusable]:
        if not is_predictor(self.folder):
            raise MesomerError(
                f"{self.folder.path} holds an encoder, which predicts no property.",
                "Fine-tune it on labels first: `mesomer finetune`, or MolRegressor and MolClassifier.",
            )
        if self._predictor is None:
            self._predictor = TablePredictor(predictor_of(self.folder), self.accelerator)
        predictor = self._predictor
        parts: dict[str, list[Any]] = {column.name: [] for column in predictor.columns()}
        table = molecules_in_chunks(smiles, predictor.predictor.max_atoms, predictor.runner.device.type)
        predictor.check(table)
        unusable = Unusable()
        for chunk, rows in shown(table, predictor.wanted, "predicting", self.quiet):
            found = predictor.predict_chunk(chunk, rows)
            unusable.add(found["mesomer_error"], chunk.smiles)
            for name, values in found.items():
                parts[name].extend(values)
        return {name: np.array(values) for name, values in parts.items()}, unusable

    @python_words()
    def draw(self, smiles: Any) -> MoleculeGrid:
        """The molecules drawn side by side (in a notebook), with what the model predicts for each."""
        from rdkit import Chem

        from mesomer.chem.parse import as_parsed
        from mesomer.report.notebook import Drawn, MoleculeGrid

        items, _ = molecules_of(smiles)
        texts = [_smiles(as_parsed(item)[0]) if isinstance(item, Chem.Mol) else item for item in items]
        if is_predictor(self.folder):
            with limited_threads(self.threads):
                found, _ = self._predicted(smiles)
            reasons, lines = found["mesomer_error"].tolist(), _captions(self, found)
        else:
            reasons, lines = self.reasons(smiles), [()] * len(items)
        texts = [text if isinstance(text, str) else None for text in texts]
        return MoleculeGrid([Drawn(*item) for item in zip(texts, lines, reasons, strict=True)])

    def facts(self) -> dict[str, Any]:
        """What the model is, in a few words each."""
        config, state = self.folder.config, self.folder.state
        weights = sum(tensor.numel() for name, tensor in state.items() if name != FINGERPRINTS)
        if self.folder.kind == "encoder":  # the state holds scales and counters too
            weights = (config.get("training") or {}).get("parameters") or weights
        facts: dict[str, Any] = {
            "Encoder": config.get("encoder", {}).get("name"),
            "Parameters": f"{weights:,}",
            "Weights": f"SHA-256 {self.folder.sha256[:12]}",
        }
        if is_predictor(self.folder):
            stored = config["predictor"]
            trained = stored["trained_on"]
            facts["Predicts"] = ", ".join(f"{target['name']} ({target['type']})" for target in stored["targets"][:20])
            facts["Members"] = f"{stored['members']}, averaged"
            if trained:
                facts["Trained on"] = f"{trained['molecules']:,} molecules of {trained['data']}; {trained['split']}"
        return facts

    @property
    def title(self) -> str:
        """The kind of model and its name."""
        kind = {"encoder": "Encoder", "pretraining": "Encoder in pre-training", "predictor": "Predictor"}
        return f"{kind[self.folder.kind]} {self.folder.path.name}"

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold the weights once; what works with them is built again on first use."""
        return vars(self) | {"_embedders": {}, "_predictor": None}

    def __repr__(self) -> str:
        from mesomer.report.notebook import plain_card

        return plain_card(self.title, self.facts())

    def _repr_html_(self) -> str:
        from mesomer.report.notebook import card

        return card(self.title, self.facts())


def molecules_in_chunks(smiles: Any, max_atoms: int, device: str) -> Table:
    """The molecules as a table, in chunks that suit the device."""
    return molecule_table(smiles, max_atoms, chunk_rows=CHUNK_ROWS.get(device, 8192))


def shown(table: Table, wanted: Wanted, label: str, quiet: bool = False) -> Iterator[Any]:
    """`table_rows`, counted on a progress display; what is to be told of coordinates comes as warnings."""
    geometry = Geometry()
    with Progress(table.rows, "molecules", label, quiet) as bar:
        for chunk, rows in table_rows(table, wanted, advance=bar.advance):
            if wanted.coordinates:
                _, graphs, mols = present(chunk, rows)
                geometry.add(graphs, mols)
            yield chunk, rows
    for sentence in geometry.sentences():
        warn(sentence)


def embed_rows(embedder: Embedder, smiles: Any, quiet: bool = False) -> tuple[Any, Unusable]:
    """(vectors [n, width] or a list of arrays by atom or bond, the molecules without)."""
    by_molecule = embedder.level == "molecule"
    table = molecules_in_chunks(smiles, embedder.max_atoms, embedder.runner.device.type)
    parts: list[Any] = []
    unusable = Unusable()
    for chunk, rows in shown(table, embedder.wanted, "embedding", quiet):
        parts.append(embedder.vectors(rows.graphs) if by_molecule else embedder.vector_lists(rows.graphs))
        unusable.add(rows.reasons, chunk.smiles)
    if not by_molecule:
        return [part for chunk in parts for part in chunk], unusable
    return np.concatenate(parts) if parts else np.zeros((0, embedder.width), np.float32), unusable


def _smiles(mol: Any) -> str | None:
    from rdkit import Chem

    return None if mol is None else Chem.MolToSmiles(mol)


def _captions(model: Model, found: dict[str, NDArray[Any]]) -> list[tuple[str, ...]]:
    """What is predicted for each molecule, a line for each of the first three targets."""
    captions: list[tuple[str, ...]] = []
    targets = model.folder.config["predictor"]["targets"][:3]
    for at in range(len(found["mesomer_error"])):
        lines = []
        for target in targets:
            name, value = target["name"], found[f"{target['name']}_pred"][at]
            if found["mesomer_error"][at] is not None:
                continue
            if target["type"] == "regression":
                low, high = found[f"{name}_pred_low"][at], found[f"{name}_pred_high"][at]
                interval = "" if np.isnan(low) else f" ({low:.3g} to {high:.3g})"
                lines.append(f"{name} {value:.3g}{interval}")
            elif target["type"] == "binary":
                lines.append(f"{name}: {target['classes'][1]} {value:.0%}")
            else:
                lines.append(f"{name}: {value} {found[f'{name}_prob_{value}'][at]:.0%}")
        captions.append(tuple(lines))
    return captions


def folder_of(model: Any) -> ModelFolder:
    """The model folder that an argument means: a name, a path, a loaded model, or None for the bundled one."""
    if isinstance(model, Model):
        return model.folder
    if not (model is None or isinstance(model, str | os.PathLike)):
        raise MesomerError(
            f"A value of type {type(model).__name__} names no model.",
            "Give a name, a folder or what mesomer.load returned; an estimator that was fitted becomes a folder by "
            "its method save.",
        )
    return load_model(default_model() if model is None else model)


def load(
    name: str | os.PathLike[str] | Model | None = None,
    accelerator: str = "auto",
    *,
    precision: Literal["32", "bf16"] = "32",
    threads: int | None = None,
    quiet: bool = False,
) -> Model:
    """Opens a model folder, a run folder, a bundled or a hub model; the bundled encoder if no name is given.

    A model that is loaded already comes back as it is, or with the settings given, if there are any.

    Args:
        name: Model folder, run folder, bundled or hub name, or a loaded model; the bundled encoder if None.
        accelerator: auto, cpu, cuda or mps.
        precision: Of vectors: 32, or bf16, which is faster where the processor computes in it and rounds them.
            Predictions are computed in 32.
        threads: Processor cores for the network; as torch is set if None.
        quiet: Show no progress of work that takes over two seconds.
    """
    if isinstance(name, Model) and (accelerator, precision, threads, quiet) == ("auto", "32", None, False):
        return name
    return Model(name, accelerator, precision=precision, threads=threads, quiet=quiet)
