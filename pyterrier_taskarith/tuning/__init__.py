"""Which α and which weight: the grid for one scoring per α, the best setting, the curve, α without labels."""

from pyterrier_taskarith.tuning._line_up import BASELINES, line_up, tune_each
from pyterrier_taskarith.tuning._nodes import NODES, AlphaCurve
from pyterrier_taskarith.tuning._plot import plot_alpha
from pyterrier_taskarith.tuning._suggest import Suggestion, SuggestionWarning, suggest_alpha
from pyterrier_taskarith.tuning._sweep import ALPHAS, WEIGHTS, sweep
from pyterrier_taskarith.tuning._tune import Tuned, tune

__all__ = ["ALPHAS", "AlphaCurve", "BASELINES", "NODES", "Suggestion", "SuggestionWarning", "Tuned", "WEIGHTS",
           "line_up", "plot_alpha", "suggest_alpha", "sweep", "tune", "tune_each"]
