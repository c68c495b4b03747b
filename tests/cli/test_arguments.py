"""Command lines: what is understood, and one sentence with the nearest right word for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from demo_commands import Training, learn
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer import arguments
from mesomer.errors import MesomerError
from mesomer.signature import options_of


def parse(*words: str) -> dict:
    matched = arguments.match_words("learn", options_of(learn), words)
    return arguments.resolve("learn", learn, matched)


def test_values_have_the_annotated_types():
    got = parse(
        "corpora/1", "--output", "runs/1", "--from=x", "--training.epochs", "7", "--training.max_lr=1e-5",
        "--encoder.hidden_size", "64", "--encoder.activation", "relu", "--targets", "logS, logD",
        "--fractions", "0.7,0.2,0.1", "--workers", "4", "--ratio", "-0.5", "--overwrite",
    )  # fmt: skip
    assert got == {
        "corpus": "corpora/1",
        "output": Path("runs/1"),
        "from_": "x",
        "training": Training(epochs=7, max_lr=1e-5),
        "encoder": {"hidden_size": 64, "activation": "relu"},
        "targets": ["logS", "logD"],
        "fractions": (0.7, 0.2, 0.1),
        "workers": 4,
        "ratio": -0.5,
        "overwrite": True,
    }


def test_defaults_are_those_of_the_signature():
    got = parse("c", "--output", "o")
    assert got == learn("c", output=Path("o"))["settings"]


def test_text_stays_text():
    got = parse("123", "--output=1e5", "--from", "null", "--targets", "1,true")
    assert (got["corpus"], got["output"], got["from_"], got["targets"]) == ("123", Path("1e5"), "null", ["1", "true"])


@pytest.mark.parametrize(
    ("words", "value"),
    [(["--overwrite"], True), (["--overwrite", "false"], False), (["--overwrite=true"], True), ([], False)],
)
def test_a_switch_needs_no_value(words, value):
    assert parse(*words, "c", "--output", "o")["overwrite"] is value


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        ([], "`mesomer learn` needs CORPUS.", "--help"),
        (["c"], "`mesomer learn` needs --output.", "--help"),
        (["c", "--output"], "--output needs a value.", "--help"),
        (["c", "--output", "--overwrite"], "--output needs a value.", "--help"),
        (["c", "--output", "o", "--ouput", "o"], "has no option --ouput.", "Did you mean --output?"),
        (["c", "--out-put", "o"], "has no option --out-put.", "Did you mean --output?"),
        (["c", "-o", "o"], "has no option --o.", "Did you mean --output?"),
        (["c", "--output", "o", "--epochs", "3"], "has no option --epochs.", "Did you mean --training.epochs?"),
        (["c", "--output", "o", "--training.epoch=3"], "--training.epoch.", "Did you mean --training.epochs?"),
        (["c", "--output", "o", "--xyzzy"], "has no option --xyzzy.", "See `mesomer learn --help`."),
        (["c", "d", "--output", "o"], "does not know what to do with 'd'.", "quotes"),
        (
            ["c", "--output", "o", "--training.epochs", "many"],
            "--training.epochs must be a whole number, not 'many'.",
            "",
        ),
        (
            ["c", "--output", "o", "--training.epochs", "2.5"],
            "--training.epochs must be a whole number, not '2.5'.",
            "",
        ),
        (["c", "--output", "o", "--ratio", "half"], "--ratio must be a number, not 'half'.", ""),
        (["c", "--output", "o", "--workers", "all"], "--workers must be a whole number or auto, not 'all'.", ""),
        (["c", "--output", "o", "--training.precision", "bf-16"], "one of auto, 32, bf16, not 'bf-16'.", "mean bf16?"),
        (["c", "--output", "o", "--fractions", "0.5,0.5"], "--fractions must be a list of 3 numbers, not", ""),
        (["c", "--output", "o", "--overwrite=maybe"], "--overwrite must be true or false, not 'maybe'.", ""),
        (["c", "--output", "o", "--encoder", "3"], "--encoder must be names with values or null, not '3'.", ""),
    ],
)
def test_wrong_words_get_one_sentence(mesomer, words, sentence, hint):
    code, out, err = mesomer("learn", *words)
    assert code == 2 and out == ""
    first, second = err.splitlines()
    assert first.startswith("mesomer: ") and sentence in first and hint in second


@pytest.mark.parametrize(
    ("content", "sentence", "hint"),
    [
        (None, "cannot be read: No such file", None),
        (b"corpus: c\noutput: o\n bad: 1\n", "is not valid YAML at line 3.", None),
        (b"\xff\xfe\x00", "is not a text file.", None),
        (b"- 1\n- 2\n", "holds no settings.", "name: value"),
        (b"corpus: c\noutput: o\ntarget: a\n", "a setting 'target' that `mesomer learn` does not know.", "targets?"),
        (b"corpus: c\noutput: o\ntraining:\n  epochs: x\n", "--training.epochs must be a whole number, not 'x'", None),
        (b"corpus: null\noutput: o\n", "`mesomer learn` needs CORPUS.", "--help"),
    ],
)
def test_wrong_config_files(mesomer, tmp_path, content, sentence, hint):
    if content is not None:
        (tmp_path / "c.yaml").write_bytes(content)
    code, out, err = mesomer("learn", "--config", "c.yaml")
    assert code == 2 and out == ""
    lines = err.splitlines()
    assert sentence in lines[0] and len(lines) <= 2
    assert hint is None or hint in lines[1]


def test_a_config_file_gives_settings_and_options_override_it(mesomer, tmp_path):
    (tmp_path / "c.yaml").write_text("corpus: c\noutput: o\ntraining: {epochs: 9, max_lr: 0.1}\nencoder: {a: 1}\n")
    got = parse("--training.epochs=2", "--config", str(tmp_path / "c.yaml"), "--encoder.b=2")
    assert got["training"] == Training(epochs=2, max_lr=0.1) and got["encoder"] == {"a": 1, "b": 2}


def test_print_config_shows_a_template_without_required_settings(mesomer):
    code, out, err = mesomer("learn", "--print_config")
    assert code == 0 and err == ""
    assert yaml.safe_load(out)["corpus"] is None and yaml.safe_load(out)["training"]["epochs"] == 5


_names = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_categories=["Cc"], exclude_characters="="),
    min_size=1,
    max_size=9,
)


@settings(max_examples=40, deadline=None)
@given(
    corpus=_names.filter(lambda text: not text.startswith("-")),
    epochs=st.integers(),
    rate=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    targets=st.none() | st.lists(_names, min_size=1, max_size=3),
    width=st.integers(),
    overwrite=st.booleans(),
)
def test_print_config_is_read_back_to_the_same(tmp_path_factory, corpus, epochs, rate, targets, width, overwrite):
    yaml_list = yaml.safe_dump(targets, default_flow_style=True, allow_unicode=True, width=10**6).partition("\n")[0]
    words = [
        corpus, "--output=o", f"--training.epochs={epochs}", f"--training.max_lr={'null' if rate is None else rate}",
        f"--targets={'null' if targets is None else yaml_list}", f"--encoder.width={width}", f"--overwrite={overwrite}",
    ]  # fmt: skip
    first = parse(*words)
    matched = arguments.match_words("learn", options_of(learn), words)
    stored = tmp_path_factory.mktemp("config") / "c.yaml"
    stored.write_text(arguments.config_text("learn", learn, matched), encoding="utf-8")
    assert parse("--config", str(stored)) == first
    assert first["training"] == Training(epochs=epochs, max_lr=rate) and first["targets"] == targets


def test_unknown_dict_key_value_error_is_a_user_error():
    with pytest.raises(MesomerError, match="--fractions"):
        parse("c", "--output", "o", "--fractions", "a,b,c")
