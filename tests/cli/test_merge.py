"""`taskarith merge` writes what `Merge.save` writes, says what it did, and leaves nothing when it does not finish."""

import json
import re
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from pyterrier_taskarith import TaskVector
from tests.arithmetic.folders import copy_of
from tests.checkpoints.by_hand import parameters, raw, same_bits

ROLES = ("ranker", "domain", "base")


def by_hand(triple, alpha_of) -> dict[str, torch.Tensor]:
    """Θ' in float32, with the α that `alpha_of` gives a parameter."""
    ranker = parameters(triple.ranker)
    domain, base = (parameters(folder, prefix="bert.") for folder in (triple.domain, triple.base))
    return {name: torch.add(value, domain[name] - base[name], alpha=alpha_of(name)) if name in domain else value
            for name, value in ranker.items()}


def assert_saved(folder, expected) -> None:
    saved = raw(folder)
    assert set(saved) == set(expected)
    for name, value in expected.items():
        # The package adds pieces of a tensor, the test whole ones: a processor may fuse the one and not the other.
        torch.testing.assert_close(saved[name], value, rtol=2e-7, atol=1e-8)


def left_beside(folder) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.name not in (folder.name, "taskarith-home")]


def test_the_folder_holds_the_merge_and_the_text_says_so(triple, models, printed, tmp_path):
    out = tmp_path / "merged"
    status, text, err = printed("merge", *models, "--alpha", "0.7", "--out", out)
    assert status == 0 and err == ""
    assert_saved(out, by_hand(triple, lambda _: 0.7))
    recipe, summary, done = text.splitlines()
    assert recipe == f"Θ' = {triple.ranker} + 0.7·({triple.domain} − {triple.base})"
    assert re.match(r"\d+ of \d+ parameters merged; 2 kept \(absent from the task vector\); 5 of .* unused", summary)
    sizes = [sum(path.stat().st_size for path in folder.glob("*.safetensors"))
             for folder in (out, *(getattr(triple, role) for role in ROLES))]
    assert done.startswith(f"{out}: {sizes[0] / 1e6:.2f} MB of weights made of {sum(sizes[1:]) / 1e6:.2f} MB in ")
    seconds, speed = map(float, re.search(r"in ([\d.]+) s \(([\d.]+) GB/s\)\.$", done).groups())
    assert speed == pytest.approx(sum(sizes) / 1e9 / max(seconds, 0.005), abs=0.02, rel=0.5)
    assert left_beside(out) == []


def test_a_model_without_tokenizer_is_said(triple, printed, tmp_path):
    copied = copy_of(triple, tmp_path / "copied")
    for name in ("vocab.txt", "tokenizer.json"):
        (copied.base / name).unlink(missing_ok=True)
    status, text, _ = printed("merge", *(part for role in ROLES for part in (f"--{role}", getattr(copied, role))),
                              "--out", tmp_path / "merged")
    assert status == 0
    summary = text.splitlines()[1]
    assert summary.endswith(f"no tokenizer in Θ_0 {str(copied.base)!r}, so rows are matched by their index.")


def test_alpha_by_layers_and_sign(triple, models, printed, tmp_path):
    status, _, _ = printed("merge", *models, "--alpha", "-0.3", "--alpha", "layers 1=0.5", "--alpha", "embeddings=0",
                           "--out", tmp_path / "merged")
    assert status == 0
    assert_saved(tmp_path / "merged", by_hand(triple, lambda name: 0.5 if ".layer.1." in name else
                                              0.0 if name.startswith("embeddings.") else -0.3))


def test_several_vectors_are_added_one_after_the_other(triple, further, printed, tmp_path):
    status, _, _ = printed("merge", "--ranker", triple.ranker, "--vector", f"a={triple.domain},{triple.base}",
                           "--vector", f"b={further.domain},{further.base}", "--alpha", "a=0.5", "--alpha", "b=-0.25",
                           "--out", tmp_path / "merged")
    assert status == 0
    first = by_hand(triple, lambda _: 0.5)
    domain, base = (parameters(folder, prefix="bert.") for folder in (further.domain, further.base))
    assert_saved(tmp_path / "merged", {name: torch.add(value, domain[name] - base[name], alpha=-0.25)
                                       if name in domain else value for name, value in first.items()})


