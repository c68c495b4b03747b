"""`mesomer models`: the models that come with the package."""

from __future__ import annotations

from typing import Any


def models() -> dict[str, Any]:
    """List the models that come with the package.

    Every command that takes --model takes one of these names, a model folder, a run folder or a hub name.
    `mesomer info NAME` tells more about one of them.
    """
    from mesomer.commands.info import model_facts
    from mesomer.training.checkpoint import bundled_models

    facts = [model_facts(folder, name) for name, folder in bundled_models().items()]
    lines = []
    for fact in facts:
        size = f"{fact['parameters']:,} parameters, {fact['bytes'] / 1e6:.1f} MB"
        lines += [f"{fact['name']}: {fact['encoder']}, {size}", f"  {fact['about']}", f"  card: {fact['card']}"]
    text = "\n".join(lines) or "This installation has no bundled model."
    return {"models": facts, "text": text}
