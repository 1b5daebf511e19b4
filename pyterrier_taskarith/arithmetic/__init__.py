"""What is done to weights: task vectors, the plan of a merge, and its application to files and living modules."""

from pyterrier_taskarith.arithmetic._alphas import DEFAULT, Alpha, LayerAlphas, alpha_of, as_alpha
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference, check_finite
from pyterrier_taskarith.arithmetic._layers import Layers
from pyterrier_taskarith.arithmetic._loaded import LoadedWeights, WeightSetting
from pyterrier_taskarith.arithmetic._merge import Merge
from pyterrier_taskarith.arithmetic._piecewise import Part, PiecewiseVector, row_by_row
from pyterrier_taskarith.arithmetic._plan import Entry, MergePlan, Step, make_plan
from pyterrier_taskarith.arithmetic._stream import stream
from pyterrier_taskarith.arithmetic._task_vector import TaskVector
from pyterrier_taskarith.arithmetic._term import Term
from pyterrier_taskarith.errors import MergeError

__all__ = ["Alpha", "CheckpointDifference", "DEFAULT", "Entry", "LayerAlphas", "Layers", "LoadedWeights", "Merge",
           "MergeError", "MergePlan", "Part", "PiecewiseVector", "Step", "TaskVector", "Term", "WeightSetting",
           "alpha_of", "as_alpha", "check_finite", "make_plan", "row_by_row", "stream"]
