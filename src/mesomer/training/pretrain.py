"""Pre-training: an objective around an encoder, a corpus, the loop; and what is left of it for others to use.

A run gives `encoder/` (a model folder that fine-tuning and embedding start from), `pretraining/` (the same with the
objective's heads, from which a later run goes on), `figures.json` (loss and accuracy of each field on held-out
molecules beside the trivial guess), `metrics.csv` and `checkpoints/`. The weights kept are those of the lowest
held-out loss. Held-out molecules are hidden alike at every validation, so that its figures can be compared.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mesomer.data.corpus import Corpus
from mesomer.data.stream import CorpusBatches
from mesomer.encoders.base import ENCODERS, Encoder, build_encoder, sizes
from mesomer.errors import MesomerError, unknown_name
from mesomer.files import atomic_write
from mesomer.machine import versions
from mesomer.objectives.base import DEFAULT_OBJECTIVE, Objective, build_objective
from mesomer.progress import Progress
from mesomer.run import RunFolder
from mesomer.training.checkpoint import ModelFolder, encoder_of, load_model, load_state, save_model
from mesomer.training.context import Context
from mesomer.training.loop import FitResult, Listener, StepReport, fit
from mesomer.training.model_keys import FILE as KEYS_FILE
from mesomer.training.model_keys import Carried, keys_to_carry
from mesomer.training.objective_trainee import ObjectiveTrainee
from mesomer.training.pretrain_card import Facts, model_card, summary_text
from mesomer.training.pretrain_options import PretrainOptions, method_of
from mesomer.training.representation import RepresentationProbe
from mesomer.training.state import LoopState

__all__ = ["FIGURES", "PretrainOptions", "Pretrained", "build", "pretrain", "take_heads"]

FIGURES = "figures.json"


@dataclass(frozen=True)
class Pretrained:
    """A finished pre-training: its folder, what it says of itself, and whether it was finished before this call."""

    path: Path
    summary: dict[str, Any]
    already_finished: bool

    @property
    def text(self) -> str:
        """The summary for people."""
        return summary_text(self.path, self.summary, self.already_finished)


def pretrain(
    corpus: str | Path,
    output: str | Path,
    options: PretrainOptions,
    *,
    overwrite: bool = False,
    report: Callable[[Path], None] | None = None,
) -> Pretrained:
    """Pre-trains on a prepared corpus into the run folder `output`, or goes on with the unfinished run in it.

    `report` writes a report into the run folder before it counts as finished.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    start = load_model(options.init, ("pretraining", "encoder", "model")) if options.init is not None else None
    options = replace(options, method=method_of(options, start))
    objective = build(options, start)
    store = Corpus.open(corpus, objective.batch_columns(Corpus.open(corpus, ())))
    if store.num_held_out == 0:
        raise MesomerError(
            f"The corpus {corpus} holds out no molecule to measure the training with.", "Prepare a larger corpus."
        )
    config = {"corpus": str(corpus), "output": str(output), **asdict(options), "overwrite": overwrite}
    inputs = {"corpus": store.fingerprint} | ({"init": start.sha256} if start is not None else {})
    with Context.start(options.accelerator, options.precision, options.strategy) as context:
        _check_alike(context, {"version": versions(), "corpus": store.fingerprint, "settings": config})
        # each machine may have a disk of its own: its processes share the reading of what lies there
        context.each(lambda: store.verify(context.local_rank, context.local_world))
        run = _open_run(context, output, config, inputs, overwrite)
        if run.state == "finished":
            return Pretrained(run.path, run.summary, True)
        objective.adapt(store)
        told = None if start is None else take_heads(objective, start)
        keys: list[Carried] = []
        context.first(lambda: keys.append(keys_to_carry(store, start)))
        with run:
            if told is not None:
                run.log(told)
            summary = _Pretraining(run, store, objective, options, context, keys, report).run()
            return Pretrained(run.path, summary, False)


def _check_alike(context: Context, facts: Mapping[str, Any]) -> None:
    """Stops if the processes differ in what the result depends on, as they may on several machines."""
    ranks = context.gather(dict(facts))
    for name in facts:
        odd = [rank for rank, other in enumerate(ranks) if other[name] != ranks[0][name]]
        if odd:
            raise MesomerError(
                f"Process {odd[0]} has another {name} than process 0.",
                "Install the same packages and give the same corpus and command on every machine.",
            )


def _open_run(
    context: Context, output: str | Path, config: dict[str, Any], inputs: dict[str, str], overwrite: bool
) -> RunFolder:
    """Opens the run folder on every rank; the first rank makes it before the others look."""
    opened: list[RunFolder] = []

    def first() -> None:
        opened.append(RunFolder.open(output, "pretrain", config, inputs, overwrite))

    context.first(first)
    return opened[0] if opened else RunFolder.open(output, "pretrain", config, inputs)


