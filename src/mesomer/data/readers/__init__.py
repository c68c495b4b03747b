"""File formats: one file each, registered by suffix."""

from mesomer.data.readers import delimited, parquet, sdf, smi  # noqa: F401  (registers the formats)
from mesomer.data.readers.base import READERS, Block, Reader, cell_text, format_suffix, is_absent

__all__ = ["READERS", "Block", "Reader", "cell_text", "format_suffix", "is_absent"]
