"""The corpus card: `corpus.json` for programs, `README.md` for people, both written from the same facts.

All entries but `made` depend only on the input and the settings.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mesomer.chem.schema import SCHEMA_VERSION
from mesomer.data.corpus import BLOCK, CARD, CORPUS_FORMAT
from mesomer.data.disk import gigabytes
from mesomer.data.duplicates import HELD_OUT_SHARE
from mesomer.data.tables import Table
from mesomer.files import atomic_write, sha256_of


def corpus_card(
    table: Table,
    manifest: Mapping[str, Any],
    shards: Sequence[dict[str, Any]],
    rejected: Counter[str],
    duplicates: int,
    seconds: float,
) -> dict[str, Any]:
    """The card of a corpus; `shards` are their records in order."""
    from rdkit import rdBase

    from mesomer import __version__

    counted: Counter[int] = Counter()
    coordinates: Counter[str] = Counter()
    for shard in shards:
        coordinates.update(shard.get("coordinates", {}))
        counted.update({int(number): count for number, count in shard["elements"].items()})
    of_part = {part: [shard for shard in shards if shard["part"] == part] for part in ("train", "held_out")}
    train, held_out = (sum(shard["molecules"] for shard in of_part[part]) for part in ("train", "held_out"))
    return {
        "mesomer_corpus": CORPUS_FORMAT,
        "schema_version": SCHEMA_VERSION,
        "fingerprint": _fingerprint(shards),
        "molecules": train + held_out,
        "train": train,
        "held_out": held_out,
        "atoms": sum(shard["atoms"] for shard in shards),
        "bonds": sum(shard["bonds"] for shard in shards),
        "largest": max(shard["largest"] for shard in shards),
        "with_coordinates": sum(shard.get("with_coordinates", 0) for shard in shards),
        "coordinates": dict(coordinates),
        "duplicates": duplicates,
        "rejected": rejected.total(),
        "rejects": dict(sorted(rejected.items())),
        "elements": {_symbol(number): counted[number] for number in sorted(counted)},
        "source": {
            "files": [
                {"file": name, "sha256": digest, "bytes": Path(name).stat().st_size if table.is_file else None}
                for name, digest in manifest["inputs"].items()
            ],
            "smiles_column": table.smiles_column,
        },
        "settings": {
            "max_atoms": table.max_atoms,
            "held_out_share": HELD_OUT_SHARE,
            "held_out_rule": "BLAKE2b (16 bytes) of the canonical SMILES; its first 8 bytes, little-endian, below the "
            "share of 2^64",
            "duplicate_rule": "equal BLAKE2b (16 bytes) of the canonical SMILES; the first in input order is kept",
        },
        "versions": {"mesomer": __version__, "rdkit": rdBase.rdkitVersion},
        "block": BLOCK,
        "shards": [
            {key: value for key, value in shard.items() if key not in ("elements", "coordinates")} for shard in shards
        ],
        "additions": {},
        "made": {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(seconds, 1)},
    }


def _fingerprint(shards: Sequence[dict[str, Any]]) -> str:
    facts = [CORPUS_FORMAT, SCHEMA_VERSION, [shard["sha256"] for shard in shards]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _symbol(number: int) -> str:
    from rdkit.Chem import GetPeriodicTable

    return "*" if number == 0 else GetPeriodicTable().GetElementSymbol(number)


def _additions(card: Mapping[str, Any]) -> str:
    """The added columns and what was counted of them."""
    if not card["additions"]:
        return ""
    lines = []
    for name, entry in card["additions"].items():
        lines.append(f"- `{name}` (RDKit {entry['rdkit']}): {entry['meaning']}")
        lines += [f"  - {count:,} molecules {what}" for what, count in entry.get("counts", {}).items() if count]
    return "Added columns:\n\n" + "\n".join(lines) + "\n\n"


def corpus_readme(card: Mapping[str, Any]) -> str:
    """The card as a page for people."""
    size = sum(shard["bytes"] for shard in card["shards"])
    rejects = "".join(f"| rejected: {reason} | {count:,} |\n" for reason, count in card["rejects"].items())
    elements = ", ".join(f"{symbol} {count:,}" for symbol, count in card["elements"].items())
    files = "\n".join(f"- `{file['file']}` (SHA-256 `{file['sha256']}`)" for file in card["source"]["files"])
    return f"""# A Mesomer corpus of {card["molecules"]:,} molecules

Made with Mesomer {card["versions"]["mesomer"]} and RDKit {card["versions"]["rdkit"]};
schema version {card["schema_version"]}; fingerprint `{card["fingerprint"]}`.

| | |
|---|---|
| to train on | {card["train"]:,} |
| held out | {card["held_out"]:,} |
| duplicates dropped | {card["duplicates"]:,} |
{rejects}| atoms, bonds | {card["atoms"]:,}, {card["bonds"]:,} |
| atoms of the largest molecule | {card["largest"]:,} |
| molecules with coordinates | {card["with_coordinates"]:,} |
| size | {gigabytes(size)} in {len(card["shards"])} shards |

Atoms by element: {elements}.

Made from, by the column `{card["source"]["smiles_column"]}`:

{files}

Held out: {100 * card["settings"]["held_out_share"]:g} % of the molecules. Rule: {card["settings"]["held_out_rule"]}.
Duplicates: {card["settings"]["duplicate_rule"]}.

{_additions(card)}Shards are uncompressed Arrow files; any Arrow library reads them.
`corpus.json` says the same as this page, and more, for programs.
Pre-train with `mesomer pretrain FOLDER --method NAME --output RUN`.
"""


def file_record(path: Path) -> dict[str, Any]:
    """What a card says of a file beside it."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Writes the card of a corpus."""
    with atomic_write(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
