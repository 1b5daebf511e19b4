"""Task arithmetic for neural re-rankers in PyTerrier: Θ' = Θ_T + α(Θ_D − Θ_0), with no training.

Example:
    >>> from pyterrier_taskarith import Mix, TaskArithReranker
    >>> r = TaskArithReranker("castorini/monot5-base-msmarco", "razent/SciFive-base-Pubmed_PMC",
    ...                       "google-t5/t5-base", alpha=0.7)                    # doctest: +SKIP
    >>> bm25 >> pt.text.get_text(dataset, "text") >> Mix(r, weight=0.5)          # doctest: +SKIP
"""

from pyterrier_taskarith.arithmetic import Merge, MergeError, MergePlan, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint, CheckpointError
from pyterrier_taskarith.comparison import Comparison, compare, from_experiment
from pyterrier_taskarith.fusion import MinMax, Mix
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.scorers import ScorerError
from pyterrier_taskarith.tuning import Tuned, plot_alpha, sweep, tune

__all__ = ["Checkpoint", "CheckpointError", "Comparison", "Merge", "MergeError", "MergePlan", "MinMax", "Mix",
           "ScorerError", "TaskArithReranker", "TaskVector", "Tuned", "compare", "from_experiment", "plot_alpha",
           "sweep", "tune"]
