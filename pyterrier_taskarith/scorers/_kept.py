"""What the lower part of a module computed, kept for batches that come again while its weights stay."""

import hashlib
import threading
from collections.abc import Callable, Hashable, Mapping

import torch


class Kept:
    """Hidden states that enter a layer, by the batch they are of.

    A batch is known by its token ids and masks, so that what is given back was computed from the very same tensors.
    When the bytes are used up, further batches are computed anew each time; what is kept stays, because batches come
    again in the same order, and forgetting the oldest would forget each just before it is asked for.

    Attributes:
        side: Of the layer; see ``layer_of``.
        layer: Its number; layers from it on do not change what is kept.
        max_bytes: Bytes of hidden states, at most.
        bytes: What is kept now.
        reused: How many batches were not computed.
        computed: How many were.
    """

    def __init__(self, side: str, layer: int, max_bytes: int) -> None:
        self.side, self.layer, self.max_bytes = side, layer, max_bytes
        self.bytes = self.reused = self.computed = 0
        self._states: dict[bytes, torch.Tensor] = {}
        self._weights: Hashable = None
        self._lock = threading.Lock()

    def use(self, weights: Hashable) -> None:
        """States what names the weights below the layer; what others computed is forgotten."""
        with self._lock:
            if weights != self._weights:
                self._weights, self.bytes = weights, 0
                self._states.clear()

    def of(self, inputs: Mapping[str, torch.Tensor], compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Returns what ``compute`` returns for these inputs, computed at most once where it fits."""
        key = _key(inputs)
        with self._lock:
            found = self._states.get(key)
            self.reused += found is not None
        if found is not None:
            return found
        states = compute()
        with self._lock:
            self.computed += 1
            if key not in self._states and self.bytes + states.nbytes <= self.max_bytes:
                self._states[key] = states
                self.bytes += states.nbytes
        return states


def _key(inputs: Mapping[str, torch.Tensor]) -> bytes:
    whole = hashlib.blake2b(digest_size=16)
    for name, tensor in inputs.items():
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(tensor.cpu().numpy().tobytes())
    return whole.digest()
