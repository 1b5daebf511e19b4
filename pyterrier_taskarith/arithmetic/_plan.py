"""What a merge will do to every parameter of Θ_T, decided before anything is read."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pyterrier_taskarith._meaning import differing, meaning, structure
from pyterrier_taskarith.arithmetic._addition import Step
from pyterrier_taskarith.arithmetic._alphas import Alpha, LayerAlphas, alpha_of
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference, Difference
from pyterrier_taskarith.arithmetic._term import Term, TermSum
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch, match_rows
from pyterrier_taskarith.errors import MergeError, some
from pyterrier_taskarith.families import (
    FAMILIES,
    family_of,
    is_head,
    layer_of,
    ties_embeddings,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ParameterPlan:
    """What happens to one parameter of Θ_T.

    Attributes:
        name: Canonical name.
        shape: Its shape in Θ_T.
        merged: Whether the task vector is added to it.
        why: "merged", "rows k of n merged", or why it is kept as it is in Θ_T.
    """

    name: str
    shape: tuple[int, ...]
    merged: bool
    why: str


@dataclass(frozen=True)
class MergePlan:
    """Every parameter of Θ_T, merged or kept and why; a list to print and read.

    Attributes:
        ranker: Θ_T.
        vectors: Task vectors by name.
        entries: One for each parameter and buffer of Θ_T, in its files' order.
        unused: What the task vectors have and Θ_T lacks.
        rows: For a term, the rows of Θ_T that have a row in it; None where all rows match one to one.
    """

    ranker: Checkpoint
    vectors: Mapping[str, TermSum]
    entries: tuple[ParameterPlan, ...]
    unused: tuple[str, ...]
    rows: Mapping[Term, RowMatch | None]

    @cached_property
    def merged(self) -> frozenset[str]:
        """Returns the canonical names of the merged parameters."""
        return frozenset(entry.name for entry in self.entries if entry.merged)

    def terms(self, name: str) -> list[tuple[str, Term]]:
        """Returns (vector, term) of all that is added to a parameter."""
        if name not in self.merged:
            return []
        return [(vector, term) for vector, value in self.vectors.items() for term in value.terms if term.covers(name)]

    def steps(self, name: str, alphas: Mapping[str, Alpha]) -> list[Step]:
        """Returns what is added to a parameter, in order, without factors of 0; a vector without α has 0."""
        found = [Step(term, alpha_of(alphas.get(vector, 0.0), name) * term.scale, self.rows_of(term, name), position)
                 for position, (vector, term) in enumerate(self.terms(name))]
        return [step for step in found if step.factor != 0]

    def check_alphas(self, alphas: Mapping[str, Alpha]) -> None:
        """Refuses an α by layers that names a parameter twice, or layers without a merged parameter.

        Raises:
            MergeError: Naming the layers.
        """
        for vector, alpha in alphas.items():
            if isinstance(alpha, LayerAlphas):
                alpha.check(name for name in self.merged if any(term.covers(name)
                                                                for term in self.vectors[vector].terms))

    def check_nonzero(self, names: Iterable[str]) -> None:
        """Refuses a vector that is zero in all of these parameters that it is added to, by their canonical names.

        Small parameters are read first: in most models the first one tells.

        Raises:
            MergeError: Naming the vector.
        """
        ordered = sorted(names, key=lambda name: math.prod(self.ranker.shapes[name]))
        for vector in self.vectors:
            found = {name: terms for name in ordered if (terms := [term for own, term in self.terms(name)
                                                                   if own == vector and term.scale != 0])}
            if found and not any(_nonzero(terms, name) for name, terms in found.items()):
                which = f"the task vector {vector!r}" if len(self.vectors) > 1 else "the task vector"
                raise MergeError(f"{which} {self.vectors[vector]} is zero in all {len(found)} parameters that it "
                                 "would be added to, so its α would do nothing. Do Θ_D and Θ_0 hold the same weights, "
                                 "or the layers asked for?")

    def rows_of(self, term: Term, name: str) -> RowMatch | None:
        """Returns the matching rows of a parameter, or None where the whole tensor is added."""
        return self.rows[term] if name in _by_token(self.ranker) else None

    def close(self) -> None:
        """Closes the files; the next read opens them again."""
        self.ranker.close()
        for vector in self.vectors.values():
            vector.close()

    @property
    def unchecked(self) -> list[str]:
        """Returns the models without a tokenizer, whose rows are taken to be the same tokens."""
        models: dict[str, Checkpoint | Difference] = {f"Θ_T {self.ranker.source!r}": self.ranker}
        for part in (part for vector in self.vectors.values() for part in vector.parts()):
            models |= part.models()
        return [label for label, model in models.items() if model.vocabulary is None]

    def to_frame(self) -> "pd.DataFrame":
        """Returns the entries as a frame: name, shape, merged, why."""
        import pandas as pd  # late: a merge to disk does not need it

        return pd.DataFrame([vars(entry) for entry in self.entries])

    def summary(self) -> str:
        """Returns one line: how many parameters are merged, how many kept and why."""
        kept = Counter(entry.why for entry in self.entries if not entry.merged)
        parts = [f"{len(self.merged)} of {len(self.entries)} parameters merged"]
        parts += [entry.why.replace("rows", f"{entry.name}: rows") for entry in self.entries
                  if entry.merged and entry.why != "merged"]
        parts += [f"{number} kept ({why})" for why, number in kept.items()]
        if self.unused:
            parts.append(f"{len(self.unused)} of the task vector unused (absent from Θ_T)")
        if self.vectors and self.unchecked:
            parts.append(f"no tokenizer in {', '.join(self.unchecked)}, so rows are matched by their index")
        return "; ".join(parts)

    def __str__(self) -> str:
        width = max(len(entry.name) for entry in self.entries)
        lines = [f"{entry.name:{width}}  {'×'.join(map(str, entry.shape)):>14}  "
                 f"{entry.why if entry.merged else f'kept: {entry.why}'}" for entry in self.entries]
        lines += [f"{name:{width}}  {'':>14}  unused: absent from Θ_T" for name in self.unused]
        return "\n".join([*lines, self.summary()])


def make_plan(ranker: Checkpoint, vectors: Mapping[str, TermSum]) -> MergePlan:
    """Decides what happens to every parameter of Θ_T.

    Args:
        ranker: Θ_T; its names drive the merge.
        vectors: Task vectors by name; none: everything is kept.

    Raises:
        MergeError: If nothing is in common, a backbone parameter of Θ_T has no partner in a task vector or the other
            way round, shapes or architectures differ, or the layers asked for select nothing.
        CheckpointError: If the tokenizers disagree.
    """
    every = [term for vector in vectors.values() for term in vector.terms]
    for term in every:
        for difference in term.difference.parts():
            _same_architecture(ranker, difference)
            if isinstance(difference, CheckpointDifference) and _files(difference.domain) == _files(difference.base):
                raise MergeError(f"Θ_D and Θ_0 are both {difference.base.source!r}, so their task vector is zero and "
                                 "α would do nothing")
        if term.sphere:
            _from_the_ranker(ranker, term, every)
    rows = {term: _match(ranker, term) for term in every}
    problems: list[str] = []
    entries = [_entry(name, shape, ranker, every, rows, problems) for name, shape in ranker.shapes.items()]
    if every and not any(name in term.difference.shapes for term in every for name in ranker.shapes):
        labels = ", ".join(term.difference.label for term in every)
        raise MergeError(f"Θ_T {ranker.source!r} and {labels} have no parameter in common. "
                         "Are they of the same architecture?")
    if problems:
        covered = sum(entry.merged for entry in entries)
        raise MergeError(f"the merge covers {covered} of {covered + len(problems)} backbone parameters of Θ_T "
                         f"{ranker.source!r}: {some(problems, '; ')}. Are all three of the same architecture?")
    _complete(ranker, every)
    if every and not any(entry.merged for entry in entries):
        asked = ", ".join(layers.text for term in every for layers in term.layers)
        numbers = sorted({number for _, number in map(layer_of, ranker.shapes) if number is not None})
        raise MergeError(f"layers={asked!r} selects no parameter of Θ_T {ranker.source!r}, whose layers are "
                         f"{f'{numbers[0]}-{numbers[-1]}' if numbers else 'not numbered'}")
    others = {name: "no parameter" for name in ranker.names.buffers}
    others |= {name: "ignored by the model" for name in ranker.names.ignored}
    entries += [ParameterPlan(name, ranker.raw[name].shapes()[name], False, why) for name, why in others.items()]
    unused = dict.fromkeys(name for term in every for name in term.difference.shapes if name not in ranker.shapes)
    return MergePlan(ranker, dict(vectors), tuple(entries), tuple(unused), rows)


def _entry(name: str, shape: tuple[int, ...], ranker: Checkpoint, terms: list[Term],
           rows: Mapping[Term, RowMatch | None], problems: list[str]) -> ParameterPlan:
    """Returns what happens to a parameter; what prevents the merge is added to ``problems``."""
    kept = partial(ParameterPlan, name, shape, False)
    selecting = [term for term in terms if term.selects(name)]
    having = [term for term in selecting if term.covers(name)]
    lacking = [term for term in selecting if not term.covers(name)]
    if not ranker.dtype(name).is_floating_point:
        return kept("not floating-point")
    if not selecting:
        return kept("excluded: outside the layers asked for" if terms else "no task vector")
    if lacking and not is_head(name):
        problems.append(f"{name!r} is absent from {lacking[0].difference.lacking(name)}")
        return kept(problems[-1])
    if not having:
        return kept("absent from the task vector")
    matches = [rows[term] for term in having] if name in _by_token(ranker) else []
    for term in having:
        theirs = term.difference.shapes[name]
        if theirs[1:] != shape[1:] or (theirs != shape and (not matches or rows[term] is None)):
            problems.append(f"{name!r} has shape {list(shape)} in Θ_T and {list(theirs)} in {term.difference.label}")
            return kept(problems[-1])
    counts = [len(match.ours) for match in matches if match is not None]
    why = f"rows {min(counts)} of {shape[0]} merged" if counts and min(counts) < shape[0] else "merged"
    return ParameterPlan(name, shape, True, why)


def _complete(ranker: Checkpoint, terms: list[Term]) -> None:
    """Refuses a Θ_T without a backbone parameter that both Θ_D and Θ_0 have: a model would start it at random."""
    model_type = str(ranker.config["model_type"])
    # The heads of an undeclared family have unknown names; what shares a prefix with parameters of Θ_T is not a head.
    parts = {name.split(".")[0] for name in ranker.shapes}
    by_rows = {family_of(model_type).output, *family_of(model_type).token_rows}
    encoder_only = "EncoderModel" in str(ranker.config.get("architectures"))
    missing = {name: term.difference.label for term in terms for name in term.difference.shapes
               if name not in ranker.shapes and not is_head(name) and name not in by_rows
               and (model_type in FAMILIES or name.split(".")[0] in parts)
               and not (encoder_only and name.startswith("decoder."))}
    if missing:
        names = list(missing)
        raise MergeError(f"Θ_T {ranker.source!r} lacks {len(names)} backbone parameter{'s' * (len(names) > 1)} that "
                         f"{missing[names[0]]} has: {some(names)}. "
                         "Is Θ_T's download complete?")


def _files(checkpoint: Checkpoint) -> list[Path]:
    return [file.path.resolve() for file in checkpoint.files]


def _nonzero(terms: list[Term], name: str) -> bool:
    """Returns whether the sum of terms changes a parameter; terms over different tokens are tested one by one."""
    values = [term.tensor(name).mul_(term.scale) for term in terms]
    if len({value.shape for value in values}) == 1:
        values = [torch.stack(values).sum(dim=0)] if len(values) > 1 else values
    return any(bool(value.any()) for value in values)


def _by_token(ranker: Checkpoint) -> set[str]:
    family = family_of(str(ranker.config["model_type"]))
    return {family.embedding, *family.token_rows}


def _match(ranker: Checkpoint, term: Term) -> RowMatch | None:
    difference, embedding = term.difference, family_of(str(ranker.config["model_type"])).embedding
    if embedding not in ranker.shapes or embedding not in difference.shapes:
        return None
    return match_rows(ranker.vocabulary, difference.vocabulary, ranker.shapes[embedding][0],
                      difference.shapes[embedding][0], us=f"Θ_T {ranker.source!r}", them=difference.label)


def _from_the_ranker(ranker: Checkpoint, term: Term, every: list[Term]) -> None:
    difference = term.difference
    if len(every) > 1 or not isinstance(difference, CheckpointDifference) or _files(difference.base) != _files(ranker):
        raise MergeError(f"SLERP goes from Θ_T to one other model and allows no further vector: with the ranker "
                         f"{ranker.source!r}, use TaskVector(domain, {ranker.source!r}).slerp() alone")


def _same_architecture(ranker: Checkpoint, difference: Difference) -> None:
    for label, model in difference.models().items():
        config = model.config
        differ = differing(ranker.config, config, structure)
        if not differ and ties_embeddings(ranker.config) != ties_embeddings(config):
            differ.append(f"tie_word_embeddings {ties_embeddings(ranker.config)} and {ties_embeddings(config)}")
        if differ:
            raise MergeError(f"Θ_T {ranker.source!r} and {label} are different architectures: {'; '.join(differ)}. "
                             "Task arithmetic needs three models of one architecture")
        differ = differing(ranker.config, config, meaning)
        if differ:
            warnings.warn(f"Θ_T {ranker.source!r} and {label} compute differently from equal weights: "
                          f"{'; '.join(differ)} (config.json). They are merged, and Θ' computes as Θ_T does; what the "
                          "other has learnt may not carry over", stacklevel=2)

