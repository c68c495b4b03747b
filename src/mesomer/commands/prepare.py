"""`mesomer prepare`: a table of molecules -> a corpus that every pre-training method reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesomer.data.prepare import Prepared


def prepare(
    corpus: list[str] | str,
    *,
    output: str | None = None,
    workers: int | None = None,
    add: list[str] | None = None,
    max_atoms: int = 500,
    smiles_column: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Prepare a corpus for pre-training: read every molecule once and store what all methods need.

    Duplicates are dropped, 5 % are held out for validation, rejected rows are listed in rejects.csv. Interrupted work
    goes on with the same command. Given the folder of a finished corpus, it computes only the columns of --add.

    Args:
        corpus: Table of molecules (CSV, SMI, SDF, Parquet; .gz, .zst), a pattern such as 'parts/*.smi.gz', the name of
            a benchmark set, or several with commas.
        output: Folder of the corpus.
        workers: Processes that work side by side; as many as there are cores if not given, and 0 works in this one.
        add: Columns to add that some methods need: atom_contexts, bond_contexts, conformers, descriptors, fingerprints,
            inchikeys, motifs.
        max_atoms: Molecules with more atoms are rejected.
        smiles_column: Column that holds the SMILES; found by its name if not given.
        overwrite: Replace a corpus of another input or other settings.
    """
    from pathlib import Path

    from mesomer.data.corpus import CARD
    from mesomer.data.prepare import add_to_corpus, prepare_corpus
    from mesomer.data.tables import find_files, refuse_frame
    from mesomer.errors import MesomerError

    refuse_frame(corpus, "prepare")

    names = add or []
    # A comma in the name of a file that is there separates nothing.
    several = corpus.split(",") if isinstance(corpus, str) and "," in corpus and not Path(corpus).exists() else corpus
    source = several if isinstance(several, str) else [path for item in several for path in find_files(item)]
    if isinstance(source, str) and (Path(source) / CARD).is_file():
        if output is not None and Path(output).resolve() != Path(source).resolve():
            raise MesomerError(f"{source} is a finished corpus.", "To add columns to it, leave --output out.")
        done = add_to_corpus(source, names, workers)
    elif output is None:
        raise MesomerError("prepare needs --output.", "Name the folder of the corpus.")
    else:
        done = prepare_corpus(
            source,
            output,
            workers=workers,
            add=names,
            max_atoms=max_atoms,
            smiles_column=smiles_column,
            overwrite=overwrite,
        )
    card = done.corpus.card
    facts = {key: value for key, value in card.items() if key not in ("shards", "additions")}
    return {
        "text": _text(done),
        "output": str(done.corpus.path),
        "state": done.state,
        **facts,
        "shards": len(card["shards"]),
        "additions": sorted(card["additions"]),
    }


FEW_HELD_OUT = 30
_READS = {
    "rmat": {"atom_contexts", "conformers"},
    "mat": {"conformers"},
    "grover": {"atom_contexts", "bond_contexts", "motifs"},
}
"""The added columns that a method's own objective and encoder read."""


def _method_for(additions: Iterable[str]) -> str:
    """A method for which the columns are there, those added for it first."""
    there = set(additions)
    return next((method for method, wanted in _READS.items() if wanted <= there), "batmannet")


def _text(done: Prepared) -> str:
    """The summary for people."""
    import shlex

    from mesomer.data.disk import gigabytes

    folder, card = done.corpus.path, done.corpus.card
    lines = []
    if done.state == "finished":
        lines.append(f"The corpus {folder} was finished already." if not done.added else f"To the corpus {folder}:")
    if done.state == "repaired":
        lines.append(f"The corpus {folder} is whole again.")
    size = gigabytes(sum(shard["bytes"] for shard in card["shards"]))
    lines.append(
        f"{card['molecules']:,} molecules ({card['train']:,} to train on, {card['held_out']:,} held out), "
        f"{card['atoms']:,} atoms, {size} in {len(card['shards'])} shards."
    )
    lines.append(f"Duplicates dropped: {card['duplicates']:,}. Rejected rows: {card['rejected']:,}.")
    if own := card["with_coordinates"]:
        lines.append(f"Own coordinates in space: {own:,} of {card['molecules']:,} molecules.")
        told = card.get("coordinates", {})  # corpora of earlier versions have none
        lines += [f"  {count:,} of {own:,} molecules {what}" for what, count in told.items() if count]
    if card["rejected"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in card["rejects"].items())
        lines.append(f"  {reasons}; listed in {folder / 'rejects.csv'}")
    if done.added:
        from mesomer.data.additions import ADDITIONS

        lines.append(f"Added: {', '.join(done.added)}.")
        for name in done.added:
            counts = card["additions"][name].get("counts", {})
            theirs = own if ADDITIONS[name].missing_only else 0
            of = f"of {card['molecules'] - theirs:,} molecules"
            lines += [f"  {name}: {count:,} {of} {what}" for what, count in counts.items() if count]
    if card["train"] and card["held_out"]:
        if card["held_out"] < FEW_HELD_OUT:
            lines.append(
                f"Only {card['held_out']} of the molecules are held out: what a pre-training measures on them means "
                "little. Prepare some thousand molecules or more."
            )
        quoted = shlex.quote(str(folder))
        method = _method_for(card["additions"])
        lines.append(f"Written: {folder}. Next: mesomer pretrain {quoted} --method {method} --output runs/pretrained")
        return "\n".join(lines)
    if card["train"]:
        lines.append(
            "No molecule is held out to measure a pre-training with: by chance none of so few fell among the 5 %."
        )
    else:
        lines.append("No molecule is left to train on: by chance all of so few fell among the 5 % held out.")
    lines.append(
        f"Written: {folder}. mesomer pretrain cannot use it: it needs some hundred different molecules or more."
    )
    lines.append(f"Next: mesomer prepare MORE_MOLECULES --output {shlex.quote(str(folder))} --overwrite")
    return "\n".join(lines)
