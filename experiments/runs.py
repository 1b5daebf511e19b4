"""Runs in files, each with the recipe that it was made by: what is there and of the same recipe is not made again.

A run is ``NAME.run.gz`` in TREC's format, and ``NAME.json`` beside it has its recipe and the sha256 of its files. Files
appear whole, the JSON last; so a run is there, whole and of its recipe, or it is not
there. Nothing in the files depends on when or in how many attempts they were made: scores have all their digits, and
the compressed files no dates.
"""

import gzip
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from pyterrier_taskarith._files import new_file
from pyterrier_taskarith.data import read_run
from pyterrier_taskarith.errors import DataError
from pyterrier_taskarith.fusion import with_scores

FORMAT = 1
RUN, TEXTS = ".run.gz", ".texts.jsonl.gz"
_SPACE = re.compile(r"\s")


class RunStore:
    """A folder of runs, of one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder, and makes it where it is missing.

        Raises:
            BlockingIOError: If another process is at work on it.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise BlockingIOError(f"another process is at work on {folder}: wait for it, or name another --folder"
                                  ) from None

    def close(self) -> None:
        """Lets other processes have the folder."""
        self._lock.release()

    def has(self, name: str, recipe: Mapping[str, Any]) -> bool:
        """Returns whether a run is there, made by this very recipe, with its files as they were written."""
        try:
            found = json.loads(self._path(name, ".json").read_text(encoding="utf-8"))
            return found["recipe"] == _plain(recipe) and all(
                sha256(self._path(name, suffix)) == digest for suffix, digest in found["files"].items())
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return False

    def put(self, name: str, recipe: Mapping[str, Any], files: Mapping[str, bytes],
            facts: Mapping[str, Any] | None = None) -> None:
        """Keeps a run in the place of what was there.

        Args:
            name: Such as "scifact/dev/t5-base/alpha_0.7".
            recipe: All that decides its content; JSON can write it.
            files: Suffix -> content.
            facts: What else is worth knowing of it; not compared.
        """
        self._path(name, ".json").parent.mkdir(parents=True, exist_ok=True)
        # An old recipe must not stand beside new files.
        self._path(name, ".json").unlink(missing_ok=True)
        for suffix, content in files.items():
            replace(self._path(name, suffix), content)
        about = {"recipe": _plain(recipe), "facts": _plain(facts or {}),
                 "files": {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}}
        replace(self._path(name, ".json"), (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())

    def run(self, name: str) -> pd.DataFrame:
        """Returns the run of a name: qid, docno, score, in the order of the file."""
        return read_run(self._path(name, RUN)).reset_index(drop=True)

    def texts(self, name: str) -> dict[str, str]:
        """Returns docno -> text of the documents of a run that was kept with them."""
        with gzip.open(self._path(name, TEXTS), "rt", encoding="utf-8", newline="\n") as file:
            return {record["docno"]: record["text"] for record in map(json.loads, file)}

    def digest(self, name: str) -> str:
        """Returns the sha256 of a run's description, and so of its files and recipe."""
        return sha256(self._path(name, ".json"))

    def _path(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name}{suffix}"


def run_bytes(run: pd.DataFrame, tag: str) -> bytes:
    """Returns a run in TREC's format, compressed, its queries in order of first rows and each by falling score.

    Args:
        run: qid, docno, score.
        tag: The run's name; blanks become "_".

    Raises:
        DataError: If a qid or docno has a blank in it, which the format cannot hold.
    """
    for column in ("qid", "docno"):
        bad = [value for value in run[column] if not value or _SPACE.search(value)]
        if bad:
            raise DataError(f"the run has the {column} {bad[0]!r}: TREC's format has no place for blanks")
    order = {qid: place for place, qid in enumerate(run["qid"].drop_duplicates())}
    ranked = with_scores(run[["qid", "docno"]], run["score"])
    ranked = ranked.assign(place=ranked["qid"].map(order)).sort_values(["place", "rank"], kind="stable")
    name = _SPACE.sub("_", tag)
    lines = (f"{row.qid} Q0 {row.docno} {row.rank} {float(row.score)!r} {name}\n" for row in ranked.itertuples())
    return compressed("".join(lines))


def texts_bytes(texts: Mapping[str, str]) -> bytes:
    """Returns docno and text as compressed lines of JSON, by docno."""
    return compressed("".join(json.dumps({"docno": docno, "text": texts[docno]}) + "\n" for docno in sorted(texts)))


def compressed(text: str) -> bytes:
    """Returns a text as gzip, without a date."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as file:
        file.write(text.encode("utf-8"))
    return buffer.getvalue()


def replace(path: Path, content: bytes) -> None:
    """Writes a file that appears whole."""
    with new_file(path) as new:
        new.write_bytes(content)


def sha256(path: Path) -> str:
    """Returns the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def slug(name: str) -> str:
    """Returns a name as part of a path: "MIRACL Spanish" is "miracl_spanish"."""
    return re.sub(r"[^a-z0-9.\-]+", "_", name.lower()).strip("_")


def _plain(value: Any) -> Any:
    """Returns a value as it comes back from JSON."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=str))
