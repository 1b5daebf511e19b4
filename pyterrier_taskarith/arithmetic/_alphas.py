"""Layers of a model ("0-5,11", "encoder.0-2", "not 3"), and α: one number, or one for each group of layers."""

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyterrier_taskarith.errors import MergeError
from pyterrier_taskarith.families import layer_of

#: The key of the α of every layer that no other key selects.
DEFAULT = "default"
_PART = re.compile(r"^(?:(encoder|decoder)\.)?(\d+)(?:-(\d+))?$")
_OUTSIDE = ("embeddings", "head", "other")
_NOT = "not "


@dataclass(frozen=True)
class Layers:
    """A set of layers, by number and never by substring: layer 1 is not layer 11.

    Attributes:
        text: Comma-separated parts: a layer ``3``, a range ``0-5`` (both ends in), either of them on one side of an
            encoder-decoder (``decoder.0-5``), or a part outside the layers: ``embeddings``, ``head``, ``other``.
            ``layer`` or ``layers`` may stand before it; ``not`` before it means everything else.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", str(self.text).strip())
        for part in self.parts:
            match = _PART.match(part)
            if part not in _OUTSIDE and (match is None or (match[3] and int(match[3]) < int(match[2]))):
                raise MergeError(f"layers={self.text!r}: {part!r} is not a layer; write '3', '0-5', 'decoder.0-5', or "
                                 f"one of {', '.join(_OUTSIDE)}, separated by commas; 'not ' before it for all others")

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


@dataclass(frozen=True)
class LayerAlphas:
    """A scaling factor for each group of layers.

    Attributes:
        default: α of the parameters that no group selects.
        groups: (layers, α); a parameter may be in one of them at most.
    """

    default: float
    groups: tuple[tuple[Layers, float], ...]

    def of(self, name: str) -> float:
        """Returns α of a parameter, by its canonical name.

        Raises:
            MergeError: If two groups select it.
        """
        found = [(layers, alpha) for layers, alpha in self.groups if name in layers]
        if len(found) > 1:
            raise MergeError(f"alpha names {name!r} twice: in {found[0][0].text!r} and in {found[1][0].text!r}")
        return found[0][1] if found else self.default

    def check(self, names: Iterable[str]) -> None:
        """Refuses groups that overlap, or of which a part selects none of the parameters that are merged.

        Args:
            names: Canonical names of the parameters that are merged.

        Raises:
            MergeError: Naming the group, and the layers that there are.
        """
        names = list(names)
        for name in names:
            self.of(name)
        for layers, alpha in self.groups:
            absent = [part for part in layers.parts if not any(name in Layers(part) for name in names)]
            if absent or not any(name in layers for name in names):
                part = f" in {absent[0]!r}" if absent and len(layers.parts) > 1 else ""
                raise MergeError(f"alpha={{{layers.text!r}: {alpha:g}}} selects no parameter that is merged{part}; "
                                 f"these layers are: {layers_in_words(names)}")

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 everywhere."""
        return self.default == 0 and all(alpha == 0 for _, alpha in self.groups)

    def to_dict(self) -> dict[str, float]:
        """Returns it as it is written: ``{"default": 0.7, "layers 8-11": 1.0}``."""
        return {DEFAULT: self.default, **{layers.text: alpha for layers, alpha in self.groups}}

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key}: {alpha!r}" for key, alpha in self.to_dict().items()) + "}"


Alpha = float | LayerAlphas


def as_alpha(value: object, of: str = "") -> Alpha:
    """Returns a checked α.

    Args:
        value: A finite real number (NumPy's too), or a mapping of layers to such numbers with a ``default``:
            ``{"default": 0.7, "layers 8-11": 1.0, "embeddings": 0}``.
        of: The vector whose α it is, for an error.

    Raises:
        MergeError: If it is neither.
    """
    where = f"alpha{f' of {of}' if of else ''}"
    if isinstance(value, LayerAlphas):
        return value
    if isinstance(value, Mapping):
        if DEFAULT not in value:
            raise MergeError(f"{where} is {dict(value)}: give the α of all other layers too, as 'default'")
        numbers_of = {str(key): _real(alpha, f"{where}, {key!r},") for key, alpha in value.items()}
        default = numbers_of.pop(DEFAULT)
        if not numbers_of:
            return default
        return LayerAlphas(default, tuple((Layers(key), alpha) for key, alpha in numbers_of.items()))
    return _real(value, where)


def alpha_of(alpha: Alpha, name: str) -> float:
    """Returns the number that applies to a parameter."""
    return alpha.of(name) if isinstance(alpha, LayerAlphas) else alpha


def is_zero(alpha: Alpha) -> bool:
    """Returns whether α adds nothing to any parameter."""
    return alpha.is_zero if isinstance(alpha, LayerAlphas) else alpha == 0


def _real(value: object, where: str) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(float(value)):
        raise MergeError(f"{where} is {value!r}: it must be a finite real number")
    return float(value)
