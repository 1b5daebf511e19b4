"""The offline demo: a real collection built from installed docstrings, and a small real triple of models."""

from pyterrier_taskarith.demo._collection import build_collection
from pyterrier_taskarith.demo._models import demo_models
from pyterrier_taskarith.demo._run import main, open_demo, run_demo, versions

__all__ = ["build_collection", "demo_models", "main", "open_demo", "run_demo", "versions"]