def test_dtype_and_shard_size_are_the_outputs(triple, models, printed, tmp_path):
    out = tmp_path / "merged"
    status, text, _ = printed("merge", *models, "--alpha", "0.7", "--dtype", "bfloat16", "--shard-size", "40KB",
                              "--out", out)
    assert status == 0
    shards = sorted(out.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    named = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    expected = by_hand(triple, lambda _: 0.7)
    for shard in shards:
        tensors = load_file(shard)
        assert set(tensors) == {name for name, file in named.items() if file == shard.name}
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 40_000
        for name, tensor in tensors.items():
            assert tensor.dtype == torch.bfloat16
            torch.testing.assert_close(tensor.float(), expected[name], rtol=2**-8, atol=1e-6)
    assert f"{sum(shard.stat().st_size for shard in shards) / 1e6:.2f} MB of weights" in text


def test_again_does_nothing_and_says_so(models, printed, tmp_path):
    out = tmp_path / "merged"
    assert printed("merge", *models, "--out", out)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}
    status, text, _ = printed("merge", *models, "--out", out)
    assert status == 0 and text.splitlines()[-1] == f"{out} holds this merge already."
    assert before == {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}


def test_another_merge_is_replaced_only_where_asked(triple, models, printed, tmp_path):
    out = tmp_path / "merged"
    printed("merge", *models, "--alpha", "0.5", "--out", out)
    status, _, err = printed("merge", *models, "--alpha", "0.7", "--out", out)
    assert status == 1 and len(err.splitlines()) == 1 and f"{out} holds another merge" in err
    assert err.endswith("Choose another folder, or replace it with --overwrite\n")
    assert_saved(out, by_hand(triple, lambda _: 0.5))
    status, text, _ = printed("merge", *models, "--alpha", "0.7", "--out", out, "--overwrite")
    assert status == 0 and "of weights made of" in text
    assert_saved(out, by_hand(triple, lambda _: 0.7))
    assert left_beside(out) == []


def test_a_saved_vector_gives_the_same_weights(triple, printed, tmp_path):
    path = TaskVector(triple.domain, triple.base).save(tmp_path / "bio.safetensors")
    status, _, _ = printed("merge", "--ranker", triple.ranker, "--vector", f"bio={path}", "--alpha", "0.7",
                           "--out", tmp_path / "merged")
    assert status == 0
    expected = by_hand(triple, lambda _: 0.7)
    assert_saved(tmp_path / "merged", expected)
    assert same_bits(raw(tmp_path / "merged")["pooler.dense.weight"], expected["pooler.dense.weight"])


@pytest.mark.parametrize("options, message", [
    (["--shard-size", "large"], "shard_size='large': give a positive number of bytes"),
    (["--layers", "7"], "selects no parameter"),
    (["--alpha", "0.5", "--alpha", "layers 99=1"], "alpha={'layers 99': 1} selects no parameter that is merged; these "
                                                   "layers are: embeddings, encoder.0-1"),
    (["--alpha", "inf"], "must be a finite real number"),
    (["--domain", "nowhere/at/all"], "no such folder or file"),
])
def test_what_the_user_can_mend_is_one_line_and_leaves_nothing(models, printed, tmp_path, options, message):
    out = tmp_path / "merged"
    status, _, err = printed("merge", *models, *options, "--out", out)
    assert status == 1
    assert err.startswith("taskarith: ") and len(err.splitlines()) == 1 and message in err
    assert not out.exists() and left_beside(out) == []


def test_a_target_that_is_something_else_is_left_alone(models, printed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("…")
    (tmp_path / "file").write_text("…")
    for name in ("mine", "file"):
        status, _, err = printed("merge", *models, "--out", tmp_path / name, "--overwrite")
        assert status == 1 and len(err.splitlines()) == 1 and f"{tmp_path / name} exists" in err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "…"


def test_a_place_that_cannot_be_written_is_one_line(models, printed):
    status, _, err = printed("merge", *models, "--out", "/proc/merged/here")
    assert status == 1 and err.startswith("taskarith: ") and len(err.splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_returns_130_and_leaves_nothing(models, tmp_path):
    """The signal comes when the weights are on their way to the disk."""
    out = tmp_path / "work" / "merged"
    out.parent.mkdir()
    script = (
        "import os, signal, sys, time\n"
        "from pyterrier_taskarith.cli import main\n"
        "real = os.fsync\n"
        "def fsync(file):\n"
        "    left = os.listdir(os.path.dirname(sys.argv[-1]))\n"
        "    assert any(name.endswith('.tmp') for name in left), left\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.5)\n"
        "    real(file)\n"
        "os.fsync = fsync\n"
        "sys.exit(main(sys.argv[1:]))\n")
    # Where the tests run in the background, the signal may be ignored, and children inherit that.
    done = subprocess.run([sys.executable, "-c", script, "merge", *models, "--out", str(out)], capture_output=True,
                          text=True, check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert done.returncode == 130, done.stderr
    assert done.stderr == "taskarith: interrupted\n"
    assert list(out.parent.iterdir()) == []
