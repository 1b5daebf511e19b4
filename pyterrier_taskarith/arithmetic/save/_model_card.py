"""The README of a merged model."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from pyterrier_taskarith.arithmetic._merged import MergedWeights
from pyterrier_taskarith.arithmetic.save._record import inputs
from pyterrier_taskarith.checkpoints import RECORD


def model_card(merge: MergedWeights, dtype: str | None, hashes: Mapping[Path, str]) -> str:
    """Returns the README: recipe, the sha256 of every file read, versions.

    Args:
        merge: The merge.
        dtype: Of the output; None: as in Θ_T.
        hashes: Weight file -> sha256.
    """
    rows = dict.fromkeys(f"| {file.role} | {file.source} | {file.path.name} | {hashes[file.path]} |"
                         for file in inputs(merge))
    return "\n".join([
        "---", "tags: [task-arithmetic, pyterrier]", "---", "",
        "# A re-ranker merged by task arithmetic", "",
        "Θ' = Θ_T + Σ α·(Θ_D − Θ_0), computed in float32 and rounded once (SIGIR 2025, doi 10.1145/3726302.3730216).",
        "", f"    {merge}", "",
        f"Output dtype: {dtype or 'as in Θ_T'}. {merge.plan.summary()}.", "",
        "| role | model | file | sha256 |", "|---|---|---|---|", *rows, "",
        f"pyterrier_taskarith {version('pyterrier_taskarith')}, torch {torch.__version__}, "
        f"safetensors {version('safetensors')}. `{RECORD}` says the same for programs.", "",
    ])
