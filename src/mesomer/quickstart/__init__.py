"""The quickstart: does pre-training help on a small real set, within minutes, and how would one know?

    demonstration set -> the same folds for all -> pre-trained network · same network from random weights ·
    count-ECFP forest · training mean -> paired statistics -> report, predictor, tables

`design.py`: what is compared; `run.py`: doing it; `results.py`: what came out, as tables, sentence and report.
"""

from mesomer.quickstart.design import QuickstartOptions
from mesomer.quickstart.run import quickstart

__all__ = ["QuickstartOptions", "quickstart"]
