"""A merge on disk: the files it is written to, what is written beside them, and the folder that appears all at once."""

from pyterrier_taskarith.arithmetic.disk._record import RECORD, origin

__all__ = ["RECORD", "origin"]
