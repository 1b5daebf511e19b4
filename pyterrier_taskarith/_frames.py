"""Small operations on PyTerrier's frames."""

import warnings

import pandas as pd
import pyterrier as pt


def with_scores(frame: pd.DataFrame, scores: object) -> pd.DataFrame:
    """Returns a copy with float64 ``score`` and PyTerrier's ``rank``; index, rows and other columns stay."""
    scored = frame.assign(score=pd.Series(scores, index=frame.index, dtype="float64"))
    with warnings.catch_warnings():
        # add_ranks edits in place in a way that pandas 3 warns of.
        warnings.filterwarnings("ignore", category=FutureWarning, module="pyterrier")
        warnings.filterwarnings("ignore", message=".*", category=DeprecationWarning, module="pyterrier")
        return pt.model.add_ranks(scored)
