"""Which α and which weight: the grid for one scoring per α, the best setting, the curve."""

from pyterrier_taskarith.tuning._plot import plot_alpha
from pyterrier_taskarith.tuning._sweep import ALPHAS, WEIGHTS, sweep
from pyterrier_taskarith.tuning._tune import Tuned, tune

__all__ = ["ALPHAS", "WEIGHTS", "Tuned", "plot_alpha", "sweep", "tune"]
