"""A merge on disk: the files it is written to, what is written beside them, and the folder that appears all at once."""

from pyterrier_taskarith.arithmetic.save._record import RECORD, inputs, origin
from pyterrier_taskarith.arithmetic.save._save import DTYPES, save_merge

__all__ = ["DTYPES", "RECORD", "inputs", "origin", "save_merge"]
