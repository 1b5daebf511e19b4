"""What a merge would do, before it is done: the plan, the size and direction of τ by layer, and what looks wrong."""

from pyterrier_taskarith.inspection._inspection import inspect_merge
from pyterrier_taskarith.inspection._report import Inspection

__all__ = ["Inspection", "inspect_merge"]
