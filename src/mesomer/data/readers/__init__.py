"""File formats: one file each, registered by suffix."""

from mesomer.data.readers import delimited, parquet, sdf, smi  # noqa: F401  (registers the formats)
from mesomer.data.readers.base import READERS, Block, Reader, cell_text, format_suffix, is_absent
from mesomer.data.readers.sdf import holds_structures

__all__ = ["READERS", "Block", "Reader", "cell_text", "format_suffix", "holds_structures", "is_absent"]
