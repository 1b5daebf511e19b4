"""Parameters of a loaded module set from files, a piece at a time: no other copy of them is ever in memory."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from pyterrier_taskarith._parallel import run_parallel
from pyterrier_taskarith.arithmetic._addition import Step
from pyterrier_taskarith.arithmetic._pieces import OutputTensor, all_finite, output_tensor
from pyterrier_taskarith.arithmetic._tensors import OpenFiles
from pyterrier_taskarith.checkpoints import Checkpoint


def stream(checkpoint: Checkpoint, parameters: Mapping[str, torch.Tensor],
           steps: Callable[[str], list[Step]] = lambda name: []) -> list[str]:
    """Sets parameters to a checkpoint's values with a merge's steps added, in float32, rounded once.

    Args:
        checkpoint: Θ_T, or any other whose values are wanted.
        parameters: Canonical name -> tensor to fill, of any dtype and on any device.
        steps: What is added to a parameter, in order.

    Returns:
        The names that are not set: what must be computed on whole tensors, what has a value that is not finite, and
        what has another shape.
    """
    left: dict[str, None] = {}
    with OpenFiles() as files:
        sums: list[tuple[str, OutputTensor]] = []
        for name, parameter in parameters.items():
            added = steps(name)
            wanted = output_tensor(checkpoint, name, added, torch.float32 if added else checkpoint.dtype(name),
                                   files.parameter)
            if wanted is not None and parameter.is_contiguous() and tuple(parameter.shape) == checkpoint.shapes[name]:
                sums.append((name, wanted))
            else:
                left[name] = None

        def set_piece(name: str, wanted: OutputTensor, start: int, count: int) -> None:
            made = wanted.compute(start, count)
            if not all_finite(made):
                left[name] = None
            parameters[name].detach().view(-1)[start:start + count].copy_(made)

        def jobs() -> Iterator[Callable[[], None]]:
            for name, wanted in sums:
                for start, count in wanted.pieces():
                    yield partial(set_piece, name, wanted, start, count)

        run_parallel(jobs())
    return list(left)
