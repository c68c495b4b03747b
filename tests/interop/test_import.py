"""`mesomer import`: official files become model folders, and what is no such file is refused in one sentence."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from reference_batmannet import model_names

from mesomer.commands.import_weights import import_weights
from mesomer.encoders.batmannet import BatmanNet
from mesomer.errors import MesomerError
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.training.checkpoint import load_encoder, load_model


class Payload:
    """What a hostile file runs when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.fixture
def official(parity):
    return parity("batmannet")


KINDS = {"pretrain": "pretraining", "finetune": "predictor", "dti": "encoder"}
FILES = [(name, KINDS[kind]) for kind in KINDS for name in model_names(kind)]


@pytest.mark.reference
@pytest.mark.parametrize(("stem", "kind"), FILES)
def test_each_kind_of_file(official, tmp_path, stem, kind):
    result = import_weights(str(official / f"{stem}.pt"), from_="batmannet", output=str(tmp_path / "model"))
    assert result["kind"] == kind
    assert result["reloads_equal"]
    assert not result["unknown"]
    assert result["used"] + len(result["left_out"]) == len(read_checkpoint(official / f"{stem}.pt").tensors)
    if kind != "encoder":
        assert result["difference"] < 5e-5
    encoder = load_encoder(tmp_path / "model")
    assert isinstance(encoder, BatmanNet)
    assert encoder.rules == "published"
    assert encoder.batchwise is False
    assert load_model(tmp_path / "model").kind == kind


@pytest.mark.reference
def test_a_bare_state_dict_asks_for_its_architecture(official, tmp_path):
    name = next(iter(model_names("ddi")), None)
    if name is None:
        pytest.skip("the set has no drug-drug model")
    arguments = json.loads((official / "config.json").read_text())[f"{name}_args"]
    with pytest.raises(MesomerError, match="--architecture"):
        import_weights(str(official / f"{name}.pt"), from_="batmannet", output=str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()
    shutil.copy(official / f"{name}.pt", tmp_path / "ddi.pt")
    (tmp_path / "ddi.json").write_text(json.dumps(arguments))
    result = import_weights(str(tmp_path / "ddi.pt"), from_="batmannet", output=str(tmp_path / "model"))
    assert result["kind"] == "encoder"
    assert not result["assumed"] and any("ddi.json" in given for given in result["given"])
    assert "Given: arguments of ddi.json" in (tmp_path / "model" / "README.md").read_text()
    assert load_encoder(tmp_path / "model").config()["depth"] == arguments["depth"]
    wrong = arguments | {"hidden_size": arguments["hidden_size"] + 1}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(MesomerError, match="hidden_size"):
        import_weights(
            str(tmp_path / "ddi.pt"),
            from_="batmannet",
            output=str(tmp_path / "other"),
            architecture=str(tmp_path / "wrong.json"),
        )


@pytest.mark.reference
def test_a_file_of_another_method_is_named(parity, tmp_path):
    with pytest.raises(MesomerError, match="GROVER"):
        import_weights(str(next(parity("grover").glob("*.pt"))), from_="batmannet", output=str(tmp_path / "model"))


@pytest.mark.reference
def test_a_missing_tensor_is_named(official, tmp_path):
    checkpoint = read_checkpoint(official / f"{model_names('finetune')[0]}.pt")
    tensors = {name: x for name, x in checkpoint.tensors.items() if name != "mygame.encoders.node_blocks.0.W_o.weight"}
    torch.save({"args": argparse.Namespace(**checkpoint.arguments), "state_dict": tensors}, tmp_path / "cut.pt")
    with pytest.raises(MesomerError, match=r"W_o\.weight"):
        import_weights(str(tmp_path / "cut.pt"), from_="batmannet", output=str(tmp_path / "model"))


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"args": Payload(), "state_dict": {}}, "evil.pt")
    with pytest.raises(MesomerError, match="refused"):
        import_weights("evil.pt", from_="batmannet", output="model")
    assert not (tmp_path / "pwned").exists()


def test_code_in_a_plain_pickle_is_one_sentence_without_warnings(tmp_path, recwarn):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": 1, "b": Payload()}, protocol=protocol))
        with pytest.raises(MesomerError, match=r"asks to run posix\.system .* is refused"):
            read_checkpoint(tmp_path / "evil.pt")
    assert not recwarn.list
    assert not (tmp_path / "pwned").exists()


