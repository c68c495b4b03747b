"""Which of 85 functional groups a molecule contains (grover.md 4.3 to 4.5, the graph-level motif task).

The labels are the added column `motifs` of the corpus; the loss is the mean binary cross-entropy over all of them.

They are predicted by one network from the molecule vector, or, `by_view`, by a linear layer from the mean of each view
of the encoder. The latter is the published head: each view has its own cross-entropy, and where two views have rows
for the same things the squared difference of their probabilities is a further term, of weight 1 (and not that of the
contexts' disagreement). It is the default for encoders with two such views, GROVER among them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput, pool_rows, row_molecule
from mesomer.errors import MesomerError
from mesomer.objectives.base import register
from mesomer.objectives.figures import Figures
from mesomer.objectives.graph_labels import LabelDraw, YesNoLabels


@register
class Motifs(YesNoLabels):
    """85 yes-or-no labels; terms `motifs`, or by view `…_motifs` and `…_motif_disagreement`."""

    name = "motifs"
    label = "motifs"
    columns = 85

    def __init__(
        self,
        encoder: Encoder,
        *,
        by_view: bool | None = None,
        hidden: int | None = None,
        weight: float = 1.0,
        disagreement: float | None = None,
    ) -> None:
        """One network, or a linear layer for each view.

        Args:
            encoder: The encoder that learns.
            by_view: Whether each view predicts on its own. If not given: where two views have rows for the same things,
                unless `hidden` is given.
            hidden: Width of the hidden layer of the one network, 0 for a linear map; if not given as `GraphLabels`.
            weight: Weight of the term in the loss, by view of each.
            disagreement: Weight of the squared difference between two views' probabilities, times `weight`; 1 if not
                given.
        """
        levels: dict[str, list[str]] = {}
        for view in encoder.output_views:
            levels.setdefault(view.split("_")[0], []).append(view)
        pairs = {level: views for level, views in levels.items() if len(views) == 2}
        by_view = bool(pairs) and hidden is None if by_view is None else by_view
        if by_view and hidden is not None:
            raise MesomerError("The views predict motifs by linear layers: hidden does not go with by_view.")
        if disagreement is not None and (disagreement < 0 or not by_view):
            raise MesomerError(
                f"The weight of disagreement is {disagreement}.", "Give 0 or more, and only where by_view is on."
            )
        super().__init__(encoder, hidden=hidden, weight=weight)
        self.trains_summary = not by_view
        self.by_view, self.disagreement = by_view, 1.0 if disagreement is None else disagreement
        # only if given, so that a run that starts from this one can switch by_view off
        self._given = {} if disagreement is None else {"disagreement": disagreement}
        self.pairs = pairs if self.disagreement > 0 else {}
        if by_view:
            del self.predict
            self.heads = nn.ModuleDict({view: nn.Linear(encoder.width, self.columns) for view in encoder.output_views})

    @property
    def weights(self) -> dict[str, float]:
        if not self.by_view:
            return super().weights
        views = {f"{view}_motifs": self.weight for view in self.heads}
        return views | {f"{level}_motif_disagreement": self.weight * self.disagreement for level in self.pairs}

    def config(self) -> dict[str, Any]:
        if not self.by_view:
            return {"by_view": False, **super().config()}
        return {"by_view": True, "weight": self.weight, **self._given}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> LabelDraw:
        return LabelDraw(dict.fromkeys(self.weights, float(batch.extras[self.label].numel())))

    def from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: LabelDraw
    ) -> dict[str, Tensor]:
        if not self.by_view:
            return super().from_encoded(output, batch, draw)
        logits = self.logits(output, batch)
        terms = {f"{view}_motifs": self.loss(x, batch.extras[self.label]) for view, x in logits.items()}
        for level, (first, second) in self.pairs.items():
            difference = logits[first].sigmoid() - logits[second].sigmoid()
            terms[f"{level}_motif_disagreement"] = difference.square().sum()
        return terms

    def figures_from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: LabelDraw
    ) -> dict[str, Figures]:
        """Of the predictions; the disagreement is none and has no figures."""
        if not self.by_view:
            return super().figures_from_encoded(output, batch, draw)
        labels = batch.extras[self.label]
        return {f"{view}_motifs": self.measured(x, labels) for view, x in self.logits(output, batch).items()}

    def logits(self, output: EncoderOutput, batch: GraphBatch) -> dict[str, Tensor]:
        """What each view says, raw [M, 85], float32; a molecule without rows in a view has its layer's bias there."""
        means = {
            view: pool_rows(output.views[view], row_molecule(view, batch), batch.num_molecules, "mean")
            for view in self.heads
        }
        return {view: self.heads[view](mean).float() for view, mean in means.items()}
