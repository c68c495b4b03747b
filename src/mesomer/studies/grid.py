"""A grid: the axes of a published study, each varied alone around a plain set-up, as a YAML file.

    file -> points (named by what differs) -> pre-trained models, shared by points -> a study for each point and set

Decided: one factor at a time, or the whole product with `product: true`. A model is named by what it depends on, so
that points that share its pre-training share the run; twins and baselines of a set are trained once and taken over by
the other points (`reuse.py`). Pre-training is a list of stages: an objective on a corpus, or labels of a table, of
which molecules of any of the sets (skeleton of the InChIKey) are left out: labels of a test molecule would leak.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mesomer.data.benchmarks import BENCHMARKS
from mesomer.errors import MesomerError, unknown_name

GRIDS = Path(__file__).resolve().parent / "grids"
FACTORS = ("network", "features", "corpus", "pretraining", "split", "finetuning")
"""What can be varied; each value is a name that the file defines, or (features, split) a word."""
FEATURES = ("basic", "rich")
_DEFINED = {"network": "networks", "corpus": "corpora", "pretraining": "pretrainings", "finetuning": "finetunings"}
_KEYS = ("name", "about", "sets", "base", "vary", "also", "product", "study", *_DEFINED.values())
STUDY_KEYS = (
    "repeats", "folds", "trials", "epochs", "batch_size", "patience", "label_shares", "arms", "seed", "precision",
    "settings", "zone", "repeat_error",
)  # fmt: skip
_SET_KEYS = ("table", "targets", "smiles_column")


@dataclass(frozen=True)
class Point:
    """One set-up of the grid."""

    name: str
    """`base`, or what differs from it: `pretraining=infomax`."""
    values: Mapping[str, str]

    def __getitem__(self, factor: str) -> str:
        return self.values[factor]


@dataclass(frozen=True)
class Grid:
    """A grid as its file says it, checked."""

    name: str
    about: str
    sets: tuple[str, ...]
    base: Mapping[str, str]
    vary: Mapping[str, tuple[str, ...]]
    product: bool
    study: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]
    corpora: Mapping[str, Mapping[str, Any]]
    pretrainings: Mapping[str, tuple[Mapping[str, Any], ...]]
    finetunings: Mapping[str, Mapping[str, Any]]
    also: tuple[Mapping[str, str], ...] = ()
    """Further points, each by all that differs from the base: an objective that one network alone has, say."""
    columns: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Of the sets that say their own: `targets` and `smiles_column`."""

    def points(self) -> list[Point]:
        """All points: the base first, then factor by factor, or the whole product; further ones last."""
        more = [self._point(dict(self.base) | dict(values)) for values in self.also]
        if self.product:
            choices = [dict.fromkeys((self.base[factor], *self.vary.get(factor, ()))) for factor in FACTORS]
            every = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*choices)]
            return [*(self._point(values) for values in every), *more]
        alone = [
            dict(self.base) | {factor: value}
            for factor in FACTORS for value in self.vary.get(factor, ()) if value != self.base[factor]
        ]  # fmt: skip
        return [self._point(self.base), *(self._point(values) for values in alone), *more]

    def _point(self, values: Mapping[str, str]) -> Point:
        differs = [f"{factor}={value}" for factor, value in values.items() if value != self.base[factor]]
        return Point("+".join(differs) or "base", dict(values))

    def model_key(self, point: Point) -> str:
        """A stable name of the point's model: what it depends on, in short."""
        parts = [
            self.networks[point["network"]], point["features"], self.corpora[point["corpus"]],
            list(self.pretrainings[point["pretraining"]]), list(self.sets),
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
        return f"{point['pretraining']}-{point['network']}-{point['features']}-{point['corpus']}-{digest}"

    def files(self) -> list[str]:
        """Every table that the grid needs, by name or path."""
        tables = [str(corpus["table"]) for corpus in self.corpora.values()]
        labels = [str(stage["labels"]) for run in self.pretrainings.values() for stage in run if "labels" in stage]
        return list(dict.fromkeys([*self.sets, *tables, *labels]))


def read_grid(name: str) -> Grid:
    """A grid of the package by its name, or a YAML file."""
    shipped = {path.stem: path for path in GRIDS.glob("*.yaml")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        if Path(name).suffix in (".yaml", ".yml") or "/" in name:
            raise MesomerError(f"There is no grid file {name}.", f"Grids of the package: {', '.join(sorted(shipped))}.")
        raise unknown_name("grid", name, shipped)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MesomerError(f"The grid file {path} cannot be read: {' '.join(str(error).split())}.") from error
    return grid_of(content, str(path))


def grid_of(content: Any, where: str) -> Grid:
    """Checks what a file says."""
    if not isinstance(content, Mapping):
        raise MesomerError(f"The grid file {where} holds no settings.", "See docs/study.md for what a grid says.")
    for key in content:
        if key not in _KEYS:
            raise unknown_name(f"setting in the grid {where}", str(key), _KEYS)
    missing = [key for key in ("name", "sets", "base", "networks", "corpora", "pretrainings") if not content.get(key)]
    if missing:
        raise MesomerError(f"The grid {where} does not say {', '.join(missing)}.", "See docs/study.md for an example.")
    for key in content.get("study") or {}:
        if key not in STUDY_KEYS:
            raise unknown_name(f"setting of the studies in the grid {where}", str(key), STUDY_KEYS)
    sets = [_set_of(entry, where) for entry in content["sets"]]
    grid = Grid(
        name=str(content["name"]), about=str(content.get("about", "")),
        sets=tuple(table for table, _ in sets), columns={table: said for table, said in sets if said},
        base={"finetuning": "default", "features": "basic"} | content["base"],
        vary={factor: tuple(map(str, values)) for factor, values in (content.get("vary") or {}).items()},
        product=bool(content.get("product", False)), study=content.get("study") or {},
        networks=content["networks"], corpora=content["corpora"],
        pretrainings={name: tuple(stages) for name, stages in content["pretrainings"].items()},
        finetunings={"default": {}} | (content.get("finetunings") or {}),
        also=tuple(content.get("also") or ()),
    )  # fmt: skip
    _check(grid, where)
    return grid


def _set_of(entry: Any, where: str) -> tuple[str, dict[str, Any]]:
    """The table of an entry under `sets`, and the columns that it names."""
    if not isinstance(entry, Mapping):
        return str(entry), {}
    for key in entry:
        if key not in _SET_KEYS:
            raise unknown_name(f"setting of a set in the grid {where}", str(key), _SET_KEYS)
    if not entry.get("table"):
        raise MesomerError(
            f"A set of the grid {where} is {dict(entry)}.", "Write {table: FILE, targets: [COLUMN]}, or its name alone."
        )
    said = {key: entry[key] for key in _SET_KEYS[1:] if entry.get(key)}
    if "targets" in said:
        targets = said["targets"]
        said["targets"] = [targets] if isinstance(targets, str) else list(map(str, targets))
    return str(entry["table"]), said


def set_folder(one: str) -> str:
    """The name of a set's folder."""
    return Path(one).name.split(".")[0]


def _check(grid: Grid, where: str) -> None:
    folders = [set_folder(one) for one in grid.sets]
    for at, name in enumerate(folders):
        if name in folders[:at]:
            raise MesomerError(f"Two sets of the grid {where} are called {name}.", "Give one file another name.")
    for factor in (*grid.base, *grid.vary, *(factor for values in grid.also for factor in values)):
        if factor not in FACTORS:
            raise unknown_name(f"factor in the grid {where}", factor, FACTORS)
    absent = [factor for factor in FACTORS if factor not in grid.base]
    if absent:
        raise MesomerError(f"The base of the grid {where} does not say {', '.join(absent)}.", "Add it.")
    names = [point.name for point in grid.points()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MesomerError(f"The grid {where} has the point {twice} twice.", "Leave it out under `also`.")
    for point in grid.points():
        for factor, kind in _DEFINED.items():
            defined = getattr(grid, kind)
            if point[factor] not in defined:
                raise unknown_name(f"{factor} in the grid {where}", point[factor], defined)
        if point["features"] not in FEATURES:
            raise unknown_name(f"features in the grid {where}", point["features"], FEATURES)
    for name, corpus in grid.corpora.items():
        if "table" not in corpus or set(corpus) - {"table", "molecules", "seed"}:
            raise MesomerError(f"The corpus {name} of the grid {where} is {dict(corpus)}.", "Give table and molecules.")
    for name, settings in grid.finetunings.items():
        for key in settings or {}:
            if key not in STUDY_KEYS:
                raise unknown_name(f"setting of the fine-tuning {name} in the grid {where}", str(key), STUDY_KEYS)
    for name, stages in grid.pretrainings.items():
        if not stages or any(("objective" in stage) == ("labels" in stage) for stage in stages):
            raise MesomerError(
                f"The pre-training {name} of the grid {where} has a stage that is neither an objective nor labels.",
                "Give each stage either objective or labels.",
            )
        for stage in stages:
            known = _stage_keys("labels" in stage)
            for key in stage:
                if key not in known:
                    raise unknown_name(f"setting of the pre-training {name} in the grid {where}", str(key), known)


def _stage_keys(labels: bool) -> set[str]:
    """What a stage may say: the options of a fine-tuning, or of a pre-training, but for those that the grid decides."""
    from mesomer.training.finetune_plan import FinetuneOptions
    from mesomer.training.pretrain import PretrainOptions

    if labels:
        own, decided = {"labels", "targets", "molecules"}, {"scratch", "accelerator", "seed"}
    else:
        own = {"objective", "options"}
        decided = {"method", "encoder", "objective_options", "init", "accelerator", "seed"}
    options = {field.name for field in dataclasses.fields(FinetuneOptions if labels else PretrainOptions)}
    return own | (options - decided)


def shortened(grid: Grid, molecules: int, steps: int, sets: tuple[str, ...]) -> Grid:
    """The same grid on few molecules and few steps, to see that it runs."""
    corpora = {name: {**corpus, "molecules": molecules} for name, corpus in grid.corpora.items()}

    def short(stage: Mapping[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in stage.items() if key not in ("epochs", "max_steps", "max_minutes")}
        return rest | ({"epochs": 1, "molecules": molecules} if "labels" in stage else {"max_steps": steps})

    runs = {name: tuple(short(stage) for stage in stages) for name, stages in grid.pretrainings.items()}
    study = {**grid.study, "repeats": 1, "folds": 2, "trials": 1, "epochs": 1, "label_shares": []}
    return dataclasses.replace(grid, corpora=corpora, pretrainings=runs, sets=sets, study=study)


def narrowed(grid: Grid, sets: Sequence[str]) -> Grid:
    """The grid with only some of its sets."""
    for one in sets:
        if one not in grid.sets:
            raise unknown_name(f"set in the grid {grid.name}", one, grid.sets)
    return dataclasses.replace(grid, sets=tuple(one for one in grid.sets if one in sets)) if sets else grid


def missing_files(grid: Grid) -> list[str]:
    """The tables that are neither files nor benchmark sets."""
    return [name for name in grid.files() if name not in BENCHMARKS and not Path(name).exists()]
