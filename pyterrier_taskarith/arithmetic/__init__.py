"""What is done to weights: task vectors, the plan of a merge, and its application to files and living modules."""

from pyterrier_taskarith.arithmetic._errors import MergeError
from pyterrier_taskarith.arithmetic._layers import Layers
from pyterrier_taskarith.arithmetic._live import LiveWeights, Setting
from pyterrier_taskarith.arithmetic._merge import Merge
from pyterrier_taskarith.arithmetic._plan import Entry, MergePlan, make_plan
from pyterrier_taskarith.arithmetic._task_vector import TaskVector

__all__ = ["Entry", "Layers", "LiveWeights", "Merge", "MergeError", "MergePlan", "Setting", "TaskVector", "make_plan"]
