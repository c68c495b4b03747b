"""Whatever the README and the guides show is run: commands, shortened but otherwise as they stand, and Python."""

from __future__ import annotations

import csv
import gzip
import re
import shlex
from pathlib import Path

import pytest
from small_models import heteroatoms, save_encoder, write_table

from mesomer import cli
from mesomer.quickstart.design import DEMO

REPOSITORY = Path(__file__).resolve().parent.parent
GUIDES = ("README.md", "docs/quickstart.md", "docs/cli.md")
PAGES = (*GUIDES, "docs/index.md", "docs/diary.md", "docs/study.md")
# What makes a command short; an option that the page gives too is replaced.
FAST = {
    "quickstart": {"--molecules": "50", "--folds": "3", "--epochs": "1"},
    "finetune": {"--epochs": "1", "--repeats": "2", "--ffn_hidden": "8", "--accelerator": "cpu"},
    "pretrain": {"--max_steps": "2", "--size": "small", "--accelerator": "cpu"},
    "prepare": {"--workers": "1"},
    "study": {
        "--splits": "random",
        "--repeats": "1",
        "--folds": "2",
        "--trials": "1",
        "--epochs": "1",
        "--jobs": "1",
        "--label_shares": "1",
        "--arms": "pretrained,random,mean",
    },
}
DROPPED = {"pretrain": ("--epochs",)}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """All command lines of a page."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


def shortened(words: list[str]) -> list[str]:
    """The words of a command with what makes it short."""
    name = words[0]
    if words[:2] == ["study", "report"]:  # trains nothing, and takes no options
        return words
    fast = FAST.get(name, {})
    kept, skip = [], False
    for word in words:
        if not skip and word not in fast and word not in DROPPED.get(name, ()):
            kept.append(word)
        skip = word in fast or word in DROPPED.get(name, ())
    return kept + [part for pair in fast.items() for part in pair]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that the pages name, and a small bundled encoder."""
    folder = tmp_path_factory.mktemp("reader")
    with gzip.open(DEMO, "rt", encoding="utf-8", newline="") as handle:
        known = [row["smiles"] for row in csv.DictReader(handle)]
    table, library, corpus = known[:80], known[80:100], known[100:220]
    values = [heteroatoms(text) for text in table]
    write_table(
        folder / "data.csv",
        {
            "smiles": table,
            "logS": [value + 0.25 for value in values],
            "logD": [value / 2 - 1.1 if at % 7 else None for at, value in enumerate(values)],
            "active": ["yes" if at % 2 else "no" for at in range(len(table))],
        },
    )
    write_table(folder / "new.csv", {"smiles": [*table[:5], "no molecule"], "name": list("abcdef")})
    for name, lines in (("library", library), ("corpus", corpus)):
        with gzip.open(folder / f"{name}.smi.gz", "wt", encoding="utf-8") as handle:
            handle.writelines(f"{text} {at}\n" for at, text in enumerate(lines))
    official = REPOSITORY / "tests" / "reference" / "parity" / "batmannet"
    (folder / "checkpoint.pt").write_bytes((official / "pretrain.pt").read_bytes())
    (folder / "grover_base.pt").write_bytes((official.parent / "grover" / "pretrain.pt").read_bytes())
    (folder / "gin.pth").write_bytes((official.parent / "pretrain_gnns" / "gin_random32.pth").read_bytes())
    (folder / "finetuned.pt").write_bytes((official / "finetune_reg.pt").read_bytes())
    save_encoder(folder / "bundled" / "batmannet-1")
    return folder


@pytest.fixture
def reader(workplace, monkeypatch):
    """Stands in that folder."""
    from mesomer import baselines
    from mesomer.training import checkpoint

    monkeypatch.setattr(checkpoint, "BUNDLED", workplace / "bundled")
    monkeypatch.setattr(baselines.forest, "TREES", 10)
    monkeypatch.chdir(workplace)


def test_every_command_of_the_pages_works(reader, capsys):
    done: set[str] = set()
    for page in GUIDES:
        for line in commands(page):
            words = shlex.split(line, comments=True)
            if words[0] != "mesomer" or line in done:
                continue
            done.add(line)
            short = [word if word != "--overwrite" else "" for word in shortened(words[1:])]
            if "--output" in short and page != "README.md":  # each page starts afresh
                at = short.index("--output") + 1
                if Path(short[at]).exists() and not short[at].startswith("corpora/"):
                    short.append("--overwrite")
            code = cli.main([word for word in short if word])
            told = capsys.readouterr()
            assert code == 0, f"{page}: {line}\n{told.err}"
    assert {line.split()[1] for line in done} >= set(cli.COMMANDS) - {"models"}


def test_commands_for_many_processes_have_options_that_exist(reader, capsys):
    lines = [line for page in GUIDES for line in commands(page) if line.startswith("torchrun")]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[:5] == ["torchrun", "--nproc_per_node", "8", "-m", "mesomer"]
        assert cli.main([*words[5:], "--print_config"]) == 0, capsys.readouterr().err
        assert "batmannet" in capsys.readouterr().out


def test_make_targets_exist_and_come_first():
    assert commands("README.md")[:2] == ["make quickstart", "make test"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for page in GUIDES:
        for line in commands(page):
            if line.startswith("make "):
                assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), line


def test_other_shell_lines_are_known():
    for page in GUIDES:
        for line in commands(page):
            assert line.split()[0] in ("mesomer", "make", "torchrun") or line == "pip install .", line


def test_the_python_of_the_readme_works(reader, capsys):
    """Also with a row that is no molecule, of which a pipeline would make nan."""
    if not Path("runs/sol").exists():
        words = shortened(["finetune", "data.csv", "--targets", "logS", "--output", "runs/sol"])
        assert cli.main(words) == 0, capsys.readouterr().err
    rows = Path("data.csv").read_text(encoding="utf-8")
    Path("data.csv").write_text(f"{rows}no molecule,1.5,0.5,yes\nCCO,,0.5,yes\n", encoding="utf-8")
    (text,) = blocks("README.md", "python")
    scope: dict = {}
    try:
        exec(compile(text, "README.md", "exec"), scope)
    finally:
        Path("data.csv").write_text(rows, encoding="utf-8")
    assert len(scope["table"]) == 80 and "nan" not in capsys.readouterr().out
    assert scope["vectors"].shape[0] == 2 and len(scope["columns"]["logS_pred"]) == 2


def test_links_lead_somewhere():
    for page in PAGES:
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("https://"):
                assert ((REPOSITORY / page).parent / target).exists(), f"{page} links to {target}"


def test_options_named_in_the_text_exist(capsys):
    known = set()
    for name in cli.COMMANDS:
        assert cli.main([name, "--help"]) == 0
        known |= set(re.findall(r"--[a-z][\w.]*", capsys.readouterr().out))
    known |= {name.partition(".")[0] for name in known}  # of --encoder.KEY the page may name any key
    for page in GUIDES:
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        named = set(re.findall(r"(?<![\w-])--[a-z]\w*", text)) - {"--nproc_per_node", "--help", "--debug"}
        assert named <= known, f"{page}: {sorted(named - known)}"


def test_the_card_of_the_demonstration_set_names_its_licence():
    assert "biogen_sol.md" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "MIT License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
