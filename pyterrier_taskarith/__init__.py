"""Task arithmetic for neural re-rankers in PyTerrier: Θ' = Θ_T + α(Θ_D − Θ_0), with no training.

Example:
    >>> from pyterrier_taskarith import Mix, TaskArithReranker
    >>> r = TaskArithReranker("castorini/monot5-base-msmarco", "razent/SciFive-base-Pubmed_PMC",
    ...                       "google-t5/t5-base", alpha=0.7)                    # doctest: +SKIP
    >>> bm25 >> pt.text.get_text(dataset, "text") >> Mix(r, weight=0.5)          # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pyterrier_taskarith.arithmetic import Merge, MergeError, MergePlan, TaskVector
    from pyterrier_taskarith.artifact import MergedModel
    from pyterrier_taskarith.checkpoints import Checkpoint
    from pyterrier_taskarith.errors import CheckpointError
    from pyterrier_taskarith.evaluation import Comparison, compare, from_experiment, plot_grid
    from pyterrier_taskarith.fusion import MinMax, Mix
    from pyterrier_taskarith.inspection import Inspection, inspect_merge
    from pyterrier_taskarith.reranker import TaskArithReranker
    from pyterrier_taskarith.scorers import ScorerError
    from pyterrier_taskarith.tuning import (
        Ablation,
        AlphaCurve,
        Tuned,
        TunedLayers,
        ablate,
        line_up,
        plot_ablation,
        plot_alpha,
        sweep,
        tune,
        tune_each,
        tune_layers,
    )

#: Module -> its names. They are imported at first use: torch and PyTerrier take seconds, which ``taskarith --help`` and
#: a merge need not wait for.
_NAMES = {
    "arithmetic": ("Merge", "MergeError", "MergePlan", "TaskVector"),
    "artifact": ("MergedModel",),
    "checkpoints": ("Checkpoint",),
    "errors": ("CheckpointError",),
    "evaluation": ("Comparison", "compare", "from_experiment", "plot_grid"),
    "fusion": ("MinMax", "Mix"),
    "inspection": ("Inspection", "inspect_merge"),
    "reranker": ("TaskArithReranker",),
    "scorers": ("ScorerError",),
    "tuning": ("Ablation", "AlphaCurve", "Tuned", "TunedLayers", "ablate", "line_up", "plot_ablation",
               "plot_alpha", "sweep", "tune", "tune_each", "tune_layers"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["Ablation", "AlphaCurve", "Checkpoint", "CheckpointError", "Comparison", "Inspection", "Merge", "MergeError",
           "MergePlan", "MergedModel", "MinMax", "Mix", "ScorerError", "TaskArithReranker", "TaskVector", "Tuned",
           "TunedLayers", "ablate", "compare", "from_experiment", "inspect_merge", "line_up", "plot_ablation",
           "plot_alpha", "plot_grid", "sweep", "tune", "tune_each", "tune_layers"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
