"""Operations that write, killed at random moments: what they write is absent or whole, and a second run ends right."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from pyterrier_taskarith import TaskArithReranker, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.data import StoredTexts, read_collection
from pyterrier_taskarith.tuning import tune
from testing import bert_triple
from tests.faults.mutations import make_zip
from tests.reranking import frame

DOCUMENTS = 3000


@dataclass(frozen=True)
class Operation:
    """Something that writes.

    Attributes:
        make: Makes what it reads, in an empty folder.
        run: Does it in that folder, and returns what it gives, to compare by ``==``.
        target: The file or folder that must always be absent or whole, in that folder; None: a database.
    """

    make: Callable[[Path], object]
    run: Callable[[Path], Any]
    target: str | None


def _merge(folder: Path, alpha: float = 0.5, **options: bool) -> str:
    merge = Checkpoint(folder / "ranker") + alpha * TaskVector(folder / "domain", folder / "base")
    return str(merge.save(folder / "out", **options).name)


def _make_old(folder: Path) -> None:
    bert_triple(folder)
    _merge(folder, 0.9)


def _vector(folder: Path) -> str:
    return str(TaskVector(folder / "domain", folder / "base").save(folder / "out.safetensors").name)


def _reranker(folder: Path, **options: object) -> TaskArithReranker:
    return TaskArithReranker(folder / "ranker", folder / "domain", folder / "base", alpha=0.7, verbose=False, **options)


def _cached(folder: Path) -> list[float]:
    reranker = _reranker(folder, cache=folder / "cache")
    found = [reranker(frame(3, texts))["score"].tolist() for texts in (8, 16, 24)]
    return [round(score, 5) for part in found for score in part]


def _swept(folder: Path) -> list[float]:
    run = frame(3, 6)
    qrels = run[["qid", "docno"]].assign(label=[number % 2 for number in range(len(run))])
    tuned = tune(_reranker(folder), run, qrels, alphas=[0.0, 0.5, 1.0], weights=[0.0, 0.5, 1.0], verbose=False,
                 resume=folder / "sweep.sqlite3")
    return [round(value, 6) for value in tuned.evidence["value"]]


def _documents(folder: Path) -> None:
    (folder / "docs.jsonl").write_text("".join(f'{{"docno": "d{number}", "text": "text {number}"}}\n'
                                               for number in range(DOCUMENTS)))


def _indexed(folder: Path) -> object:
    stored = StoredTexts(folder, folder / "index")
    return stored.count, stored.get(["d0", f"d{DOCUMENTS - 1}"]), stored.fingerprint


def _unpacked(folder: Path) -> str:
    os.environ["TASKARITH_HOME"] = str(folder / "home")
    return read_collection(folder / "c.zip").documents.head().to_csv()


OPERATIONS = {
    "merge to disk": Operation(bert_triple, _merge, "out"),
    "merge over another": Operation(_make_old, lambda folder: _merge(folder, overwrite=True), "out"),
    "saved vector": Operation(bert_triple, _vector, "out.safetensors"),
    "score cache": Operation(bert_triple, _cached, None),
    "sweep with resume": Operation(bert_triple, _swept, None),
    "index of texts": Operation(_documents, _indexed, None),
    "unpacked zip": Operation(make_zip, _unpacked, "home/collections"),
}


def _content(path: Path) -> dict[str, bytes] | None:
    """Returns the files of a target, without those of writers; None where there is none."""
    if path.is_file():  # safetensors writes the metadata in any order
        return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    found = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*")
             if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)}
    return found or None


class Kills:
    """One operation, run to its end once, and what becomes of it when it is killed."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.operation, self._made, self._folder = OPERATIONS[name], scratch / "made", scratch / "killed"
        self._made.mkdir(parents=True)
        self.operation.make(self._made)
        self._fresh()
        before = self._target()
        start = time.perf_counter()
        self._run_in_child(None)
        self.seconds = time.perf_counter() - start
        self.whole = [before, self._target()]
        self.result = self.operation.run(self._folder)

    def _fresh(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._made, self._folder)

    def _target(self) -> dict[str, bytes] | None:
        return _content(self._folder / self.operation.target) if self.operation.target else None

    def _run_in_child(self, seconds: float | None) -> bool:
        """Runs the operation in a forked process, which is killed after so many seconds; returns whether it was."""
        child = os.fork()
        if not child:
            try:
                self.operation.run(self._folder)
                os._exit(0)
            except BaseException:
                os._exit(1)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
            raise AssertionError("the operation failed without being killed")
        return os.WIFSIGNALED(status)

    def outcome(self, seed: int) -> tuple[bool, str]:
        """Kills the operation at a random moment, and runs it again.

        Returns:
            Whether it was killed before its end, and what was wrong; nothing if all was right.
        """
        self._fresh()
        killed = self._run_in_child(random.Random(seed).uniform(0, 1.1 * self.seconds))
        if self._target() not in self.whole:
            return killed, "the target is there in part"
        if self.operation.run(self._folder) != self.result:
            return killed, "the second run gave something else"
        if self._target() != self.whole[1]:
            return killed, "the second run wrote something else"
        left = [path.name for path in self._folder.rglob("*") if path.name.endswith((".tmp", ".lock"))]
        return killed, f"left behind: {', '.join(left)}" if left else ""
