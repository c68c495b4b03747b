"""The arms of a study. A new arm is one file with its class and one line here; the first two are the question."""

from __future__ import annotations

from collections.abc import Sequence

from mesomer.errors import MesomerError, unknown_name
from mesomer.studies.arms import descriptors, finetuned, fragments, frozen, mean
from mesomer.studies.arms.base import Arm, Job, Predicted, Setting

__all__ = ["ARMS", "Arm", "Job", "Predicted", "Setting", "choose", "headline_pair"]

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        finetuned.PRETRAINED,
        finetuned.RANDOM,
        finetuned.PRETRAINED_RICH,
        finetuned.RANDOM_RICH,
        frozen.LINEAR,
        frozen.RANDOM_LINEAR,
        frozen.FOREST,
        frozen.RANDOM_FOREST,
        fragments.FOREST,
        fragments.BOOSTING,
        descriptors.LINEAR,
        descriptors.BOOSTING,
        mean.MEAN,
    )
}


def choose(names: Sequence[str]) -> list[Arm]:
    """The arms of these names in the order of the registry, each with what it is the twin of; the usual ones if none
    are named.
    """
    for name in names:
        if name not in ARMS:
            raise unknown_name("arm", name, ARMS)
    chosen = [arm for name, arm in ARMS.items() if (name in names if names else arm.default)]
    known = {arm.name for arm in chosen}
    for arm in chosen:
        if arm.twin_of is not None and arm.twin_of not in known:
            raise MesomerError(
                f"The arm {arm.name} is the twin of {arm.twin_of}, which is not among the arms.",
                f"Add {arm.twin_of} to --arms.",
            )
    if len(chosen) < 2:
        raise MesomerError("A study compares at least two arms.", f"Known: {', '.join(ARMS)}.")
    return chosen


def headline_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """A network and its twin; a network without one and the forest; None where no network is trained."""
    networks = [arm for name, arm in ARMS.items() if name in names and arm.kind == "network"]
    twin = next((arm for arm in networks if arm.twin_of is not None), None)
    if twin is not None and twin.twin_of is not None:
        return twin.twin_of, twin.name
    return (networks[0].name, fragments.FOREST.name) if networks else None
