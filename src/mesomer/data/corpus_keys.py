"""Keys of a corpus: by which a study finds its molecules in it without the corpus at hand.

A molecule has three keys: of its InChIKey, of the skeleton (the first block), of its Murcko scaffold without stereo
(none without rings). In a corpus they are an added column, `inchikeys`: the first 64 bits of the SHA-256 of each text.
A model carries 40 of these bits, each kind sorted and without repeats. A looked-for molecule that is not in a corpus of
N molecules is called a hit with the probability N / 2^40 at most for each kind: 2.4e-7 for 265,000 molecules, 1e-4 for
100 million. A molecule that is in it is always found.

On disk a kind of n keys takes some 3 bytes each: `KIND.counts` says how many keys begin with each value of their first
0, 8, 16 or 24 bits (what is smallest), `KIND.rest` holds the remaining bytes of each key, lowest first. Equal keys give
equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.data.corpus import PARTS, Corpus

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ADDITION = "inchikeys"
"""The name of the added column."""
KINDS = ("exact", "skeleton", "scaffold")
BITS = 40
FORMAT = 1
_METADATA = "mesomer_corpus_keys"
_HEADS = (0, 8, 16, 24)
Keys = NDArray[np.uint64]


def hashes(texts: Iterable[str]) -> Keys:
    """64 bits of each text; 0 for the empty text and for no other."""
    found = [(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") or 1) if text else 0 for text in texts]
    return np.array(found, dtype=np.uint64)


def molecule_keys(mols: Sequence[Mol]) -> Keys:
    """The three keys of each molecule, in the order of `KINDS` [M, 3]; those of the scaffold may be 0."""
    from rdkit.Chem import MolToSmiles

    from mesomer.chem.scaffolds import scaffold

    names = inchi_keys(mols, [MolToSmiles(mol) for mol in mols])
    scaffolds = [scaffold(mol, False) for mol in mols]
    return np.stack([hashes(names), hashes(skeleton(name) for name in names), hashes(scaffolds)], axis=1)


def unnamed(rows: Keys) -> int:
    """How many of the rows are of molecules that InChI cannot name: their skeleton is their whole key."""
    return int((rows[:, 0] == rows[:, 1]).sum())


@dataclass(frozen=True)
class CorpusKeys:
    """The keys of all molecules of one corpus or several, held-out ones too; 40 bits each, sorted."""

    keys: dict[str, Keys]
    """By their kind."""
    corpora: dict[str, int]
    """Fingerprints of the corpora and how many molecules each has."""
    unknown: tuple[str, ...] = ()
    """Models from which the pre-training went on and whose own corpus is not in here."""

    @property
    def molecules(self) -> int:
        """Molecules of all corpora."""
        return sum(self.corpora.values())

    @classmethod
    def of(cls, corpus: Corpus) -> CorpusKeys:
        """From the added column of a corpus, whose files are compared with its card."""
        opened = Corpus.open(corpus.path, [ADDITION])
        for record in opened.card["additions"][ADDITION]["files"]:
            opened.check_file(record, content=True)
        pieces: dict[str, list[Keys]] = {kind: [] for kind in KINDS}
        for part in PARTS:
            for number in range(len(opened.shards(part))):
                column, stored = opened.open_shard(part, number).molecules.extras[ADDITION]
                rows = column.decode(stored)
                for at, kind in enumerate(KINDS):
                    pieces[kind].append(_short(rows[:, at]))
        keys = {kind: np.unique(np.concatenate(found)) for kind, found in pieces.items()}
        return cls(keys, {opened.fingerprint: opened.num_train + opened.num_held_out})

    def union(self, other: CorpusKeys) -> CorpusKeys:
        """The keys of both, and what either does not know."""
        keys = {kind: np.union1d(self.keys[kind], other.keys[kind]) for kind in KINDS}
        return CorpusKeys(keys, self.corpora | other.corpora, tuple(dict.fromkeys([*self.unknown, *other.unknown])))

    def contains(self, kind: str, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the InChIKeys, skeletons or scaffolds are in it; an empty text never is."""
        wanted = hashes(texts)
        return np.isin(_whole_short(wanted), self.keys[kind]) & (wanted != 0)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        from safetensors.numpy import save

        tensors = {}
        for kind, keys in self.keys.items():
            tensors[f"{kind}.counts"], tensors[f"{kind}.rest"] = _pack(keys)
        about = {"format": FORMAT, "bits": BITS, "corpora": self.corpora, "unknown": list(self.unknown)}
        return save(tensors, {_METADATA: json.dumps(about)})

    @classmethod
    def from_bytes(cls, content: bytes) -> CorpusKeys:
        """Reads what `to_bytes` wrote; ValueError, with the reason, if it is anything else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors, about = load(content), _metadata(content)
        except SafetensorError as error:
            raise ValueError(f"it is no whole safetensors file ({error})") from error
        if about.get("format") != FORMAT or about.get("bits") != BITS:
            raise ValueError("it holds no keys of a corpus that this version can read")
        try:
            keys = {kind: _unpack(tensors[f"{kind}.counts"], tensors[f"{kind}.rest"]) for kind in KINDS}
            return cls(keys, {str(name): int(count) for name, count in about["corpora"].items()},
                       tuple(about["unknown"]))  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a part of it is missing ({error})") from error


def _metadata(content: bytes) -> dict[str, Any]:
    """What the header of a whole safetensors file says of the keys; empty if it says nothing."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header.get("__metadata__", {}).get(_METADATA, "{}"))
    return about if isinstance(about, dict) else {}


def _short(keys: Keys) -> Keys:
    """The 40 bits that are kept, sorted and without repeats; those of nothing are left out."""
    return np.unique(_whole_short(keys[keys != 0]))


def _whole_short(keys: Keys) -> Keys:
    return keys >> np.uint64(64 - BITS)


def _pack(keys: Keys) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8]]:
    head = min(_HEADS, key=lambda bits: len(keys) * (BITS - bits) // 8 + (1 << bits))
    low = np.uint64(BITS - head)
    counts = np.bincount((keys >> low).astype(np.int64), minlength=1 << head)
    rest = (keys & ((np.uint64(1) << low) - np.uint64(1))).astype("<u8").view(np.uint8).reshape(-1, 8)
    return counts.astype(np.min_scalar_type(int(counts.max()))), np.ascontiguousarray(rest[:, : (BITS - head) // 8])


def _unpack(counts: NDArray[np.unsignedinteger], rest: NDArray[np.uint8]) -> Keys:
    head = next((bits for bits in _HEADS if counts.shape == (1 << bits,)), None)
    total = int(counts.sum(dtype=np.uint64))
    if head is None or rest.dtype != np.uint8 or rest.shape != (total, (BITS - head) // 8):
        raise ValueError("its parts do not belong together")
    low = np.zeros((total, 8), np.uint8)
    low[:, : rest.shape[1]] = rest
    first = np.repeat(np.arange(1 << head, dtype=np.uint64), counts.astype(np.int64))
    keys = (first << np.uint64(BITS - head)) | low.view("<u8").ravel().astype(np.uint64)
    if len(keys) > 1 and not (keys[1:] > keys[:-1]).all():
        raise ValueError("its keys are not in order")
    return keys
