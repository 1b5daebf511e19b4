"""One difference of weights: of two checkpoints, or as a file saved earlier."""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from pyterrier_taskarith._files import combined, file_sha256
from pyterrier_taskarith._json import Types, check_types
from pyterrier_taskarith.arithmetic._alphas import Layers
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch, SafetensorsFile, match_rows
from pyterrier_taskarith.errors import MergeError, library_errors, some
from pyterrier_taskarith.families import family_of

FORMAT = "taskarith task vector 1"


class Difference(Protocol):
    """Weights that can be added to a ranker's: τ, one float32 tensor a parameter."""

    @property
    def label(self) -> str:
        """What to call it in a report or an error."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Canonical name -> shape of τ."""

    @property
    def vocabulary(self) -> Mapping[str, int] | None:
        """Token -> row of τ in tensors with one row a token."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the model it was taken from."""

    @property
    def selections(self) -> tuple[tuple[Layers, ...], ...]:
        """Restrictions of its terms; a parameter that satisfies none of them is kept and may be absent."""

    @property
    def fingerprint(self) -> str:
        """A sha256 that changes when any weight of it does."""

    def lacking(self, name: str) -> str:
        """Returns what lacks a parameter that is not in :attr:`shapes`."""

    def tensor(self, name: str) -> torch.Tensor:
        """Returns τ of one parameter: float32, on the CPU, the caller's own."""

    def paths(self) -> list[Path]:
        """Returns the weight files it is read from."""

    def parts(self) -> "Iterable[Difference]":
        """Returns the differences that it combines; itself where it combines none."""
        return [self]

    def models(self) -> "Mapping[str, Checkpoint | Difference]":
        """Returns what has a configuration and a vocabulary, by its name in an error."""
        return {self.label: self}

    def close(self) -> None:
        """Closes the files; the next read opens them again."""


class CheckpointDifference(Difference):
    """τ = Θ_D − Θ_0 (paper, eq. 1), read from the two checkpoints when asked."""

    selections: tuple[tuple[Layers, ...], ...] = ((),)

    def __init__(self, domain: Checkpoint, base: Checkpoint) -> None:
        self.domain, self.base = domain, base

    @property
    def label(self) -> str:
        """Returns "Θ_D − Θ_0" by their names."""
        return f"{self.domain.source} − {self.base.source}"

    @property
    def config(self) -> Mapping[str, Any]:
        """The domain's configuration."""
        return self.domain.config

    @cached_property
    def rows(self) -> RowMatch | None:
        """Rows of Θ_D and Θ_0 that are the same token; None where all are."""
        embedding = family_of(str(self.domain.config["model_type"])).embedding
        ours, theirs = self.domain.shapes.get(embedding), self.base.shapes.get(embedding)
        if ours is None or theirs is None:
            return None
        return match_rows(self.domain.vocabulary, self.base.vocabulary, ours[0], theirs[0],
                          us=f"Θ_D {self.domain.source!r}", them=f"Θ_0 {self.base.source!r}")

    @cached_property
    def by_token(self) -> frozenset[str]:
        """Parameters with one row a token in both checkpoints; empty where their rows match one to one."""
        if self.rows is None:
            return frozenset()
        family = family_of(str(self.domain.config["model_type"]))
        ours, theirs = self.domain.shapes, self.base.shapes
        return frozenset(name for name in (family.embedding, *family.token_rows) if name in ours and name in theirs
                         and ours[name][0] == ours[family.embedding][0]
                         and theirs[name][0] == theirs[family.embedding][0] and ours[name][1:] == theirs[name][1:])

    @cached_property
    def vocabulary(self) -> Mapping[str, int] | None:
        """Token -> row of τ."""
        known = self.domain.vocabulary or self.base.vocabulary
        if self.rows is None or known is None:
            return known
        position = {int(row): index for index, row in enumerate(self.rows.ours)}
        return {token: position[row] for token, row in known.items() if row in position}

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameters that both checkpoints have.

        Raises:
            MergeError: If one of them differs in shape outside the vocabulary.
        """
        shapes, differ = {}, []
        for name, ours in self.domain.shapes.items():
            theirs = self.base.shapes.get(name)
            if theirs is None:
                continue
            if self.rows is not None and name in self.by_token:
                shapes[name] = (len(self.rows.ours), *ours[1:])
            elif ours == theirs:
                shapes[name] = ours
            else:
                differ.append(f"{name} {list(ours)} and {list(theirs)}")
        if differ:
            raise MergeError(f"Θ_D {self.domain.source!r} and Θ_0 {self.base.source!r} differ in shape: "
                             f"{some(differ, '; ')}. Is Θ_D made from Θ_0?")
        return shapes

    @property
    def fingerprint(self) -> str:
        """Of both checkpoints' weights."""
        return combined([("domain", self.domain.fingerprint), ("base", self.base.fingerprint)])

    def lacking(self, name: str) -> str:
        """Returns the checkpoint without the parameter."""
        return " and ".join(label for label, model in self.models().items() if name not in model.shapes)

    def models(self) -> "Mapping[str, Checkpoint | Difference]":
        """Returns both checkpoints."""
        return {f"Θ_D {self.domain.source!r}": self.domain, f"Θ_0 {self.base.source!r}": self.base}

    def tensor(self, name: str) -> torch.Tensor:
        """Returns D − B in float32.

        Raises:
            MergeError: If a value is NaN or infinite.
        """
        domain, base = self.domain.tensor(name), self.base.tensor(name)
        if self.rows is not None and name in self.by_token:
            domain = domain[torch.from_numpy(self.rows.ours)]
            base = base[torch.from_numpy(self.rows.theirs)]
        value = torch.sub(domain.to(torch.float32), base.to(torch.float32))
        if not torch.isfinite(value.sum()):
            for label, tensor in zip((*self.models(), self.label), (domain, base, value), strict=True):
                check_finite(tensor, name, label)
        return value

    def paths(self) -> list[Path]:
        """Returns both checkpoints' weight files."""
        return [file.path for file in (*self.domain.files, *self.base.files)]

    def __reduce__(self) -> tuple[type, tuple[Checkpoint, Checkpoint]]:
        return CheckpointDifference, (self.domain, self.base)

    def close(self) -> None:
        """Closes both checkpoints."""
        self.domain.close()
        self.base.close()


