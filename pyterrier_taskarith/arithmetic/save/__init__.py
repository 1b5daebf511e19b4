"""A merge on disk: the files it is written to, what is written beside them, and the folder that appears all at once."""

from pyterrier_taskarith.arithmetic.save._merge import DTYPES, Merge
from pyterrier_taskarith.arithmetic.save._record import inputs

__all__ = ["DTYPES", "Merge", "inputs"]
