"""The names of splits, and the two functions that draw them.

One entry per rule; a new rule is one function and one line here. Under rules without randomness (`deterministic`,
`deterministic_achiral`, `time`, a `column` with all three parts) repeats change only the seed of the training, and the
note says "one split". An empty part is refused, with the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mesomer.data.splits import cluster, folds, given, published
from mesomer.data.splits.base import FRACTIONS, PARTS, Draft, Groups, Molecules, Request, Split, group_rows
from mesomer.errors import InputError, MesomerError, unknown_name

if TYPE_CHECKING:
    from rdkit.Chem import Mol

DEFAULT_FOLDS = 5
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Rule:
    """One way to split."""

    name: str
    make: Callable[[Request], list[Draft]]
    summary: str
    aliases: tuple[str, ...] = ()
    seeded: bool = True
    """Whether another seed gives other parts."""
    folded: bool = False
    """Whether it gives K folds instead of one split."""
    needs: Literal["", "column", "labels"] = ""
    """What it must be given besides the molecules."""
    advice: str = "Use --split random or --split cv."
    """The way out when a part stays empty."""
    guards: bool = False
    """Whether duplicates stay in one part by construction."""

    def divisions(self, repeats: int, folds: int) -> str:
        """How the molecules are divided by so many repeats, in words."""
        if self.folded:
            return f"{repeats} x {folds} folds"
        if not self.seeded:
            return f"one division, {repeats} training{'s' if repeats != 1 else ''}"
        return f"{repeats} drawn division{'s' if repeats != 1 else ''}"


_MORE = "More molecules are needed."
RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("random", published.random_molecules, "shuffled molecules, 80/10/10 (pretrain-gnns)", advice=_MORE),
        Rule("grover_random", published.grover_random, "shuffled molecules, cut as GROVER does", advice=_MORE),
        Rule("balanced", published.balanced, "scaffolds, big ones into train (GROVER, chemprop 1)", ("scaffold",)),
        Rule("deterministic", published.deterministic, "chiral scaffolds, biggest first (pretrain-gnns)", seeded=False),
        Rule("deterministic_achiral", published.deterministic_achiral, "the same without chirality (MolCLR, DeepChem)",
             seeded=False),
        Rule("random_scaffold", published.random_scaffold, "chiral scaffolds in random order (pretrain-gnns)"),
        Rule("cv", folds.cv, "K folds of molecules", ("random_cv",), folded=True, advice=_MORE, guards=True),
        Rule("scaffold_cv", folds.scaffold_cv, "K folds of scaffolds", folded=True, guards=True,
             advice="Use --split cv or fewer --folds."),
        Rule("stratified_cv", folds.stratified_cv, "K folds with classes spread evenly", folded=True, needs="labels",
             advice=_MORE, guards=True),
        Rule("cluster", cluster.cluster, "Butina clusters of ECFP4 at distance 0.6", guards=True),
        Rule("time", given.time, "the oldest rows train, the newest test", seeded=False, needs="column"),
        Rule("column", given.column, "as a column of the table says", ("predefined",), needs="column"),
    )
}  # fmt: skip
ALIASES = {alias: rule.name for rule in RULES.values() for alias in rule.aliases}


def find_rule(name: str) -> Rule:
    """The rule behind a name or an alias; unknown names are an error with the nearest known one."""
    rule = RULES.get(ALIASES.get(name, name))
    if rule is None:
        raise unknown_name("split", name, [*RULES, *ALIASES])
    return rule


def split(
    name: str,
    molecules: Sequence[str | Mol] | Molecules,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
    folds: int | None = None,
    column: Sequence[Any] | None = None,
    *,
    fold: int = 0,
    labels: Any = None,
    canonical: bool = False,
    column_name: str = "split",
    rows: Sequence[int] | None = None,
) -> Split:
    """Draws one split; of rules that give folds, the fold number `fold`. Arguments as in `splits_for`."""
    drawn = splits_for(
        name, molecules, 1, seed, folds, column,
        fractions=fractions, labels=labels, canonical=canonical, column_name=column_name, rows=rows,
    )  # fmt: skip
    if not 0 <= fold < len(drawn):
        raise MesomerError(f"There is no fold {fold}: split {name} has {len(drawn)}.", "Folds count from 0.")
    return drawn[fold]


def splits_for(
    name: str,
    molecules: Sequence[str | Mol] | Molecules,
    repeats: int = 1,
    seed: int = 0,
    folds: int | None = None,
    column: Sequence[Any] | None = None,
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    labels: Any = None,
    canonical: bool = False,
    column_name: str = "split",
    rows: Sequence[int] | None = None,
    together: bool = False,
) -> list[Split]:
    """Draws all repeats, and all folds of each, in this order.

    `molecules`: SMILES or RDKit molecules, all of them readable. Repeat r uses seed + r. `column`: the values that
    `time` and `column` read. `labels`: what `stratified_cv` spreads evenly, [n] or [n, tasks], NaN where missing.
    `canonical`: chiral scaffolds from canonical SMILES, as the published splits of BBBP, ClinTox and ToxCast have them.
    `rows`: the row numbers that messages shall name. `together`: rules that know nothing of repeated molecules draw
    over the different molecules (canonical SMILES), and all rows of a molecule follow it.
    """
    rule = find_rule(name)
    table = molecules if isinstance(molecules, Molecules) else Molecules(molecules)
    if together and not rule.guards and not rule.needs:
        groups = group_rows(table.identities)
        if len(groups) < len(table):
            once = Molecules([table.mols[group[0]] for group in groups])
            drawn = splits_for(name, once, repeats, seed, folds, fractions=fractions, canonical=canonical)
            return [_all_rows(split, groups, len(table)) for split in drawn]
    shared: dict[str, Any] = {}
    wanted = _check(rule, name, table, repeats, seed, folds, fractions, column, labels)
    splits: list[Split] = []
    for repeat in range(repeats):
        request = Request(
            table, seed + repeat if rule.seeded else seed, fractions, wanted, column, column_name, labels, canonical,
            rows, shared,
        )  # fmt: skip
        drafts = rule.make(request)
        for at, draft in enumerate(drafts):
            _check_parts(rule, name, draft, len(table))
            note = "; ".join([*_repeat_notes(rule), *draft.notes, *_duplicate_notes(rule, table, draft)])
            train, valid, test = (np.sort(np.array(part, dtype=np.int64)) for part in draft[:3])
            training_seed = seed + repeat * len(drafts) + at
            splits.append(Split(name, rule.name, train, valid, test, note, repeat, at, training_seed))
    return splits


def _all_rows(split: Split, groups: Groups, count: int) -> Split:
    """A split of molecules as one of their rows."""
    train, valid, test = (
        np.sort(np.array([row for at in split.parts[part] for row in groups[at]], dtype=np.int64)) for part in PARTS
    )
    note = f"drawn over {len(groups):,} different molecules, whose {count:,} rows stay together"
    return replace(split, train=train, valid=valid, test=test, note="; ".join(filter(None, (split.note, note))))


def _check(
    rule: Rule, name: str, table: Molecules, repeats: int, seed: int, folds: int | None,
    fractions: tuple[float, float, float], column: Sequence[Any] | None, labels: Any,
) -> int:  # fmt: skip
    """Stops at arguments that make no sense together; gives the number of folds."""
    if not len(table):
        raise InputError("There are no molecules to split.", _MORE)
    if repeats < 1:
        raise MesomerError(f"The number of repeats must be 1 or more, not {repeats}.")
    if not 0 <= seed <= _MAX_SEED - repeats:
        raise MesomerError(f"The seed must lie between 0 and {_MAX_SEED - repeats}, not at {seed}.")
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise MesomerError(f"The parts must be three positive shares that add up to 1, not {fractions}.")
    if folds is not None and not rule.folded:
        folded = ", ".join(rule.name for rule in RULES.values() if rule.folded)
        raise MesomerError(f"Split {name} has no folds.", f"--folds belongs to {folded}.")
    if folds is not None and folds < 2:
        raise MesomerError(f"The number of folds must be 2 or more, not {folds}.")
    if rule.needs == "column" and column is None:
        raise MesomerError(f"Split {name} needs a column of the table.", "Name it with --split_column.")
    if rule.needs == "labels" and labels is None:
        raise MesomerError(f"Split {name} needs labels.", "Use --split cv where there are none.")
    return folds or DEFAULT_FOLDS


def _check_parts(rule: Rule, name: str, draft: Draft, count: int) -> None:
    for part, rows in zip(("train", "valid", "test"), draft[:3], strict=True):
        if not len(rows):
            raise InputError(f"Split {name} of {count} molecules leaves none for the {part} part.", rule.advice)
    together = np.concatenate([np.array(rows, dtype=np.int64) for rows in draft[:3]])
    if len(together) != count or not np.array_equal(np.sort(together), np.arange(count)):
        raise RuntimeError(f"rule {rule.name} does not place every molecule once")


def _repeat_notes(rule: Rule) -> list[str]:
    return ["one split"] if not rule.seeded and rule.needs != "column" else []


def _duplicate_notes(rule: Rule, table: Molecules, draft: Draft) -> list[str]:
    """Says how many test molecules stand in train or valid too, for rules that do not prevent it."""
    if rule.guards:
        return []
    names = table.identities
    elsewhere = {names[at] for part in (draft.train, draft.valid) for at in part}
    repeated = sum(names[at] in elsewhere for at in draft.test)
    if not repeated:
        return []
    verb = "molecule is" if repeated == 1 else "molecules are"
    return [f"{repeated} test {verb} also in train or valid (same canonical SMILES)"]
