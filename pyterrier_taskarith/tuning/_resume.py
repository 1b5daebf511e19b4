"""A sweep's finished settings on disk, so that a killed one goes on where it was."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tuning._development import Development

FORMAT = 1
#: How a file of ours begins.
_BEGINNING = b'{"format"'
#: Arguments of a re-ranker that do not decide a score, or are fingerprinted by what they name.
_NOT_COUNTED = ("alpha", "ranker", "domain", "base", "vectors", "cache", "verbose", "resident", "batch_tokens")

#: One setting's rows: what follows α in the sweep's frame.
Rows = list[list[Any]]


class Finished:
    """The settings that are done, one line of JSON each, after a line that says of which sweep.

    A line is on the disk before the next setting is scored. A last line that was cut when its writer was killed is
    taken away; floats are written with all their digits, so that a sweep which goes on ends in the very same frame.
    """

    def __init__(self, path: Path, sweep: Mapping[str, str]) -> None:
        """Reads what there is.

        Args:
            path: The file; made where there is none.
            sweep: What decides the values beside α, in words -> as text.

        Raises:
            ValueError: If the file is of another sweep, or none of a sweep.
            OSError: If it cannot be read or written.
        """
        self.path, self.rows = path, dict[tuple[float, ...], Rows]()
        if not path.is_file() or not path.stat().st_size:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"format": FORMAT, "sweep": dict(sweep)})
            return
        text = path.read_bytes()
        whole = text[:text.rfind(b"\n") + 1]
        if not whole and text.startswith(_BEGINNING):  # killed while it wrote its first line
            os.truncate(path, 0)
            self._append({"format": FORMAT, "sweep": dict(sweep)})
            return
        try:
            first, *others = map(json.loads, whole.decode().splitlines())
            found = first["sweep"] if first["format"] == FORMAT else None
            self.rows = {tuple(entry["alpha"]): entry["rows"] for entry in others}
        except (ValueError, LookupError, TypeError, AttributeError):
            found = None
        if not isinstance(found, dict):
            raise ValueError(f"{path} is no file of a sweep that this version can read; give another name, or "
                             "remove it")
        differ = [name for name in sweep if found.get(name) != sweep[name]]
        if differ:
            raise ValueError(f"{path} holds another sweep; different: {', '.join(differ)}. Give another file, or "
                             "remove it to begin anew")
        if len(whole) < len(text):  # only now is it known to be ours
            os.truncate(path, len(whole))

    def add(self, setting: tuple[float, ...], rows: Rows) -> None:
        """Keeps one setting."""
        self._append({"alpha": list(setting), "rows": rows})
        self.rows[setting] = rows

    def _append(self, entry: Mapping[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def identity(reranker: TaskArithReranker, sets: Mapping[str, Development], weights: list[float],
             perquery: bool) -> dict[str, str]:
    """Returns what decides a sweep's values beside α: in words -> as text, hashes where it is long."""
    plan, settings = reranker.plan, reranker.configuration()
    return {
        "Θ_T's weights": plan.ranker.fingerprint,
        "task vectors": json.dumps({name: vector.fingerprint for name, vector in plan.vectors.items()}),
        "arguments of the re-ranker": repr({name: value for name, value in settings.items()
                                            if name not in _NOT_COUNTED}),
        "development sets": json.dumps(list(sets)),
        "run": _hash(*(each.run[[*reranker.columns, "score"]] for each in sets.values())),
        "judgements": _hash(*(each.judged[["qid", "docno", "label"]] for each in sets.values())),
        "measures": json.dumps([label for each in sets.values() for label in each.labels.values()]),
        "weights of the mix": json.dumps(weights),
        "values for each query": str(perquery),
    }


def _hash(*frames: pd.DataFrame) -> str:
    whole = hashlib.sha256()
    for frame in frames:
        whole.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        whole.update(str(len(frame)).encode())
    return whole.hexdigest()
