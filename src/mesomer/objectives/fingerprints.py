"""Which circular fragments a molecule contains, predicted from its vector: ECFP4 folded to 1,024 bits.

Descriptors say what a molecule is like as a whole; fragments say what stands beside what. The labels are the added
column `fingerprints` of the corpus.
"""

from __future__ import annotations

from mesomer.objectives.base import register
from mesomer.objectives.graph_labels import YesNoLabels


@register
class Fingerprints(YesNoLabels):
    """1,024 yes-or-no labels."""

    name = "fingerprints"
    label = "fingerprints"
    columns = 1024
