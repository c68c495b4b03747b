"""The statistics of a study: do two arms differ, by how much, and could this design have seen it?

`resampled`: corrected t over overlapping splits, its interval (the headline) and its Bayesian reading; `verdicts`:
from the interval to a verdict; `multiple`: all arms against the twin, and all pairs; `across_sets`: several data sets;
`power`: what a design can detect; `molecules`: what the test molecules of given models say. docs/statistics.md tells
how to read them. Pure numpy and scipy; wrong input is a `MesomerError`, and nothing is left out silently.
"""

from mesomer.statistics.across_sets import MetaAnalysis, meta_analysis, wilcoxon_over_sets
from mesomer.statistics.molecules import DRAWS, DeLong, bootstrap_molecules, cliffs_delta, delong
from mesomer.statistics.multiple import AllPairs, Contrast, Pair, against_reference, holm, tukey
from mesomer.statistics.power import (
    DESIGNS,
    POWER,
    Design,
    Needed,
    Outlook,
    Pilot,
    cross_validation,
    drawn_splits,
    needed,
    outlook,
    pilot_spread,
    power,
    smallest_detectable,
    widened,
)
from mesomer.statistics.resampled import (
    LEVEL,
    Posterior,
    ResampledT,
    fold_ratio,
    mean_ratio,
    paired_gains,
    resampled_t,
)
from mesomer.statistics.verdicts import ZONE_SHARE, Verdict, default_zone, verdict, verdicts_by_zone

__all__ = [
    "DESIGNS",
    "DRAWS",
    "LEVEL",
    "POWER",
    "ZONE_SHARE",
    "AllPairs",
    "Contrast",
    "DeLong",
    "Design",
    "MetaAnalysis",
    "Needed",
    "Outlook",
    "Pair",
    "Pilot",
    "Posterior",
    "ResampledT",
    "Verdict",
    "against_reference",
    "bootstrap_molecules",
    "cliffs_delta",
    "cross_validation",
    "default_zone",
    "delong",
    "drawn_splits",
    "fold_ratio",
    "holm",
    "mean_ratio",
    "meta_analysis",
    "needed",
    "outlook",
    "paired_gains",
    "pilot_spread",
    "power",
    "resampled_t",
    "smallest_detectable",
    "tukey",
    "verdict",
    "verdicts_by_zone",
    "widened",
    "wilcoxon_over_sets",
]
