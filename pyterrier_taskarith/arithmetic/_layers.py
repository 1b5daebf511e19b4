"""Which layers of a model: "0-5,11", "encoder.0-2", "embeddings", "not 3"."""

import re
from dataclasses import dataclass

from pyterrier_taskarith.arithmetic._errors import MergeError
from pyterrier_taskarith.checkpoints import layer_of

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
        for part in self._parts:
            match = _PART.match(part)
            if part not in _PLACES and (match is None or (match[3] and int(match[3]) < int(match[2]))):
                raise MergeError(f"layers={self.text!r}: {part!r} is no layer; write '3', '0-5', 'decoder.0-5', or one "
                                 f"of {', '.join(_PLACES)}, separated by commas; 'not ' before it for all others")

    @property
    def _parts(self) -> list[str]:
        listed = re.sub(r"^layers? ", "", self.text.removeprefix(_NOT).strip())
        return [part.strip() for part in listed.split(",")]

    def __contains__(self, name: str) -> bool:
        """Returns whether a canonical parameter name lies in these layers."""
        return self._listed(name) != self.text.startswith(_NOT)

    def _listed(self, name: str) -> bool:
        side, number = layer_of(name)
        for part in self._parts:
            match = _PART.match(part)
            if match is None or number is None:
                found = number is None and side == part
            else:
                found = match[1] in (None, side) and int(match[2]) <= number <= int(match[3] or match[2])
            if found:
                return True
        return False
