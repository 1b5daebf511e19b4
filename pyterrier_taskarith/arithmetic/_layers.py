"""Which layers of a model: "0-5,11", "encoder.0-2", "embeddings", "not 3"."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyterrier_taskarith.checkpoints import layer_of
from pyterrier_taskarith.errors import MergeError

_PART = re.compile(r"^(?:(encoder|decoder)\.)?(\d+)(?:-(\d+))?$")
_PLACES = ("embeddings", "head", "other")
_NOT = "not "


@dataclass(frozen=True)
class Layers:
    """A set of layers, by number and never by substring: layer 1 is not layer 11.

    Attributes:
        text: Comma-separated parts: a layer ``3``, a range ``0-5`` (both ends in), either of them on one side of an
            encoder-decoder (``decoder.0-5``), or a place outside the layers: ``embeddings``, ``head``, ``other``.
            ``layer`` or ``layers`` may stand before it; ``not`` before it means everything else.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", str(self.text).strip())
        for part in self.parts:
            match = _PART.match(part)
            if part not in _PLACES and (match is None or (match[3] and int(match[3]) < int(match[2]))):
                raise MergeError(f"layers={self.text!r}: {part!r} is no layer; write '3', '0-5', 'decoder.0-5', or one "
                                 f"of {', '.join(_PLACES)}, separated by commas; 'not ' before it for all others")

    @property
    def parts(self) -> list[str]:
        """What is listed, without the words before it."""
        listed = re.sub(r"^layers? ", "", self.text.removeprefix(_NOT).strip())
        return [part.strip() for part in listed.split(",")]

    def __contains__(self, name: str) -> bool:
        """Returns whether a canonical parameter name lies in these layers."""
        return self._listed(name) != self.text.startswith(_NOT)

    def _listed(self, name: str) -> bool:
        side, number = layer_of(name)
        for part in self.parts:
            match = _PART.match(part)
            if match is None or number is None:
                found = number is None and side == part
            else:
                found = match[1] in (None, side) and int(match[2]) <= number <= int(match[3] or match[2])
            if found:
                return True
        return False


def layers_in_words(names: Iterable[str]) -> str:
    """Returns the layers of some parameters as they are written: "embeddings, encoder.0-11, decoder.0-11".

    Args:
        names: Canonical names.
    """
    found: dict[str, set[int]] = {}
    for side, number in map(layer_of, names):
        found.setdefault(side, set()).update([] if number is None else [number])
    return ", ".join(".".join(filter(None, (side, part)))
                     for side, numbers in sorted(found.items()) for part in _ranges(sorted(numbers)) or [""])


def _ranges(numbers: list[int]) -> list[str]:
    """Returns "0-5" for numbers that follow each other, and the number for one alone."""
    ends: list[tuple[int, int]] = []
    for number in numbers:
        ends = [*ends[:-1], (ends[-1][0], number)] if ends and number == ends[-1][1] + 1 else [*ends, (number, number)]
    return [f"{first}-{last}" if first < last else str(first) for first, last in ends]
