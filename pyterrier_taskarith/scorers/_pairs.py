"""Two texts as one input, joined as the tokenizer joins them but from the token ids of each text alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

#: One input: token ids, and token types or None where the tokenizer gives none; 1-d integer arrays of equal length.
Row = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class PairTemplate:
    """What a tokenizer puts around two texts, and which token types it gives.

    Attributes:
        special: Token ids before, between and after the texts.
        types: Token type of each of the five parts (before, first text, between, second text, after), or None.
        cut_left: Whether a text that is too long loses its first tokens instead of its last.
    """

    special: tuple[np.ndarray, np.ndarray, np.ndarray]
    types: tuple[int, ...] | None
    cut_left: bool

    def join(self, first: np.ndarray, second: np.ndarray, kept: tuple[int, int]) -> Row:
        """Returns the pair, with as many tokens of both texts as are kept."""
        first, second = self._cut(first, kept[0]), self._cut(second, kept[1])
        before, between, after = self.special
        parts = (before, first, between, second, after)
        return np.concatenate(parts), None if self.types is None else np.repeat(
            self.types, [len(part) for part in parts])

    def _cut(self, ids: np.ndarray, count: int) -> np.ndarray:
        return ids[len(ids) - count:] if self.cut_left else ids[:count]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Returns how many tokens of two texts are kept: the longer one is cut first, as the tokenizers library does.

    Where both must be cut to half of an odd room, the longer one keeps one more; the second, if they are as long.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (shorter, longer) if first <= second else (longer, shorter)


def pair_template(tokenizer: Any) -> PairTemplate | None:  # noqa: ANN401 - transformers' tokenizers share no public base
    """Reads the template off a pair that the tokenizer has joined.

    Returns:
        None where the pair does not show it: the tokenizer is slow, or does more than to put tokens around the texts.
    """
    if not tokenizer.is_fast:
        return None
    joined = tokenizer("a", "b")
    of, ids = joined.sequence_ids(0), np.asarray(joined["input_ids"], dtype=np.int32)
    places = [[place for place, text in enumerate(of) if text == number] for number in (0, 1)]
    if not all(places):
        return None
    bounds = [0, *(bound for found in places for bound in (found[0], found[-1] + 1)), len(of)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    types = None
    if "token_type_ids" in joined:
        types = tuple((joined["token_type_ids"][part] or [0])[0] for part in parts)
    template = PairTemplate((ids[parts[0]], ids[parts[2]], ids[parts[4]]), types, tokenizer.truncation_side == "left")
    apart = [np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32) for text in "ab"]
    rejoined, given = template.join(apart[0], apart[1], (len(apart[0]), len(apart[1])))
    same = rejoined.tolist() == ids.tolist() and (given is None or given.tolist() == joined["token_type_ids"])
    return template if same else None


@dataclass(frozen=True)
class Pairs:
    """Pairs that are joined when they are asked for, so that many of them take little memory.

    Attributes:
        template: How they are joined.
        first: Token ids of each first text, cut to ``room`` or not.
        second: Token ids of each second text, the same.
        room: Tokens of a pair beside the special ones, at most.
        counts: Place -> tokens of both texts before they were cut, where both fill the room and it matters.
    """

    template: PairTemplate
    first: Sequence[np.ndarray]
    second: Sequence[np.ndarray]
    room: int
    counts: Mapping[int, tuple[int, int]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair, special ones included."""
        special = sum(map(len, self.template.special))
        return [special + min(len(first) + len(second), self.room)
                for first, second in zip(self.first, self.second, strict=True)]

    def __getitem__(self, place: int) -> Row:
        first, second = self.first[place], self.second[place]
        counts = self.counts.get(place, (len(first), len(second)))
        return self.template.join(first, second, longest_first(*counts, self.room))


@dataclass(frozen=True)
class JoinedPairs:
    """Pairs that the tokenizer itself has joined, where it shows no template.

    Attributes:
        rows: One for each pair.
    """

    rows: Sequence[Row]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair, special ones included."""
        return [len(ids) for ids, _ in self.rows]

    def __getitem__(self, place: int) -> Row:
        return self.rows[place]
