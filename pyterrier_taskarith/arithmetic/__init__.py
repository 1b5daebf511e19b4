"""What is done to weights: task vectors, the plan of a merge, and its application to files and loaded modules."""

from pyterrier_taskarith.arithmetic._addition import Step
from pyterrier_taskarith.arithmetic._alphas import DEFAULT, Alpha, LayerAlphas, Layers, alpha_of, as_alpha
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference, check_finite
from pyterrier_taskarith.arithmetic._loaded import LoadedWeights, WeightSetting, stream
from pyterrier_taskarith.arithmetic._pieces import Addend, plain_addend
from pyterrier_taskarith.arithmetic._plan import MergePlan, ParameterPlan, make_plan
from pyterrier_taskarith.arithmetic._task_vector import TaskVector
from pyterrier_taskarith.arithmetic._tensors import InMemory
from pyterrier_taskarith.arithmetic._term import Term
from pyterrier_taskarith.arithmetic.save import Merge
from pyterrier_taskarith.errors import MergeError

__all__ = ["Addend", "Alpha", "CheckpointDifference", "DEFAULT", "InMemory", "LayerAlphas", "Layers", "LoadedWeights",
           "Merge", "MergeError", "MergePlan", "ParameterPlan", "Step", "TaskVector", "Term", "WeightSetting",
           "alpha_of", "as_alpha", "check_finite", "make_plan", "plain_addend", "stream"]
