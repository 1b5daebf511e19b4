"""A merge on disk: the files it is written to, what is written beside them, and the folder that appears all at once."""

from pyterrier_taskarith.arithmetic.save._record import inputs
from pyterrier_taskarith.arithmetic.save._save import DTYPES, save_merge

__all__ = ["DTYPES", "inputs", "save_merge"]
