"""Small operations on PyTerrier's frames."""

import warnings

import pandas as pd
import pyterrier as pt


def with_scores(frame: pd.DataFrame, scores: object) -> pd.DataFrame:
    """Returns a copy with float64 ``score`` and PyTerrier's ``rank``; index, rows and other columns stay."""
    scored = frame.assign(score=pd.Series(scores, index=frame.index, dtype="float64"))
    with warnings.catch_warnings():
        # add_ranks drops a column in place, which pandas 3.1 warns of; every other warning passes.
        warnings.filterwarnings("ignore", message="The inplace keyword in DataFrame.drop",
                                category=DeprecationWarning, module=r"pyterrier\.model$")
        return pt.model.add_ranks(scored)
