"""Model folders: what a model is on disk, how it is found by name, and how a damaged or foreign one is told apart.

A model folder has `config.json`, `model.safetensors` and `README.md` (the model card); vocabularies and scalers lie
beside them as JSON, and an encoder may carry the keys of its corpus (`model_keys`). Nothing is pickled, so that a
folder loads years later and loading runs no foreign code.
`config.json` holds the SHA-256 of the weights: a copy that was cut short or mixed with another model's is refused.

A name is, in this order: a model folder, a run folder (its `model/`, else its `encoder/`), a bundled model, or
`org/name` on a hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mesomer.errors import MesomerError, unknown_name
from mesomer.files import atomic_folder, sha256_of
from mesomer.machine import versions

if TYPE_CHECKING:
    from mesomer.encoders.base import Encoder

FORMAT = 1
KINDS = ("encoder", "pretraining", "predictor")
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
BUNDLED = Path(__file__).resolve().parent.parent / "bundled"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelFolder:
    """A loaded model folder; `extra` holds its other JSON files by their stem."""

    path: Path
    kind: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    extra: dict[str, Any]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the weights file: which weights made a result."""
        return sha256_of(self.path / WEIGHTS)


def save_model(
    path: str | os.PathLike[str],
    kind: str,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str,
    extra_json: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a model folder, whole or not at all; `extra_json` maps the stem of a further JSON file to its content,
    `files` the name of any other file.
    """
    from mesomer.chem.schema import SCHEMA_VERSION

    if kind not in KINDS:
        raise ValueError(f"a model is one of {KINDS}, not {kind!r}")
    # a copy each: safetensors refuses tensors that share memory, as tied parameters and views do
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    with atomic_folder(path, overwrite=overwrite) as folder:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        head = {
            "mesomer_format": FORMAT,
            "mesomer_version": versions().get("mesomer", "source"),
            "schema_version": SCHEMA_VERSION,
            "kind": kind,
            "weights_sha256": sha256_of(folder / WEIGHTS),
        }
        _write_json(folder / CONFIG, head | dict(config))
        for stem, content in (extra_json or {}).items():
            _write_json(folder / f"{stem}.json", content)
        for name, data in (files or {}).items():
            (folder / name).write_bytes(data)
        (folder / CARD).write_text(card, encoding="utf-8")
    return Path(path)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def bundled_models() -> dict[str, Path]:
    """The models that come with the package, by name."""
    if not BUNDLED.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(BUNDLED.iterdir()) if (folder / CONFIG).is_file()}


def default_model() -> str:
    """The bundled model that is used where none is named: the highest version of the first one."""
    names = sorted(bundled_models(), key=_version_key)
    if not names:
        raise MesomerError("This installation has no bundled model.", "Name one with --model.")
    return names[-1]


def _version_key(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def resolve_model(name: str | os.PathLike[str], inside: Sequence[str] = ("model", "encoder")) -> Path:
    """The model folder that a name means; `inside` are the places looked at in a run folder, first come first taken."""
    path, text = Path(name), os.fspath(name)
    if path.is_dir():
        return _inside(path, inside)
    if path.exists():
        raise MesomerError(
            f"{path} is a file, and a model is a folder.", "Foreign checkpoints become one by `mesomer import`."
        )
    bundled = bundled_models()
    if text in bundled:
        return bundled[text]
    if _HUB_NAME.fullmatch(text) and not path.parent.is_dir():
        return _from_hub(text)
    if os.sep in text:
        raise MesomerError(f"There is no model folder {text}.", "Give a model folder, a run folder or a bundled name.")
    if not bundled:
        raise MesomerError(f"There is no model folder {text}.", "Give a model folder or a run folder.")
    raise unknown_name("model folder or bundled model", text, bundled)


def _inside(path: Path, inside: Sequence[str]) -> Path:
    if (path / CONFIG).is_file():
        return path
    for part in inside:
        if (path / part / CONFIG).is_file():
            return path / part
    if (path / "manifest.json").is_file():
        raise MesomerError(
            f"The run in {path} has no model yet.", "Run the same command again: it goes on where it stopped."
        )
    raise MesomerError(f"{path} is no model folder: it has no {CONFIG}.", "Give a model folder or a run folder.")


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MesomerError(
            f"There is no folder {name} here; as the name of a model on a hub it needs another package.",
            'Check the path, or install the package by `pip install "mesomer[hub]"`.',
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except Exception as error:  # every failure of a download reads the same to the user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MesomerError(
            f"The model {name} could not be fetched from the hub: {reason}",
            f"Where there is a network run `huggingface-cli download {name} --local-dir FOLDER`, copy FOLDER here "
            "and give it as the model.",
        ) from error


def read_config(path: Path) -> dict[str, Any]:
    """The checked `config.json` of a model folder."""
    from mesomer.chem.schema import SCHEMA_VERSION

    file = path / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MesomerError(f"{file} cannot be read: {error}.", "The folder is damaged: copy it again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("mesomer_format"), int):
        raise MesomerError(
            f"{path} was not made by Mesomer: its {CONFIG} names no format.",
            "Foreign checkpoints become a model folder by `mesomer import`.",
        )
    if config["mesomer_format"] > FORMAT:
        raise MesomerError(
            f"{path} was made by a newer Mesomer ({config.get('mesomer_version')}): format {config['mesomer_format']}, "
            f"and this version reads {FORMAT}.",
            "Upgrade by `pip install --upgrade mesomer`.",
        )
    if config.get("schema_version") != SCHEMA_VERSION:
        raise MesomerError(
            f"{path} reads molecules by schema {config.get('schema_version')}, this version by {SCHEMA_VERSION}.",
            f"Use Mesomer {config.get('mesomer_version')}, or train the model again.",
        )
    if config.get("kind") not in KINDS:
        raise MesomerError(f"{path} is a model of unknown kind {config.get('kind')!r}.", "Copy the folder again.")
    return config


def load_model(name: str | os.PathLike[str], inside: Sequence[str] = ("model", "encoder")) -> ModelFolder:
    """Reads the model folder that `name` means; weights on the CPU."""
    path = resolve_model(name, inside)
    config = read_config(path)
    state = _read_weights(path / WEIGHTS, config)
    extra = {}
    for file in sorted(path.glob("*.json")):
        if file.name != CONFIG:
            try:
                extra[file.stem] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise MesomerError(
                    f"{file} cannot be read: {error}.", "The folder is damaged: copy it again."
                ) from error
    return ModelFolder(path, config["kind"], config, state, extra)


def _read_weights(file: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    if not file.is_file():
        raise MesomerError(f"{file} is missing.", "The folder is damaged: copy it again.")
    with open(file, "rb") as handle:
        if handle.read(30).startswith(b"version https://git-lfs"):
            raise MesomerError(f"{file} is only a Git LFS pointer.", "Fetch the file itself by `git lfs pull`.")
    wanted = config.get("weights_sha256")
    if wanted is not None and sha256_of(file) != wanted:
        raise MesomerError(
            f"{file} is not the file that its {CONFIG} describes: it was cut short or changed.",
            f"Copy the folder again; if you changed the weights yourself, remove weights_sha256 from {CONFIG}.",
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise MesomerError(f"{file} is no whole safetensors file: {error}.", "Copy the folder again.") from error


def load_state(module: nn.Module, state: Mapping[str, Tensor], where: str | os.PathLike[str]) -> None:
    """Puts `state` into `module`; every key has to fit, and what does not is named."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unknown = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unknown or shapes:
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
            if keys
        ]
        raise MesomerError(
            f"The weights in {where} do not fit the network that their {CONFIG} describes: {'; '.join(parts)}.",
            "The folder is damaged or mixed from two models: copy it again.",
        )
    module.load_state_dict(dict(state))


