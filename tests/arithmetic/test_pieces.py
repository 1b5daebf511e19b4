"""Pieces of a parameter are, to the last bit, pieces of torch.add on the whole tensors."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from pyterrier_taskarith.arithmetic import MergeError, _pieces, _tensors
from pyterrier_taskarith.arithmetic._pieces import Addend, OutputTensor, all_finite
from pyterrier_taskarith.arithmetic._tensors import InFile, InMemory, OpenFiles
from pyterrier_taskarith.checkpoints import RowMatch
from tests.checkpoints.by_hand import same_bits

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@pytest.fixture
def on_disk(tmp_path):
    """Puts a tensor into a file, not at its start and not where an element would be aligned."""
    with OpenFiles() as files:
        def put(tensor: torch.Tensor) -> InFile:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.raw"
            path.write_bytes(b"7" * 13 + tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            return InFile(path, files, 13, tensor.dtype)

        yield put


def values(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def whole(wanted: OutputTensor) -> torch.Tensor:
    """All pieces, each taken out of the buffers before the next."""
    return torch.cat([wanted.compute(start, count).clone() for start, count in wanted.pieces()])


@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_every_dtype_is_added_in_float32_and_rounded_once(on_disk, stored, out):
    ranker, domain, base = (values(3001, dtype=stored, seed=seed) for seed in range(3))
    expected = torch.add(ranker.float(), domain.float() - base.float(), alpha=0.7).to(out)
    wanted = OutputTensor(on_disk(ranker), (Addend(0.7, on_disk(domain), on_disk(base)),), 3001, 1, out)
    assert same_bits(whole(wanted), expected)


@pytest.mark.parametrize("alpha", [0.7, -0.3, 1 / 3, 1.0])
@pytest.mark.parametrize("piece", [1, 3, 16, 17, 1000, 2**15])
def test_no_length_of_a_piece_changes_a_bit(monkeypatch, piece, alpha):
    # Vectorised loops have tails; on some processors those could round otherwise.
    monkeypatch.setattr(_pieces, "PIECE", piece)
    count = min(40 * piece + 7, 70_001)
    ranker, domain, base = (values(count, seed=seed) for seed in range(3))
    wanted = OutputTensor(InMemory(ranker), (Addend(alpha, InMemory(domain), InMemory(base)),), count, 1, torch.float32)
    assert same_bits(whole(wanted), torch.add(ranker, domain - base, alpha=alpha))


def test_terms_are_added_one_after_the_other(on_disk):
    ranker, *others = (values(500, seed=seed) for seed in range(5))
    addends = (Addend(0.7, *map(on_disk, others[:2])), Addend(-2.5, *map(on_disk, others[2:])))
    wanted = OutputTensor(on_disk(ranker), addends, 500, 1, torch.bfloat16)
    first = torch.add(ranker, others[0] - others[1], alpha=0.7)
    assert same_bits(whole(wanted), torch.add(first, others[2] - others[3], alpha=-2.5).bfloat16())


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64, torch.bool, torch.uint8])
def test_what_nothing_is_added_to_keeps_its_bits(on_disk, dtype):
    tensor = (values(999) * 3).to(dtype)
    if dtype.is_floating_point:
        tensor[:3] = torch.tensor([-0.0, 2**-24, float("nan")])
    assert same_bits(whole(OutputTensor(on_disk(tensor), (), 999, 1, dtype)), tensor)


def test_what_nothing_is_added_to_is_rounded_once_from_its_own_dtype(on_disk):
    tensor = values(999, dtype=torch.float64)
    assert same_bits(whole(OutputTensor(on_disk(tensor), (), 999, 1, torch.float16)), tensor.half())


@pytest.mark.parametrize("width", [1, 5, 64])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_rows_are_added_where_the_token_is_the_same(monkeypatch, on_disk, stored, width):
    monkeypatch.setattr(_pieces, "PIECE", 7 * width + 3)  # cuts fall inside runs of neighbours
    chance = np.random.default_rng(width)
    ours = np.sort(chance.permutation(100)[:80])
    domain_rows, base_rows = chance.permutation(90)[:80], np.arange(3, 83)
    ranker, domain, base = (values(rows, width, dtype=stored, seed=rows) for rows in (100, 90, 95))
    order = np.arange(80)
    rows = (RowMatch(ours, order), RowMatch(domain_rows, base_rows))
    addend = Addend(0.7, on_disk(domain), on_disk(base), *rows)
    wanted = OutputTensor(on_disk(ranker), (addend,), 100 * width, width, stored)
    expected = ranker.float()
    for our, of_domain, of_base in zip(ours, domain_rows, base_rows, strict=True):
        expected[our] = torch.add(expected[our], domain[of_domain].float() - base[of_base].float(), alpha=0.7)
    assert same_bits(whole(wanted).view(100, width), expected.to(stored))


def test_a_piece_without_a_matching_row_is_the_rankers(monkeypatch):
    monkeypatch.setattr(_pieces, "PIECE", 8)
    ranker, domain, base = (values(20, 4, seed=seed) for seed in range(3))
    rows = (RowMatch(np.array([0, 19]), np.array([0, 1])), RowMatch(np.array([5, 6]), np.array([7, 8])))
    flat = [InMemory(tensor.reshape(-1)) for tensor in (ranker, domain, base)]
    made = whole(OutputTensor(flat[0], (Addend(1.0, *flat[1:], *rows),), 80, 4, torch.float32)).view(20, 4)
    assert same_bits(made[1:19], ranker[1:19]) and not torch.equal(made[0], ranker[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_seen(dtype, bad):
    tensor = values(5000, dtype=dtype)
    assert all_finite(tensor)
    tensor[4321] = bad
    assert not all_finite(tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_large_values_whose_sum_overflows_are_finite(dtype):
    assert all_finite(torch.full((5000,), torch.finfo(dtype).max, dtype=dtype))


def test_a_file_that_ends_too_early_is_named(tmp_path):
    path = tmp_path / "short.raw"
    path.write_bytes(bytes(39))
    with OpenFiles() as files, pytest.raises(MergeError, match=r"short\.raw ends at byte 39"):
        InFile(path, files, 0, torch.float32).read(0, torch.empty(10))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(_tensors, "MOST_OPEN", 3)
    sources, opened = [], 0
    with OpenFiles() as files:
        for number in range(10):
            path = tmp_path / f"{number}.raw"
            path.write_bytes(bytes([number]) * 40)
            sources.append(InFile(path, files, 0, torch.uint8))
        for _ in range(2):
            for number, source in enumerate(sources):
                source.read(0, out := torch.empty(40, dtype=torch.uint8))
                assert out.tolist() == [number] * 40
                opened = max(opened, _open_under(tmp_path))
    assert opened == 3 and _open_under(tmp_path) == 0


def _open_under(folder: Path) -> int:
    """Returns how many files of a folder this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
    return found



def test_reads_that_come_in_parts_are_put_together(on_disk, monkeypatch):
    tensor, true = values(1000), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: true(file, [buffers[0][:100]], at))
    assert same_bits(whole(OutputTensor(on_disk(tensor), (), 1000, 1, torch.float32)), tensor)
