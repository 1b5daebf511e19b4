"""Living parameters set from files, a piece at a time: no model is ever in memory beside the living one."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from pyterrier_taskarith._parallel import run_parallel
from pyterrier_taskarith.arithmetic._chunks import Sum, all_finite, compute, scratch
from pyterrier_taskarith.arithmetic._plan import Step
from pyterrier_taskarith.arithmetic._sources import Sources
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
    with Sources() as sources:
        sums: list[tuple[str, Sum]] = []
        for name, parameter in parameters.items():
            added = steps(name)
            wanted = sources.sum(checkpoint, name, added, torch.float32 if added else checkpoint.dtype(name))
            if wanted is not None and parameter.is_contiguous() and tuple(parameter.shape) == checkpoint.shapes[name]:
                sums.append((name, wanted))
            else:
                left[name] = None

        def set_piece(name: str, wanted: Sum, start: int, count: int) -> None:
            made = compute(wanted, start, count, scratch())
            if not all_finite(made):
                left[name] = None
            parameters[name].detach().view(-1)[start:start + count].copy_(made)

        def jobs() -> Iterator[Callable[[], None]]:
            for name, wanted in sums:
                for start, count in wanted.pieces():
                    yield partial(set_piece, name, wanted, start, count)

        run_parallel(jobs())
    return list(left)
