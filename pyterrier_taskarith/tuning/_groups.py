"""Groups of layers, each with an α of its own: the embeddings and each layer, thirds, or what the caller names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyterrier_taskarith.arithmetic import DEFAULT, Alpha, LayerAlphas, Layers, MergePlan, alpha_of
from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.families import layer_of
from pyterrier_taskarith.reranker import TaskArithReranker

#: Groups by a word: the embeddings and each layer; or the embeddings and, of an encoder-decoder on each side, thirds of
#: the layers, lowest first.
PARTITIONS = ("layers", "thirds")
#: A word of :data:`PARTITIONS`; layers as :class:`Layers` writes them, one entry a group; or such layers by name.
Groups = str | Sequence[str] | Mapping[str, str]
#: A side and a number, as ``layer_of`` returns them.
LayerNumber = tuple[str, int]


@dataclass(frozen=True)
class Group:
    """Layers that share an α.

    Attributes:
        label: What it is called.
        layers: Which layers.
        parameters: The merged parameters in them.
        vectors: The task vectors that are added to at least one of them.
    """

    label: str
    layers: Layers
    parameters: tuple[str, ...]
    vectors: tuple[str, ...]

    @property
    def first(self) -> LayerNumber | None:
        """The lowest layer in it, the encoder's before the decoder's; None where it has more than layers."""
        layers = [layer_of(name) for name in self.parameters]
        if any(number is None for _, number in layers):
            return None
        lowest = min(layers, key=lambda layer: (layer[0] == "decoder", layer[1]))
        return lowest[0], int(lowest[1] or 0)


@dataclass(frozen=True)
class LayerGroups:
    """All groups, and what is in none.

    Attributes:
        groups: In the order given, or the model's.
        rest: Merged parameters in no group: their α is the default.
        vectors: Names of the re-ranker's task vectors.
    """

    groups: tuple[Group, ...]
    rest: tuple[str, ...]
    vectors: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        """The layers of each group, as they are written."""
        return [group.layers.text for group in self.groups]

    @property
    def from_the_top(self) -> list[int]:
        """Indices of the groups, the one whose lowest layer is highest first; those with more than layers last."""
        def height(index: int) -> tuple[bool, bool, int]:
            side, number = self.groups[index].first or ("", -1)
            return number >= 0, side == "decoder", number

        return sorted(range(len(self.groups)), key=height, reverse=True)

    def alpha(self, values: Mapping[str, Sequence[float]]) -> Any:
        """Returns α as a re-ranker takes it; a number where all values are equal.

        Args:
            values: Vector -> the default α, then one for each group. What a vector is not added to has none.
        """
        written: dict[str, float | dict[str, float]] = {}
        for vector, (default, *alphas) in values.items():
            of_groups = {group.layers.text: alpha for group, alpha in zip(self.groups, alphas, strict=True)
                         if vector in group.vectors}
            written[vector] = default if {default} == {default, *alphas} else {DEFAULT: default, **of_groups}
        return written if len(written) > 1 else next(iter(written.values()))

    def values(self, alpha: Alpha) -> tuple[float, ...]:
        """Returns the default α, then the one of each group.

        Raises:
            ValueError: If α by layers is not the same within a group, or names layers without a merged parameter.
        """
        if isinstance(alpha, LayerAlphas):
            alpha.check([*self.rest, *(name for group in self.groups for name in group.parameters)])
        default = alpha.default if isinstance(alpha, LayerAlphas) else alpha
        parts = [("the parameters in no group", self.rest), *((f"group {group.label!r}", group.parameters)
                                                             for group in self.groups)]
        found = []
        for label, names in parts:
            alphas = {alpha_of(alpha, name) for name in names} or {default}
            if len(alphas) > 1:
                raise TaskArithError(f"α is {alpha}, which has several values in {label}: {sorted(alphas)}")
            found.append(alphas.pop())
        return tuple(found)


def layer_groups(reranker: TaskArithReranker, groups: Groups) -> LayerGroups:
    """Reads groups of a re-ranker's layers.

    Args:
        reranker: Whose layers they are.
        groups: "layers", "thirds", a list of layers, or layers by name.

    Raises:
        ValueError: If the word is unknown, there is no group, a parameter is in two, or a group has no parameter that
            is merged.
        MergeError: If layers are not written as :class:`Layers` demands.
    """
    plan = reranker.plan
    if isinstance(groups, str):
        if groups not in PARTITIONS:
            raise TaskArithError(f"groups={groups!r}: choose one of {', '.join(map(repr, PARTITIONS))}, or give a list "
                                 "of layers, such as ['embeddings', '0-5', '6-11'], or such layers by name")
        texts = _partition(plan, thirds=groups == "thirds")
        named = dict(zip(texts, texts, strict=True))
    else:
        given = list(groups.items()) if isinstance(groups, Mapping) else [(text, text) for text in groups]
        named = {str(label): str(text) for label, text in given}
        if not named or len(named) < len(given):
            raise TaskArithError(f"groups={groups!r}: give at least one group, and each once")
    found = tuple(_group(plan, label, Layers(text)) for label, text in named.items())
    empty = [group.label for group in found if not group.parameters]
    if empty:
        others = [group.layers.text for group in found if group.parameters]
        raise TaskArithError(f"no parameter is merged in the groups {empty}: the model has no such layers, or the task "
                             f"vector leaves them out{f'; give groups={others}' if others else ''} (the merge plan "
                             "lists every parameter: print(reranker.plan))")
    for name in plan.merged:
        within = [group.label for group in found if name in group.layers]
        if len(within) > 1:
            raise TaskArithError(f"parameter {name!r} is in the groups {within}: give it to one of them")
    covered = {name for group in found for name in group.parameters}
    rest = tuple(entry.name for entry in plan.entries if entry.merged and entry.name not in covered)
    return LayerGroups(found, rest, tuple(plan.vectors))


def _group(plan: MergePlan, label: str, layers: Layers) -> Group:
    names = tuple(entry.name for entry in plan.entries if entry.merged and entry.name in layers)
    found = {vector for name in names for vector, _ in plan.terms(name)}
    return Group(label, layers, names, tuple(vector for vector in plan.vectors if vector in found))


def _partition(plan: MergePlan, *, thirds: bool) -> list[str]:
    """Returns the embeddings, then the layers of each side, lowest first."""
    sides: dict[str, set[int]] = {}
    for side, number in (layer_of(entry.name) for entry in plan.entries):
        if number is not None:
            sides.setdefault(side, set()).add(number)
    texts = ["embeddings"]
    for side in sorted(sides, key=lambda side: side == "decoder"):
        prefix = f"{side}." if len(sides) > 1 else ""
        numbers = sorted(sides[side])
        parts: Iterable[Any] = np.array_split(numbers, 3) if thirds else [[number] for number in numbers]
        texts += [prefix + (f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}") for part in parts if len(part)]
    return texts