def encoder_state(model: ModelFolder) -> dict[str, Tensor]:
    """The encoder's own weights in a model of any kind; of several members the first one's."""
    if model.kind == "encoder":
        return model.state
    for key in model.state:
        at = f".{key}".find(".encoder.")
        if at >= 0:
            prefix = key[: at + len("encoder.")]
            return {name[len(prefix) :]: tensor for name, tensor in model.state.items() if name.startswith(prefix)}
    raise MesomerError(f"{model.path} holds no encoder.", "Give a pre-trained or fine-tuned model.")


def encoder_of(model: ModelFolder) -> Encoder:
    """Builds the encoder of a loaded model, with its weights, in evaluation mode."""
    from mesomer.encoders.base import build_encoder

    described = model.config.get("encoder")
    if not isinstance(described, dict) or "name" not in described:
        raise MesomerError(f"{model.path / CONFIG} describes no encoder.", "Copy the folder again.")
    with torch.random.fork_rng(devices=[]):  # building draws weights that are thrown away
        encoder = build_encoder(described["name"], **described.get("config", {}))
    load_state(encoder, encoder_state(model), model.path)
    return encoder.eval()


def load_encoder(name: str | os.PathLike[str]) -> Encoder:
    """The encoder of a model folder, a run folder, a bundled or a hub name, in evaluation mode on the CPU."""
    return encoder_of(load_model(name))
