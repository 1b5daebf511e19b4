"""A merged model's folder as a PyTerrier artifact: loaded from a folder or the hub, it makes re-rankers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyterrier as pt

from pyterrier_taskarith.checkpoints import RECORD
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.reranker import TaskArithReranker

TYPE, FORMAT = "reranker", "taskarith"


class MergedModel(pt.Artifact):
    """A folder that ``TaskArithReranker.save``, ``Merge.save`` or ``taskarith merge`` wrote.

    Example:
        >>> merged = pt.Artifact.load("merged")                    # or pt.Artifact.from_hf  # doctest: +SKIP
        >>> bm25 >> pt.text.get_text(dataset, "text") >> Mix(merged.reranker(), weight=0.5)  # doctest: +SKIP
    """

    ARTIFACT_TYPE, ARTIFACT_FORMAT = TYPE, FORMAT
    ARTIFACT_PACKAGE_HINT = "pyterrier_taskarith"

    def __init__(self, path: str | Path) -> None:
        """Names the folder; nothing is loaded.

        Raises:
            CheckpointError: If it is not a merged model's folder.
        """
        super().__init__(path)
        if not (Path(path) / RECORD).is_file():
            raise CheckpointError(f"{path} is not a merged model: it has no {RECORD}, which TaskArithReranker.save and "
                                  "`taskarith merge` write")

    def reranker(self, **options: Any) -> TaskArithReranker:
        """Returns a re-ranker with the merged weights.

        Args:
            options: Of :class:`TaskArithReranker`, beside the models and α: ``device``, ``dtype``, ``truncation``, …
        """
        return TaskArithReranker(str(self.path), vectors={}, **options)

    def __repr__(self) -> str:
        return f"MergedModel({str(self.path)!r})"


def recognise(path: str, files: Sequence[str]) -> dict[str, str] | None:
    """Returns PyTerrier's metadata for a merged model's folder, or None for another (its metadata adapter).

    Args:
        path: The folder.
        files: Names of what is in it.
    """
    return {"type": TYPE, "format": FORMAT} if RECORD in files else None
