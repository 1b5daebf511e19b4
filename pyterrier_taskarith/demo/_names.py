"""Names of docstrings: the shortest public one, the others, and what a name means where it is written."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# A docstring's number and a container's, either may be None, and whether the name is inherited or re-exported.
Member = Sequence[int | None]
Members = dict[str, Member]
Rank = tuple[int, bool, int, str]


@dataclass(frozen=True)
class Resolution:
    """What a name in a docstring means.

    Attributes:
        texts: Numbers of the docstrings it may mean: one if it is resolved, several if it is ambiguous, none if there
            is no such name or what it names has no docstring.
        exists: Whether there is such a name.
    """

    texts: frozenset[int]
    exists: bool


class Names:
    """The names of an inventory's docstrings (see `_docstrings.Inventory`).

    Args:
        roots: Package name to the number of its container.
        containers: For each container, its members: name to (number of the docstring, number of the container).
        imports: The same for what it merely imports: understood where it is written, but no name of a docstring.
        texts: How many docstrings there are.
    """

    def __init__(
        self, roots: dict[str, int], containers: Sequence[Members], imports: Sequence[Members], texts: int
    ) -> None:
        self._roots = roots
        self._containers = containers
        self._imports = imports
        ranks: list[set[Rank]] = [set() for _ in range(texts)]
        for number, container_name in enumerate(self._container_names()):
            for name, (text, _, borrowed) in containers[number].items():
                if text is not None:
                    ranks[text].add(_rank(f"{container_name}.{name}", bool(borrowed)))
        self._ranks = ranks

    def of(self, *texts: int) -> list[str]:
        """All names of a docstring, or of several, the best first.

        That is the name with the fewest parts, then one that is not inherited or re-exported, then the shortest.
        """
        return [name for *_, name in sorted(rank for text in texts for rank in self._ranks[text])]

    def resolve(self, name: str, text: int) -> Resolution:
        """What a name written in a docstring means.

        It is looked up as Sphinx does: from the class, the modules and the package around the place where it is
        written, the nearest first, and then as an absolute name. A docstring that stands under several names is read at
        its best name; if the name leads nowhere from there, at all of its other places.
        """
        best, *others = self.of(text)
        found, exists = self._look_around(name, best)
        if found is not None:
            return Resolution(frozenset([found]), True)
        elsewhere = [self._look_around(name, place) for place in others]
        hits = frozenset(hit for hit, _ in elsewhere if hit is not None)
        return Resolution(hits, exists or any(seen for _, seen in elsewhere))

    def _look_around(self, name: str, place: str) -> tuple[int | None, bool]:
        exists = False
        for scope in _scopes(place):
            member = self._get(f"{scope}.{name}" if scope else name)
            if member is not None:
                exists = True
                if member[0] is not None:
                    return member[0], True
        return None, exists

    def _get(self, name: str) -> Member | None:
        """Attribute access from a package on; None where a name leads nowhere."""
        root, *path = name.split(".")
        member: Member | None = (None, self._roots[root]) if root in self._roots else None
        for part in path:
            if member is None or member[1] is None:
                return None
            member = self._containers[member[1]].get(part) or self._imports[member[1]].get(part)
        return member

    def _container_names(self) -> list[str]:
        """The best name of each container."""
        names: dict[int, str] = {}
        queue = [(_rank(name, False), number) for name, number in self._roots.items()]
        heapq.heapify(queue)
        while queue:
            (*_, name), number = heapq.heappop(queue)
            if number in names:
                continue
            names[number] = name
            for part, (_, child, borrowed) in self._containers[number].items():
                if child is not None and child not in names:
                    heapq.heappush(queue, (_rank(f"{name}.{part}", bool(borrowed)), child))
        return [names[number] for number in range(len(self._containers))]


def _rank(name: str, borrowed: bool) -> Rank:
    return name.count("."), borrowed, len(name), name


def _scopes(place: str) -> Iterator[str]:
    """The scopes around a qualified name, the innermost first, and the empty one."""
    while place:
        place = place.rpartition(".")[0]
        yield place
