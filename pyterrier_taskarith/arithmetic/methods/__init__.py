"""Merge methods beside plain task arithmetic, each with its paper; users reach them through TaskVector."""

from pyterrier_taskarith.arithmetic.methods._edits import Breadcrumbs, Dare, Trim
from pyterrier_taskarith.arithmetic.methods._slerp import add_on_sphere
from pyterrier_taskarith.arithmetic.methods._ties import TiesDifference

__all__ = ["Breadcrumbs", "Dare", "TiesDifference", "Trim", "add_on_sphere"]
