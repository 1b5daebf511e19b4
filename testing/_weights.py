"""Random weights that depend on seed, role and parameter name alone, drawn when they are written.

Parameters are known by shape first (from the model class on the meta device), so a model larger than memory can be
written shard by shard, and neither the order of the draws nor the version of transformers changes a value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from testing._folders import Role

# How far Θ_D and Θ_T lie from Θ_0, in units of each parameter's own spread: far enough that rankings differ.
DRIFT = 0.2

Shapes = Mapping[str, tuple[int, ...]]
Spread = Callable[[str, tuple[int, ...]], tuple[float, float]]

__all__ = ["LazyTensor", "Shapes", "Spread", "parameter_shapes", "random_tensor"]


@dataclass(frozen=True)
class LazyTensor:
    """A tensor of known shape and dtype that is computed when it is written.

    Attributes:
        shape: its shape.
        dtype: its dtype.
        make: computes it; two calls give equal tensors that share no memory.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], torch.Tensor]

    @property
    def nbytes(self) -> int:
        """The bytes it takes in a file."""
        return prod(self.shape) * self.dtype.itemsize


def parameter_shapes(class_name: str, config: Mapping[str, Any]) -> Shapes:
    """Returns name and shape of everything in the state dict of a transformers class, tied names included.

    Args:
        class_name: such as "BertForMaskedLM".
        config: the content of config.json.
    """
    import transformers  # seconds to import, and reading the tokenizers' module does not need it

    model_class = getattr(transformers, class_name)
    with torch.device("meta"):
        model = model_class(model_class.config_class.from_dict(dict(config)))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _normal(seed: int, role: Role, name: str, shape: tuple[int, ...]) -> np.ndarray:
    # NumPy's generator gives the same numbers on every processor; torch's vectorised one does not promise that.
    digest = hashlib.sha256(f"{seed}/{role}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest)).standard_normal(shape, dtype=np.float32)


def random_tensor(name: str, shape: tuple[int, ...], *, role: Role, dtype: torch.dtype, spread: Spread,
                  seed: int) -> LazyTensor:
    """Returns a parameter of Θ_0, or that parameter moved a little for Θ_D or Θ_T.

    Args:
        name: the bare name, the same in all three folders however their files spell it.
        shape: its shape.
        role: whose parameter; "base" is the random start that the other two move away from.
        dtype: what it is rounded to after drawing and moving in float32.
        spread: gives mean and standard deviation for a name and shape.
        seed: of the triple.
    """
    mean, deviation = spread(name, shape)

    def make() -> torch.Tensor:
        values = np.float32(deviation) * _normal(seed, "base", name, shape)
        if role != "base":
            values += np.float32(DRIFT * deviation) * _normal(seed, role, name, shape)
        return torch.from_numpy(values + np.float32(mean)).to(dtype)

    return LazyTensor(shape, dtype, make)
