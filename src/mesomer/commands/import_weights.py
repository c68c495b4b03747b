"""`mesomer import`: somebody else's checkpoint file -> a model folder."""

from __future__ import annotations

from typing import Any


def import_weights(
    checkpoint: str,
    *,
    from_: str,
    output: str,
    architecture: str | None = None,
    vocab: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Import an official checkpoint as a model folder.

    The file is read without running anything in it. Every tensor is accounted for, and where outputs of the published
    code lie beside the file, the largest difference to them is told.

    Args:
        checkpoint: The file that the published code saved.
        from_: Whose file it is: batmannet, grover, kermt, mat, pretrain-gnns or rmat.
        output: The model folder to write.
        architecture: JSON file with official argument names, or a short name (base or large, the published sizes; gin,
            gcn, graphsage or gat), for files that store no arguments; the JSON file of the same stem if not given.
        vocab: Folder with the two vocabularies that a pre-training file of grover or kermt was made with, files whose
            names end with atom_vocab.pkl and bond_vocab.pkl: its heads are then kept, for pre-training to go on.
        overwrite: Replace the output if it is there.
    """
    from mesomer.interop.importing import import_checkpoint

    facts = import_checkpoint(checkpoint, from_, output, architecture, overwrite, vocab)
    return {"text": _text(facts, output), **facts, "output": output}


def _text(facts: dict[str, Any], output: str) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in facts["left_out"].items():
        reasons.setdefault(reason, []).append(name)
    lines = [f"{facts['checkpoint']} is {facts['what']}, sha256 {facts['sha256']}."]
    lines += [f"Given: {given}." for given in facts["given"]]
    lines += [f"Assumed: {assumed}." for assumed in facts["assumed"]]
    lines.append(
        f"{facts['used']} tensors used, {facts['parameters']:,} parameters; {len(facts['left_out'])} tensors left out."
    )
    for reason, names in sorted(reasons.items()):
        shown = names if reason == "unknown" else names[:2]
        more = "" if len(shown) == len(names) else ", …"
        lines.append(f"  {len(names)} {reason}: {', '.join(shown)}{more}")
    if facts["difference"] is None:
        lines.append("No stored outputs for this file.")
    else:
        lines.append(f"Largest difference to the stored outputs of the published code: {facts['difference']:.1e}.")
    lines.append(f"Saved and read back: equal. Wrote {output}; all tensors with their shapes stand in its import.json.")
    if facts["kind"] == "predictor":
        lines.append(f"Next: mesomer predict DATA --model {output} --output predictions.csv")
    else:
        lines.append(
            f"Next: mesomer embed DATA --model {output} --output embeddings.parquet, "
            f"or mesomer finetune DATA --model {output} …"
        )
    return "\n".join(lines)