#: What ``TaskVector.save`` writes beside the tensors, as JSON; without a tokenizer, no vocabulary.
_METADATA: Types = {"recipe": str, "config": dict, "vocabulary": dict, "selections": list}


class SavedDifference(Difference):
    """τ from a file that ``TaskVector.save`` wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SafetensorsFile(path)

    @cached_property
    def _about(self) -> dict[str, Any]:
        metadata = self._file.metadata()
        if metadata.get("format") != FORMAT:
            raise MergeError(f"{self.path} is not a saved task vector; make one with "
                             "TaskVector(domain, base).save(path)")
        with library_errors(f"{self.path}: its metadata are damaged; save the vector again", MergeError):
            about = {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        check_types(self.path, about, _METADATA, MergeError)
        missing = sorted(_METADATA.keys() - about.keys())
        if missing or not about["config"]:
            raise MergeError(f"{self.path}: its metadata lack {', '.join(missing) or 'the configuration'}; save the "
                             "vector again")
        return about

    @property
    def label(self) -> str:
        """The file's path."""
        return str(self.path)

    @property
    def recipe(self) -> str:
        """What the vector was made from."""
        return str(self._about["recipe"])

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Canonical name -> shape, from the header."""
        return self._about and self._file.shapes()

    @property
    def vocabulary(self) -> Mapping[str, int] | None:
        """Token -> row, kept in the file."""
        vocabulary: Mapping[str, int] | None = self._about["vocabulary"]
        return vocabulary

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the domain model, kept in the file."""
        return dict(self._about["config"])

    @cached_property
    def selections(self) -> tuple[tuple[Layers, ...], ...]:
        """The layers that each of its terms was restricted to."""
        return tuple(tuple(map(Layers, texts)) for texts in self._about["selections"])

    @property
    def fingerprint(self) -> str:
        """The sha256 of the file."""
        return file_sha256(self.path)

    def lacking(self, name: str) -> str:
        """Returns the file's name."""
        return self.label

    def tensor(self, name: str) -> torch.Tensor:
        """Returns τ in float32."""
        value = self._file.tensor(name).to(torch.float32, copy=True)
        check_finite(value, name, self.label)
        return value

    def paths(self) -> list[Path]:
        """Returns the one file."""
        return [self.path]

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return SavedDifference, (self.path,)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def check_finite(tensor: torch.Tensor, name: str, label: str) -> None:
    """Refuses NaN and infinity.

    Raises:
        MergeError: Naming the tensor, its owner and how many values are not finite.
    """
    if tensor.is_floating_point() and not torch.isfinite(tensor.sum(dtype=torch.float32)):
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise MergeError(f"{label}: {name} holds {bad} values that are NaN or infinite; the checkpoint is damaged. "
                             "Fetch it again or ask its author")
