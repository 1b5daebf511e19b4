"""A memory bounded by bytes, least recently used first out; safe to share between threads."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


def digest(text: str) -> bytes:
    """Returns 16 bytes that stand for a text in a key, so that a memo does not keep the text itself."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Memo(Generic[Value]):
    """Key -> value, as long as the values' bytes fit."""

    def __init__(self, max_bytes: int, entry_overhead: int = 370) -> None:
        """Makes an empty memo.

        Args:
            max_bytes: What all entries together may take.
            entry_overhead: Bytes counted for an entry beside ``size`` (key, node, object headers); measured.
        """
        self.max_bytes, self.entry_overhead = max_bytes, entry_overhead
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Returns the value and marks it as used, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keeps a value of ``size`` bytes; the longest unused ones make room."""
        size += self.entry_overhead
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self._bytes -= old[1]
            self._entries[key] = value, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._bytes -= freed

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self._bytes = 0
