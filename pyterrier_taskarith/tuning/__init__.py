"""Which α and which weight: the grid for one scoring per α, the best, α by layers, the curve, α without labels."""

from pyterrier_taskarith.tuning._ablate import ablate
from pyterrier_taskarith.tuning._ablation import Ablation, plot_ablation
from pyterrier_taskarith.tuning._layerwise import LAYER_ALPHAS, TunedLayers, tune_layers
from pyterrier_taskarith.tuning._line_up import BASELINES, line_up, tune_each
from pyterrier_taskarith.tuning._nodes import NODES, AlphaCurve
from pyterrier_taskarith.tuning._plot import plot_alpha
from pyterrier_taskarith.tuning._suggest import Suggestion, SuggestionWarning, suggest_alpha
from pyterrier_taskarith.tuning._sweep import ALPHAS, WEIGHTS, sweep
from pyterrier_taskarith.tuning._tune import Tuned, tune

__all__ = ["ALPHAS", "Ablation", "AlphaCurve", "BASELINES", "LAYER_ALPHAS", "NODES", "Suggestion", "SuggestionWarning",
           "Tuned", "TunedLayers", "WEIGHTS", "ablate", "line_up", "plot_ablation", "plot_alpha", "suggest_alpha",
           "sweep", "tune", "tune_each", "tune_layers"]
