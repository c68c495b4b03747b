"""Trees on counted circular fragments (ECFP4 counts): what a pre-trained network has to beat.

Decided: counts, not bits; counts won on 20 of 25 public sets in a published comparison, and the choice of the baseline
decides the headline.
"""

from __future__ import annotations

from numpy.typing import NDArray

from mesomer.studies.arms.base import Job
from mesomer.studies.arms.trees import Trees


class FragmentTrees(Trees):
    """Forest or boosting on counted fragments."""

    kind = "classical"
    reference = True

    def features(self, job: Job) -> NDArray:
        """Counted fragments of all molecules."""
        return job.study.fragments


FOREST = FragmentTrees("ecfp_forest", "Count-ECFP + forest", "forest")
BOOSTING = FragmentTrees("ecfp_boosting", "Count-ECFP + boosting", "boosting")
