"""Model folders: round trip, names, and one sentence for every kind of damage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from small_models import save_encoder, small_encoder

from mesomer.errors import MesomerError
from mesomer.training import checkpoint
from mesomer.training.checkpoint import (
    CONFIG,
    WEIGHTS,
    bundled_models,
    default_model,
    encoder_of,
    load_encoder,
    load_model,
    resolve_model,
    save_model,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "model", seed=3)


def change(folder: Path, **entries: object) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **entries}))


def test_round_trip(tmp_path: Path) -> None:
    encoder = small_encoder(seed=3)
    config = {"encoder": {"name": "batmannet", "config": encoder.config()}, "note": "kept"}
    scalers = {"mean": [1.5, 2.0]}
    path = save_model(tmp_path / "m", "encoder", config, encoder.state_dict(), "# card\n", {"scalers": scalers})
    assert sorted(entry.name for entry in path.iterdir()) == ["README.md", CONFIG, WEIGHTS, "scalers.json"]
    model = load_model(path)
    assert model.kind == "encoder" and model.config["note"] == "kept" and model.extra == {"scalers": scalers}
    assert model.sha256 == model.config["weights_sha256"]
    before = torch.get_rng_state()
    loaded = load_encoder(path)
    assert torch.equal(before, torch.get_rng_state())
    assert not loaded.training
    for name, x in encoder.state_dict().items():
        assert torch.equal(x, loaded.state_dict()[name])


def test_encoder_inside_other_kinds(tmp_path: Path) -> None:
    encoder = small_encoder(seed=5)
    config = {"encoder": {"name": "batmannet", "config": encoder.config()}}
    for kind, prefix in (("pretraining", "encoder."), ("predictor", "members.0.encoder.")):
        state = {f"{prefix}{name}": x for name, x in encoder.state_dict().items()} | {"head.weight": torch.zeros(2)}
        loaded = encoder_of(load_model(save_model(tmp_path / kind, kind, config, state, "")))
        for name, x in encoder.state_dict().items():
            assert torch.equal(x, loaded.state_dict()[name])


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    path = save_model(tmp_path / "m", "encoder", {}, {"a": shared, "b": shared.view(2, 3).T}, "")
    state = load_model(path).state
    assert torch.equal(state["a"], shared) and torch.equal(state["b"], shared.view(2, 3).T)


def test_nothing_is_overwritten_silently(folder: Path) -> None:
    with pytest.raises(MesomerError, match="--overwrite"):
        save_encoder(folder)
    save_model(folder, "encoder", {}, {"a": torch.zeros(1)}, "", overwrite=True)
    assert list(load_model(folder).state) == ["a"]


def test_run_folder_means_its_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    with pytest.raises(MesomerError, match="no model yet"):
        load_model(run)
    save_encoder(run / "encoder")
    assert resolve_model(run) == run / "encoder"
    save_encoder(run / "model")
    assert resolve_model(run) == run / "model"
    assert resolve_model(run, ("pretraining", "encoder")) == run / "encoder"


def test_bundled_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path)
    with pytest.raises(MesomerError):
        default_model()
    for name in ("batmannet-2", "batmannet-10"):
        save_encoder(tmp_path / name)
    assert sorted(bundled_models()) == ["batmannet-10", "batmannet-2"]
    assert default_model() == "batmannet-10"
    assert resolve_model("batmannet-2") == tmp_path / "batmannet-2"
    with pytest.raises(MesomerError, match="batmannet-2"):
        load_model("batmanet-2")


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    for name in (tmp_path / "nowhere", "runs/a/b", tmp_path):
        with pytest.raises(MesomerError):
            load_model(name)
    (tmp_path / "file.pt").write_bytes(b"x")
    with pytest.raises(MesomerError, match="mesomer import"):
        load_model(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"mesomer_format": 99}, "newer Mesomer"),
        ({"mesomer_format": None}, "not made by Mesomer"),
        ({"schema_version": 99}, "schema 99"),
        ({"kind": "something"}, "unknown kind"),
    ],
)
def test_config_of_another_kind(folder: Path, entries: dict, words: str) -> None:
    change(folder, **entries)
    with pytest.raises(MesomerError, match=words):
        load_model(folder)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "pointer", "config cut", "extra cut"])
def test_damage(folder: Path, damage: str) -> None:
    weights = folder / WEIGHTS
    whole = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(whole[:-100])
    elif damage == "flipped":
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "gone":
        weights.unlink()
    elif damage == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    elif damage == "config cut":
        (folder / CONFIG).write_text('{"mesomer_format": 1, ')
    else:
        (folder / "scalers.json").write_text("{")
    with pytest.raises(MesomerError) as error:
        load_model(folder)
    assert str(folder) in str(error.value)


def test_cut_weights_without_checksum(folder: Path) -> None:
    """As in a folder whose weights somebody changed on purpose."""
    change(folder, weights_sha256=None)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(MesomerError, match="safetensors"):
        load_model(folder)


def test_weights_of_another_network(folder: Path) -> None:
    state = load_model(folder).state
    name = next(iter(state))
    config = load_model(folder).config
    for wrong in (
        {**state, "extra": torch.zeros(1)},
        {key: x for key, x in state.items() if key != name},
        {**state, name: torch.zeros(1, 1, 1)},
    ):
        save_model(folder, "encoder", {"encoder": config["encoder"]}, wrong, "", overwrite=True)
        with pytest.raises(MesomerError, match="do not fit"):
            load_encoder(folder)


def test_a_path_that_is_not_there_is_said_before_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MesomerError) as caught:
        resolve_model("runs/typo")
    assert caught.value.message.startswith("There is no folder runs/typo here;")
    assert caught.value.hint.startswith("Check the path, or install")
