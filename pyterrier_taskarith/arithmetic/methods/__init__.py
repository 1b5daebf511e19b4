"""Merge methods beside plain task arithmetic, one file each with its paper; users reach them through TaskVector."""

from pyterrier_taskarith.arithmetic.methods._breadcrumbs import Breadcrumbs
from pyterrier_taskarith.arithmetic.methods._dare import Dare
from pyterrier_taskarith.arithmetic.methods._slerp import add_on_sphere
from pyterrier_taskarith.arithmetic.methods._ties import TiesDifference
from pyterrier_taskarith.arithmetic.methods._trim import Trim

__all__ = ["Breadcrumbs", "Dare", "TiesDifference", "Trim", "add_on_sphere"]