def test_a_name_that_a_pickle_fetches_twice_is_told(tmp_path):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps([OrderedDict(), Payload(), Payload()], protocol=4))
    with pytest.raises(MesomerError, match=r"posix\.system"):
        read_checkpoint(tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(OrderedDict(a=1), protocol=4))
    with pytest.raises(MesomerError, match="no torch checkpoint"):
        read_checkpoint(tmp_path / "plain.pt")


@pytest.mark.parametrize("sums", [True, False])
def test_one_flipped_bit(tmp_path, sums):
    """Torch does not look at checksums, and can be told to store none."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(sums)
    try:
        torch.save({"a": torch.full((64,), 1.5)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_checkpoint(tmp_path / "a.pt").tensors["a"], torch.full((64,), 1.5))
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[content.index(struct.pack("<f", 1.5) * 64)] ^= 1
    (tmp_path / "a.pt").write_bytes(content)
    if sums:
        with pytest.raises(MesomerError, match=r"is damaged: its part a/data/0"):
            read_checkpoint(tmp_path / "a.pt")
    else:
        assert read_checkpoint(tmp_path / "a.pt").tensors["a"][0] != 1.5


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (None, "its state_dict is a NoneType"),
        ("hello", "its state_dict is a str"),
        ({}, "its state_dict is empty"),
        ({"a": [1.0, 2.0]}, "stores a as a list"),
        ({"a": np.ones(2)}, "stores a as a ndarray"),
        ({3: torch.ones(2)}, "a tensor named 3"),
        ({"a": torch.ones(2).to_sparse()}, "stores a as a tensor that is not"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "stores a as a tensor that is not"),
    ],
)
def test_what_is_no_state_dict(tmp_path, state, sentence):
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    with pytest.raises(MesomerError, match=sentence):
        read_checkpoint(tmp_path / "a.pt")


def test_a_bare_state_dict_has_tensors_only(tmp_path):
    torch.save({"a": torch.ones(1), "b": [1.0]}, tmp_path / "a.pt")
    with pytest.raises(MesomerError, match="stores b as a list"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x02}q\x00", b"\x80\x02q\x01", os.urandom(300)])
def test_damaged_files(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(MesomerError):
        import_weights(str(tmp_path / "x.pt"), from_="batmannet", output=str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


@pytest.mark.reference
def test_a_truncated_file(official, tmp_path):
    whole = (official / f"{model_names('pretrain')[0]}.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MesomerError, match=r"truncated|damaged"):
        import_weights(str(tmp_path / "x.pt"), from_="batmannet", output=str(tmp_path / "model"))


def test_wrong_names(tmp_path):
    with pytest.raises(MesomerError, match="no checkpoint file"):
        import_weights("nowhere.pt", from_="batmannet", output=str(tmp_path / "model"))
    with pytest.raises(MesomerError, match="Did you mean batmannet"):
        import_weights("nowhere.pt", from_="batman", output=str(tmp_path / "model"))


@pytest.mark.reference
def test_what_a_bare_file_does_not_tell_is_said(official, tmp_path):
    checkpoint = read_checkpoint(official / f"{model_names('pretrain')[0]}.pt")
    bare = {f"module.{name}": tensor for name, tensor in checkpoint.tensors.items()}
    torch.save(bare, tmp_path / "bare.pt")
    result = import_weights(str(tmp_path / "bare.pt"), from_="batmannet", output=str(tmp_path / "model"))
    assert result["kind"] == "pretraining"
    told = {assumed.split(" = ")[0] for assumed in result["assumed"]}
    assert told == {"activation", "depth", "dense", "dropout", "mask_ratio"}
    with pytest.raises(MesomerError, match="hidden_size"):  # a known name, and not the sizes of this small model
        import_weights(
            str(tmp_path / "bare.pt"), from_="batmannet", output=str(tmp_path / "other"), architecture="base"
        )
    with pytest.raises(MesomerError, match="nor one of base"):
        import_weights(
            str(tmp_path / "bare.pt"), from_="batmannet", output=str(tmp_path / "other"), architecture="huge"
        )
