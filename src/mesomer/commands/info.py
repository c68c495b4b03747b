"""`mesomer info`: what a path is, told from its own files: a model, a run, a corpus, a foreign checkpoint, a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mesomer.errors import MesomerError

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 20
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin")


def info(path: str) -> dict[str, Any]:
    """Tell what a folder or file is: a model, a run, a corpus, somebody else's checkpoint or a table.

    Args:
        path: A folder, a file, or the name of a bundled model.
    """
    from pathlib import Path
    from zipfile import is_zipfile

    from mesomer.data.readers import READERS, format_suffix
    from mesomer.run import read_manifest
    from mesomer.training.checkpoint import CONFIG, bundled_models, resolve_model

    place = Path(path)
    if not place.exists():
        if path in bundled_models():
            return _told(model_facts(resolve_model(path), path))
        raise MesomerError(f"There is nothing at {path}.", "`mesomer models` lists the bundled models.")
    if place.is_dir():
        if (place / CONFIG).is_file():
            return _told(model_facts(place, place.name))
        if (place / "corpus.json").is_file():
            return _told(_corpus_facts(place))
        manifest = read_manifest(place)
        if manifest is not None:
            return _told(_run_facts(place, manifest))
        raise MesomerError(
            f"{place} is no folder of Mesomer's.",
            "A model has a config.json, a run a manifest.json, a corpus a corpus.json.",
        )
    if place.suffix == ".safetensors":
        shapes = _shapes(place)
        return _told({"what": "a safetensors file", "path": path, "tensors": len(shapes), "parameters": _total(shapes)})
    if place.suffix in _CHECKPOINTS or is_zipfile(place):  # torch.save writes a zip, whatever its name: model.ep15
        return _told(_checkpoint_facts(place))
    if format_suffix(place) in set(READERS) - {""}:
        size = place.stat().st_size
        return _told({"what": "a table, by its name", "path": path, "bytes": size, "next": f"mesomer check {path}"})
    raise MesomerError(
        f"{path} is of no kind that Mesomer knows.", "Give a model, a run, a corpus or a checkpoint file."
    )


def model_facts(folder: Path, name: str) -> dict[str, Any]:
    """What a model folder says of itself; its weights are counted but not loaded."""
    from mesomer.training.checkpoint import CARD, WEIGHTS, read_config
    from mesomer.training.model_keys import keys_of

    config = read_config(folder)
    weights, card = folder / WEIGHTS, folder / CARD
    if not weights.is_file():
        raise MesomerError(f"{weights} is missing.", "The folder is damaged: copy it again.")
    encoder, keys = config.get("encoder") or {}, keys_of(folder, config)
    facts = {
        "what": {"encoder": "an encoder", "pretraining": "a pre-training model"}.get(
            config["kind"], "a property model"
        ),
        "name": name,
        "path": str(folder),
        "kind": config["kind"],
        "encoder": encoder.get("name", "unknown"),
        "settings": encoder.get("config", {}),
        "parameters": _parameters(config) or _total(_shapes(weights)),
        "bytes": weights.stat().st_size,
        "weights_sha256": config.get("weights_sha256"),
        "mesomer_version": config.get("mesomer_version"),
        "corpus_keys": None if keys is None else f"of {keys.molecules:,} molecules, for `mesomer study`",
        "about": _first_paragraph(card),
        "card": str(card) if card.is_file() else None,
    }
    if tasks := config.get("tasks"):
        facts["tasks"] = [task["name"] if isinstance(task, dict) and "name" in task else str(task) for task in tasks]
    return facts


def _shapes(weights: Path) -> list[list[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as file:
            return [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise MesomerError(f"{weights} is no whole safetensors file: {error}.", "Copy it again.") from error


def _parameters(config: dict[str, Any]) -> int | None:
    """What an encoder says of itself: its tensors hold scales and counters too."""
    return (config.get("training") or {}).get("parameters") if config["kind"] == "encoder" else None


def _total(shapes: list[list[int]]) -> int:
    from math import prod

    return sum(prod(shape) for shape in shapes)


def _first_paragraph(card: Path) -> str:
    """The first sentence-like paragraph of a model card, without front matter and headings."""
    if not card.is_file():
        return "no model card"
    text = card.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    for block in text.split("\n\n"):
        lines = [line for line in block.strip().splitlines() if not line.startswith("#")]
        if lines:
            return " ".join(" ".join(lines).split())
    return "an empty model card"


def _run_facts(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    sessions = manifest.get("sessions") or [{}]
    facts = {
        "what": f"a run of `mesomer {manifest['command']}`",
        "path": str(folder),
        "status": manifest["status"],
        "started": manifest["started"],
        "ended": manifest.get("ended"),
        "sessions": len(sessions),
        "command_line": sessions[-1].get("command_line"),
        "versions": sessions[-1].get("versions", {}),
        "seed": manifest.get("seed"),
        "inputs": manifest["inputs"],
        "settings": manifest["config"],
        "models": [part for part in ("model", "encoder") if (folder / part / "config.json").is_file()],
    }
    summary = manifest.get("summary") or {}
    if summary.get("text"):
        facts["result"] = summary["text"]
    return facts


def _corpus_facts(folder: Path) -> dict[str, Any]:
    """What the card of a corpus says, after its files were compared with it."""
    import json

    from mesomer.data.corpus import Corpus

    try:
        card = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise MesomerError(f"{folder}/corpus.json cannot be read: {error}.", "Prepare the corpus again.") from error
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    checked = {}
    if {"shards", "additions"} <= card.keys():
        corpus = Corpus(folder, card, list(card["additions"]))
        corpus.verify()
        checked = {"checked": f"all {len(corpus.files()):,} files have the SHA-256 of the card"}
    return {"what": "a prepared corpus", "path": str(folder), "bytes": size} | checked | dict(card)


def _checkpoint_facts(file: Path) -> dict[str, Any]:
    from mesomer.files import sha256_of
    from mesomer.interop.checkpoints import read_checkpoint
    from mesomer.interop.recognised import looks_like, source_of

    found = read_checkpoint(file)
    source = source_of(found.tensors) or "NAME"
    return {
        "what": "a foreign checkpoint: " + looks_like(found.tensors),
        "path": str(file),
        "bytes": file.stat().st_size,
        "sha256": sha256_of(file),
        "tensors": len(found.tensors),
        "parameters": sum(tensor.numel() for tensor in found.tensors.values()),
        "arguments": {key: value for key, value in (found.arguments or {}).items() if _short(value)},
        "next": f"mesomer import {file} --from {source} --output FOLDER",
    }


def _short(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _table(items: list[Mapping[str, Any]], indent: str) -> list[str]:
    """A line for each of the first items: `train-00000.arrow: molecules 1,234, atoms 30,000`."""
    lines = []
    for item in items[:_SHOWN]:
        told = {key: value for key, value in item.items() if _short(value) and value not in (None, "")}
        first = str(told.pop("file", "")) or "-"
        told |= {"sha256": f"{told['sha256'][:12]}…"} if "sha256" in told else {}
        words = [f"{key} {value:,}" if type(value) is int else f"{key} {value}" for key, value in told.items()]
        lines.append(f"{indent}{first}: {', '.join(words)}")
    if len(items) > _SHOWN:
        lines.append(f"{indent}… and {len(items) - _SHOWN:,} more (--json has all)")
    return lines


def _lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in facts.items():
        name = key if indent else key.replace("_", " ")
        if value is None or value in ({}, [], ""):
            continue
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            lines += [f"{indent}{name}: {len(value):,}", *_table(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}{name}: {', '.join(str(item) for item in value)}")
        elif isinstance(value, int) and not isinstance(value, bool) and "seed" not in key and "version" not in key:
            lines.append(f"{indent}{name}: {value:,}")
        else:
            text = str(value).replace("\n", f"\n{indent}  ")
            lines.append(f"{indent}{name}: {text}")
    return lines


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in facts.items() if key not in ("what", "path")}
    return facts | {"text": "\n".join([f"{facts.get('path') or facts.get('name')} is {facts['what']}.", *_lines(rest)])}
