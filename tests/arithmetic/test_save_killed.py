"""A merge that is killed at any moment leaves nothing or all of its folder, and the next run tidies up."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pyterrier_taskarith
from tests.arithmetic.folders import files
from tests.checkpoints.by_hand import raw, same_bits

HERE = Path(pyterrier_taskarith.__file__).parent.parent
LAYERS, WIDTH = 6, 1024
KILLS = 20


class Runs:
    """Merges of one triple, each a process of its own."""

    def __init__(self, triple: Path, errors: Path) -> None:
        self.triple = triple
        with errors.open("w") as file:
            self.server = subprocess.Popen([sys.executable, "-m", "tests.arithmetic.killed", triple], cwd=HERE,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True)

    def _ask(self, command: str, given: object) -> int:
        print(command, given, file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def begin(self, target: Path) -> int:
        """Starts a merge; returns the process."""
        return self._ask("begin", target)

    def end(self, process: int) -> int:
        """Waits for a process; returns its exit status."""
        return self._ask("end", process)

    def finish(self, target: Path) -> float:
        """Runs a merge to its end; returns the seconds it took."""
        start = time.perf_counter()
        assert self.end(self.begin(target)) == 0
        return time.perf_counter() - start


def left_behind(target: Path) -> list[Path]:
    """What lies beside the target and belongs to a run."""
    return [path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}.")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three models of 6 million parameters: large enough that a merge takes a moment to write."""
    folder = tmp_path_factory.mktemp("killed")
    generator = torch.Generator().manual_seed(0)
    for role in ("ranker", "domain", "base"):
        (folder / role).mkdir()
        tensors = {"embeddings.word_embeddings.weight": torch.randn(64, WIDTH, generator=generator)}
        for layer in range(LAYERS):
            tensors[f"encoder.layer.{layer}.output.dense.weight"] = torch.randn(WIDTH, WIDTH, generator=generator)
        save_file(tensors, folder / role / "model.safetensors", metadata={"format": "pt"})
        (folder / role / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": WIDTH}))
        (folder / role / "vocab.txt").write_text("".join(f"token{row}\n" for row in range(64)))
    made = Runs(folder, folder / "errors.txt")
    yield made
    made.server.stdin.close()
    assert made.server.wait(30) == 0


@pytest.fixture(scope="module")
def expected(runs) -> dict[str, torch.Tensor]:
    """The merged weights, computed by torch on whole tensors."""
    ranker, domain, base = (load_file(runs.triple / role / "model.safetensors")
                            for role in ("ranker", "domain", "base"))
    return {name: torch.add(tensor, domain[name] - base[name], alpha=0.7) for name, tensor in ranker.items()}


def is_complete(folder: Path, expected: dict[str, torch.Tensor], whole: dict[str, bytes]) -> bool:
    saved = raw(folder)
    others = {name: content for name, content in files(folder).items() if name != "taskarith.json"}  # it has the times
    return others == whole and saved.keys() == expected.keys() and all(
        same_bits(saved[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_a_merge_killed_at_any_moment_is_absent_or_complete_and_the_next_run_succeeds(runs, expected, tmp_path):
    lasts = statistics.median(runs.finish(tmp_path / f"whole-{number}") for number in range(3))
    whole = files(tmp_path / "whole-0")
    del whole["taskarith.json"]
    assert len([name for name in whole if name.endswith(".safetensors")]) == 2
    chance, killed, writing = random.Random(0), 0, 0
    for number in range(4 * KILLS):
        target = tmp_path / f"killed-{number}"
        process = runs.begin(target)
        # One moment in each twentieth of the time, so that the start, the middle and the end are all hit.
        time.sleep(lasts * (killed + chance.random()) / KILLS)
        os.kill(process, signal.SIGKILL)
        if runs.end(process) == -signal.SIGKILL:
            killed += 1
        else:
            lasts *= 0.95  # it was over: the machine has more time for it than when it was timed
        writing += bool(left_behind(target))
        done = target.exists()
        assert not done or is_complete(target, expected, whole), number
        runs.finish(target)
        assert is_complete(target, expected, whole), number
        # Where the first run was killed after its folder was there, the next one had nothing to do, nor to tidy.
        left = [file for path in left_behind(target) for file in path.rglob("*")] if done else left_behind(target)
        assert not left, number
        if killed == KILLS:
            break
    # The moments hit something: the runs were killed, and many of them while they wrote.
    assert killed == KILLS and writing > KILLS // 4, (killed, writing)


@pytest.fixture
def stopped(runs, tmp_path):
    """A run that lives, stopped in the middle of writing `merged`, and its temporary folder."""
    process = runs.begin(tmp_path / "merged")
    for _ in range(10_000):
        found = [path for path in left_behind(tmp_path / "merged") if path.suffix == ".tmp"]
        if found and any(found[0].rglob("*.safetensors")):
            break
        time.sleep(0.001)
    os.kill(process, signal.SIGSTOP)
    return process, found[0]


@pytest.mark.slow
def test_the_files_of_a_run_that_lives_are_left_alone_and_both_runs_succeed(runs, expected, tmp_path, stopped):
    process, temporary = stopped
    before = sorted(files(temporary))
    runs.finish(tmp_path / "merged")
    assert sorted(files(temporary)) == before and before
    os.kill(process, signal.SIGCONT)
    assert runs.end(process) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "taskarith-home"] == ["merged"]
    saved = raw(tmp_path / "merged")
    assert all(same_bits(saved[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_what_a_killed_run_left_is_removed_by_the_next_run_on_that_target_alone(runs, tmp_path, stopped):
    process, temporary = stopped
    os.kill(process, signal.SIGKILL)
    assert runs.end(process) == -signal.SIGKILL and temporary.is_dir()
    others = [tmp_path / name for name in (".merged.notes.tmp", ".merged.0a.tmp.d", ".other.0123abcd.tmp",
                                           "merged.tmp")]
    for other in others:
        other.mkdir()
    runs.finish(tmp_path / "another")
    assert temporary.is_dir()
    runs.finish(tmp_path / "merged")
    assert not temporary.exists() and all(other.is_dir() for other in others)