def build(options: PretrainOptions, start: ModelFolder | None = None) -> Objective:
    """The objective with its encoder, whose weights are random or those of `start`; the heads are new, with the options
    of `start` if it was trained on the same objective.
    """
    method = method_of(options, start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        if start is None:
            encoder = build_encoder(method, **_encoder_options(options, method))
            return _build_objective(options, encoder, {})
        encoder = _encoder_from(options, start)
        described = start.config.get("objective") or {}
        name = options.objective or DEFAULT_OBJECTIVE.get(encoder.name)
        goes_on = start.kind == "pretraining" and described.get("name") == name
        # behind a new summary the heads are made anew, too
        added = encoder.summary is not None and not start.config["encoder"].get("config", {}).get("summary")
        return _build_objective(options, encoder, described.get("config", {}) if goes_on and not added else {})


def take_heads(objective: Objective, start: ModelFolder) -> str:
    """Loads the heads of `start` into an objective that has been adapted to its corpus, as far as they are of the same
    make and for the same names; says what was loaded.
    """
    new = f"Starting from the encoder in {start.path}; the heads of the objective are new."
    described = start.config.get("objective") or {}
    if start.kind != "pretraining" or described.get("name") != objective.name:
        return new
    before, own = described.get("vocabularies", {}), objective.state_dict()
    other = tuple(head for head, names in objective.vocabularies().items() if before.get(head) != names)
    places = tuple(f"{head}." for head in other)
    state = {key: x for key, x in start.state.items() if not key.startswith(places)}
    state |= {key: x for key, x in own.items() if key.startswith(places)}
    if {key: x.shape for key, x in own.items()} != {key: x.shape for key, x in state.items()}:
        return new
    load_state(objective, state, start.path)
    if not other:
        return f"Starting from the encoder and the heads in {start.path}."
    return (
        f"Starting from the encoder and the heads in {start.path}, but for these, which are new because their "
        f"vocabulary in this corpus is another: {', '.join(other)}."
    )


def _build_objective(options: PretrainOptions, encoder: Encoder, before: Mapping[str, Any]) -> Objective:
    name = options.objective or DEFAULT_OBJECTIVE.get(encoder.name)
    if name is None:
        raise MesomerError(f"The method {encoder.name} has no objective of its own.", "Name one with --objective.")
    given = options.objective_options
    merged = {
        key: {**before[key], **value} if isinstance(value, Mapping) and isinstance(before.get(key), Mapping) else value
        for key, value in given.items()
    }
    objective = build_objective(name, encoder, **{**before, **merged})
    if encoder.summary is not None and not objective.trains_summary:
        if encoder.summary.standard.untouched:
            raise MesomerError(
                f"The objective {name} does not train the summary that the encoder was given.",
                "Leave --encoder.summary out, or join an objective on labels of the molecule (such as +descriptors).",
            )
        encoder.summary.requires_grad_(False)
    return objective


def _encoder_options(options: PretrainOptions, method: str) -> dict[str, Any]:
    """The encoder's options by its size and what was given beside it."""
    known_sizes = sizes(method)
    size = options.size or next(iter(known_sizes))
    if size not in known_sizes:
        raise unknown_name(f"size of {method}", size, known_sizes)
    known = set(inspect.signature(ENCODERS[method]).parameters)
    for name in options.encoder:
        if name not in known:
            raise unknown_name(f"option of the encoder {method}", name, known)
    return {**known_sizes[size], **options.encoder}


def _encoder_from(options: PretrainOptions, start: ModelFolder) -> Encoder:
    """The encoder of a model, which has to be what was asked for beside it."""
    encoder = encoder_of(start)
    asked = _encoder_options(options, encoder.name) if options.size else dict(options.encoder)
    if asked.get("summary") and encoder.summary is None:
        encoder = encoder.with_summary(asked["summary"])
    for name, value in asked.items():
        if encoder.config().get(name) != value:
            raise MesomerError(
                f"The encoder in {start.path} has {name} {encoder.config().get(name)}, and {value} was asked for.",
                "Leave --size and --encoder out: with --init the model decides.",
            )
    return encoder


class _Teller(Listener):
    """Tells of a training: the live line, and the rows of metrics.csv."""

    def __init__(
        self, run: RunFolder, bar: Progress, molecules_per_step: float, untrained: Callable[[], dict[str, float]]
    ) -> None:
        self.run, self.bar, self.molecules_per_step, self.untrained = run, bar, molecules_per_step, untrained

    def on_start(self, state: LoopState, total_steps: int) -> None:
        self.run.rewind("step", state.step if state.step else -1)
        if state.step:
            self.run.log(f"Going on after step {state.step:,} of {total_steps:,}.")
        elif scores := self.untrained():
            self.run.metric({"part": "valid", "step": 0, "epoch": 0.0, **scores})
        self.bar.total = round(max(total_steps - state.step, 0) * self.molecules_per_step) or None

    def on_step(self, report: StepReport) -> None:
        self.bar.note(f"step {report.step:,}, loss {report.loss:.4g}")
        self.bar.advance(report.molecules)

    def on_log(self, row: dict[str, Any]) -> None:
        self.run.metric(row)


class _Pretraining:
    """One pre-training in an open run folder."""

    def __init__(
        self,
        run: RunFolder,
        corpus: Corpus,
        objective: Objective,
        options: PretrainOptions,
        context: Context,
        keys: list[Carried],
        report: Callable[[Path], None] | None,
    ) -> None:
        """`keys` is what the model is to carry of its corpus, known to the first rank alone."""
        self.keys = keys
        self.run_folder, self.corpus, self.objective = run, corpus, objective
        self.options, self.context, self.report = options, context, report

    def run(self) -> dict[str, Any]:
        options, context, run = self.options, self.context, self.run_folder
        batches = CorpusBatches(
            self.corpus,
            atoms_per_batch=options.atoms_per_batch,
            accumulate=options.accumulate,
            rank=context.rank,
            world=context.world,
            seed=options.seed,
            extras=self.objective.batch_columns(self.corpus),
            length_buckets=self.objective.encoder.length_buckets,
        )
        placing = self.objective.encoder.needs_coordinates
        probe = RepresentationProbe(options.probe_molecules, placing) if options.probe_molecules else None
        trainee = ObjectiveTrainee(
            self.objective,
            self.corpus,
            options.seed,
            atoms_per_batch=options.atoms_per_batch,
            limit=options.validate_molecules,
            probe=probe,
        )
        per_step = self.corpus.num_train / max(batches.steps(0), 1)
        parameters = sum(parameter.numel() for parameter in self.objective.encoder.parameters())
        run.log(
            f"Pre-training {options.method} ({parameters:,} parameters) with {self.objective.name} on "
            f"{self.corpus.num_train:,} molecules, {per_step:.0f} in a step, {batches.steps(0):,} steps an epoch; "
            f"{context.world} process{'es' if context.world > 1 else ''} on {context.device.type}, "
            f"{'bfloat16' if context.precision == 'bf16' else 'float32'}."
        )
        for carried in self.keys:
            run.log(carried.sentence)
        if self.objective.encoder.summary is not None and not self.objective.trains_summary:
            run.log(
                "The summary behind the pooled rows is not trained by this objective and stays as it is; "
                "objectives on labels of the molecule train it (for example +descriptors)."
            )
        if probe is not None:
            probe.prepare(context)
        with Progress(None, "molecules", "pre-training") as bar:
            listener = _Teller(run, bar, per_step, lambda: trainee.probe_score(context))
            result = fit(trainee, batches, options.loop(), run.path / "checkpoints", context=context, listener=listener)
        trainee.module.to(context.device)
        figures, scores = trainee.figures(context), trainee.probe_score(context)
        return context.first(lambda: self._keep(result, figures, scores.get("probe_r2"), parameters))

    def _keep(
        self, result: FitResult, figures: dict[str, dict[str, float]], probe: float | None, parameters: int
    ) -> dict[str, Any]:
        """Writes models, figures, report and summary; on the first rank alone."""
        run = self.run_folder
        with atomic_write(run.path / FIGURES) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        before = next((row["probe_r2"] for row in run.metrics() if row.get("probe_r2") and row["step"] == "0"), None)
        probes = (None if before is None else float(before), probe)
        (keys,) = self.keys
        facts = Facts.of(
            self.corpus, self.objective, self.options, result, figures, probes, parameters, self.context, keys.entry
        )
        vocabularies = self.objective.vocabularies()
        described = {
            "encoder": {"name": self.objective.encoder.name, "config": self.objective.encoder.config()},
            "objective": {
                "name": self.objective.name,
                "config": self.objective.config(),
                **({"vocabularies": vocabularies} if vocabularies else {}),
            },
            "training": asdict(facts),
        }
        card = model_card(facts, figures)
        files = {} if keys.content is None else {KEYS_FILE: keys.content}
        for kind, state in (
            ("encoder", self.objective.encoder.state_dict()),
            ("pretraining", self.objective.state_dict()),
        ):
            save_model(run.path / kind, kind, described, state, card, overwrite=True, files=files)
        summary = {**asdict(facts), "figures": figures}
        if self.report is not None:
            self.report(run.path)
        run.finish(summary)
        return summary
