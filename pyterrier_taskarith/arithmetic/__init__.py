"""What is done to weights: task vectors, the plan of a merge, and its application to files and living modules."""

from pyterrier_taskarith.arithmetic._alphas import Alpha, LayerAlphas, as_alpha
from pyterrier_taskarith.arithmetic._errors import MergeError
from pyterrier_taskarith.arithmetic._layers import Layers
from pyterrier_taskarith.arithmetic._live import LiveWeights, Setting
from pyterrier_taskarith.arithmetic._merge import Merge
from pyterrier_taskarith.arithmetic._plan import Entry, MergePlan, Step, make_plan
from pyterrier_taskarith.arithmetic._task_vector import TaskVector
from pyterrier_taskarith.arithmetic._term import Term

__all__ = ["Alpha", "Entry", "LayerAlphas", "Layers", "LiveWeights", "Merge", "MergeError", "MergePlan", "Setting",
           "Step", "TaskVector", "Term", "as_alpha", "make_plan"]
