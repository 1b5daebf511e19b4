"""Which α and which weight: the grid for one scoring per α, the best, α by layers, the curve."""

from pyterrier_taskarith.tuning._ablate import Ablation, ablate, plot_ablation
from pyterrier_taskarith.tuning._development import DevelopmentSet, aligned
from pyterrier_taskarith.tuning._groups import layer_groups
from pyterrier_taskarith.tuning._layerwise import LAYER_ALPHAS, TunedLayers, tune_layers
from pyterrier_taskarith.tuning._line_up import BASELINES, FIRST_STAGE, FIXED, TUNED, line_up, tune_each
from pyterrier_taskarith.tuning._nodes import NODES, AlphaCurve, kendall
from pyterrier_taskarith.tuning._plot import plot_alpha
from pyterrier_taskarith.tuning._sweep import ALPHAS, WEIGHTS, sweep, sweep_runs
from pyterrier_taskarith.tuning._tune import ORDERS, PREFERRED, Tuned, best_setting, tune

__all__ = ["ALPHAS", "Ablation", "AlphaCurve", "BASELINES", "DevelopmentSet", "FIRST_STAGE", "FIXED", "LAYER_ALPHAS",
           "NODES", "ORDERS", "PREFERRED", "TUNED", "Tuned", "TunedLayers", "WEIGHTS", "ablate",
           "aligned", "best_setting", "kendall", "layer_groups", "line_up", "plot_ablation", "plot_alpha", "sweep",
           "sweep_runs", "tune", "tune_each", "tune_layers"]
