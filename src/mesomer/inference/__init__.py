"""Using a trained model: embeddings and predictions for tables of any length and for lists of SMILES.

`load` opens a model; `embed_table` and `predict_table` are what the commands do. Rows are never lost or moved: one that
is no molecule has an empty result and a reason. Memory does not grow with the number of rows.
"""

from mesomer.inference.api import Model, load
from mesomer.inference.embed import LEVELS, Embedder
from mesomer.inference.predict import TablePredictor
from mesomer.inference.tables import embed_table, predict_table

__all__ = ["LEVELS", "Embedder", "Model", "TablePredictor", "embed_table", "load", "predict_table"]
