"""How a cross-encoder reads a pair: the settings of its folder, and two texts as one input.

Pairs are joined as the tokenizer joins them, but from the token ids of each text alone.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._recipes import TRANSFORMER_CONFIGS, read_json

logger = logging.getLogger("pyterrier_taskarith")

#: Last part of an activation's path in torch -> (n, labels) logits -> (n, labels).
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda logits: logits, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "ReLU": torch.relu,
    "LogSigmoid": functional.logsigmoid, "Softplus": functional.softplus,
    "Softmax": lambda logits: logits.softmax(-1), "LogSoftmax": lambda logits: logits.log_softmax(-1)}
#: Labels -> the activation of a folder that states none.
_DEFAULTS = {1: "Sigmoid", 2: "Identity"}
#: Settings of the Transformer module that change how it reads a pair.
_READING = ("do_lower_case", "processing_kwargs", "config_args", "config_kwargs")


@dataclass(frozen=True)
class PairRecipe:
    """What decides a score beside the model and its tokenizer.

    Attributes:
        activation: Name in :data:`ACTIVATIONS`, applied to the logits.
        max_length: Tokens of a pair where sentence-transformers' own settings state them; None: the tokenizer does.
        prompt: Put before the query.
    """

    activation: str
    max_length: int | None = None
    prompt: str = ""


def read_pair_recipe(checkpoint: Checkpoint, labels: int) -> PairRecipe:
    """Reads what ``CrossEncoder`` of sentence-transformers reads (5.7 and 6.2).

    Args:
        checkpoint: A folder of transformers, of sentence-transformers before 5.4 (with the activation in
            ``config.json``), or of a newer one (with ``modules.json``; such a folder of another kind of model is read
            as one of transformers).
        labels: 1 or 2.

    Raises:
        ScorerError: If modules, settings or the activation are not supported; nothing is assumed.
    """
    root, config = checkpoint.located.root, checkpoint.config
    about = read_json(root / "config_sentence_transformers.json") if (root / "modules.json").is_file() else {}
    own = about if about.get("model_type") == "CrossEncoder" else {}
    old = config.get("sentence_transformers") or {}
    stated = [own.get("activation_fn"), old["activation_fn"] if "activation_fn" in old else
              config.get("sbert_ce_default_activation_function")]
    prompts, default = own.get("prompts") or {}, own.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ScorerError(f"{root / 'config_sentence_transformers.json'}: the default prompt {default!r} is not one "
                          f"of its prompts ({', '.join(prompts) or 'it has none'})")
    return PairRecipe(_activation(stated, labels, checkpoint.source), _stated_length(checkpoint) if own else None,
                      prompts.get(default) or "")


def _activation(stated: Sequence[str | None], labels: int, source: str) -> str:
    """Returns the first activation whose path lies in torch, else the default."""
    for path in filter(None, stated):
        if not path.startswith("torch."):
            logger.warning("%s: its activation %r would be code from elsewhere, which is never run: as in "
                           "sentence-transformers, the default takes its place", source, path)
            continue
        name = path.rsplit(".", 1)[-1]
        if name not in ACTIVATIONS:
            raise ScorerError(f"{source}: the activation {path!r} is not supported; {', '.join(ACTIVATIONS)} are")
        return name
    return _DEFAULTS[labels]


def _stated_length(checkpoint: Checkpoint) -> int | None:
    """Returns the length that the Transformer module states, or None.

    Raises:
        ScorerError: If scores come from more than that one module, or it reads pairs in a way of its own.
    """
    root, weights = checkpoint.located.root, checkpoint.located.weights
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in read_json(root / "modules.json")]
    settings: dict[str, Any] = next(filter(None, (read_json(weights / name) for name in TRANSFORMER_CONFIGS)), {})
    task = settings.get("transformer_task", "feature-extraction")
    if kinds != ["Transformer"] or task != "sequence-classification":
        raise ScorerError(f"{root / 'modules.json'}: only a cross-encoder of one Transformer with the task "
                          f"'sequence-classification' is supported; this one is {', '.join(kinds)}, with {task!r}")
    reading = {**settings.get("tokenizer_args", {}), **settings.get("processor_kwargs", {})}
    length = reading.pop("model_max_length", settings.get("max_seq_length"))
    others = [*filter(settings.get, _READING), *reading]
    if others:
        raise ScorerError(f"{weights}: the settings {', '.join(others)} of sentence-transformers are not supported")
    return None if length is None else int(length)


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


def pair_template(tokenizer: Any) -> PairTemplate | None:
    """Reads the template off a pair that the tokenizer has joined.

    Returns:
        None where the pair does not show it: the tokenizer is slow, or does more than to put tokens around the texts.
    """
    if not tokenizer.is_fast:
        return None
    joined = tokenizer("a", "b")
    of, ids = joined.sequence_ids(0), np.asarray(joined["input_ids"], dtype=np.int32)
    indices = [[index for index, text in enumerate(of) if text == number] for number in (0, 1)]
    if not all(indices):
        return None
    bounds = [0, *(bound for found in indices for bound in (found[0], found[-1] + 1)), len(of)]
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
        counts: Index -> tokens of both texts before they were cut, where both fill the room and it matters.
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

    def __getitem__(self, index: int) -> Row:
        first, second = self.first[index], self.second[index]
        counts = self.counts.get(index, (len(first), len(second)))
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

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]
