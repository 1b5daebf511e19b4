"""A checkpoint: canonical name -> tensor, with its configuration and tokenizer. Nothing is opened until asked."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith.checkpoints._errors import CheckpointError
from pyterrier_taskarith.checkpoints._families import family_of
from pyterrier_taskarith.checkpoints._fingerprint import combined, file_sha256
from pyterrier_taskarith.checkpoints._locate import Located, locate
from pyterrier_taskarith.checkpoints._names import Names, map_names
from pyterrier_taskarith.checkpoints._readers import WeightFile, open_file, open_weights
from pyterrier_taskarith.checkpoints._vocabulary import read_vocabulary

#: A pass over a checkpoint lets go of the pages it has read whenever they are more than this.
MAPPED_BYTES = 32 * 2**20


class Checkpoint:
    """A published model as its files hold it.

    Example:
        >>> Checkpoint("google-t5/t5-base").shapes["shared.weight"]  # doctest: +SKIP
        (32128, 768)
    """

    def __init__(self, source: "str | Path | Checkpoint") -> None:
        """Remembers where the checkpoint is; nothing is read or fetched yet.

        Args:
            source: A hub id ``org/name[@revision]``, a folder, a weight file, or a checkpoint.
        """
        if not isinstance(source, str | Path | Checkpoint) or not str(source):
            raise CheckpointError(f"{source!r} is no checkpoint: give a hub id org/name[@revision], a folder or a file")
        self._mapped = 0
        self.source: str = source.source if isinstance(source, Checkpoint) else str(source)

    def __repr__(self) -> str:
        return f"Checkpoint({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Checkpoint, (self.source,)

    @cached_property
    def located(self) -> Located:
        """Where the files are; a hub id is fetched by this."""
        return locate(self.source)

    @property
    def folder(self) -> Path:
        """The folder with the weights and ``config.json``."""
        return self.located.weights

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json`` as written, unknown keys kept.

        Raises:
            CheckpointError: If it is absent, is no JSON object, or states no known ``model_type``.
        """
        path = self.folder / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.folder} is no checkpoint: it has no config.json") from error
        except ValueError as error:
            raise CheckpointError(f"{path} is no JSON object ({error})") from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{path} is no JSON object (but a {type(config).__name__})")
        try:
            family_of(str(config.get("model_type")))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{path} states no model_type that transformers knows "
                                  f"(got {config.get('model_type')!r})") from error
        return config

    @cached_property
    def files(self) -> list[WeightFile]:
        """Readers of the weight files."""
        file = self.located.file
        return [open_file(file)] if file else open_weights(self.folder)

    @cached_property
    def raw(self) -> dict[str, WeightFile]:
        """Name in the files -> the file that holds it, in the files' order."""
        found: dict[str, WeightFile] = {}
        for file in self.files:
            for name in file.shapes():
                if name in found:
                    raise CheckpointError(f"{self.source}: tensor {name!r} is in both {found[name].path.name} and "
                                          f"{file.path.name}")
                found[name] = file
        return found

    @cached_property
    def names(self) -> Names:
        """How the files' names map to canonical ones."""
        return map_names(self.raw, self.config)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Canonical name -> shape, for every parameter."""
        return {name: self.raw[held[0]].shapes()[held[0]] for name, held in self.names.parameters.items()}

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in which the files hold a parameter."""
        held = self.names.parameters[name][0]
        return self.raw[held].dtype(held)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns a parameter in the files' dtype, on the CPU. Never edit it: later reads would see the edit.

        Raises:
            KeyError: If the checkpoint has no such parameter.
            CheckpointError: If the files hold it under two names with different values.
        """
        first, *others = self.names.parameters[name]
        if self._mapped > MAPPED_BYTES:
            self.close()
        value = self.raw[first].tensor(first)
        self._mapped += value.nbytes * (1 + len(others))
        for other in others:
            if not torch.equal(self.raw[other].tensor(other), value):
                raise CheckpointError(f"{self.source}: {first!r} and {other!r} are one parameter ({name}) in this "
                                      "architecture, but the files hold different values for them")
        return value

    def close(self) -> None:
        """Lets go of mapped pages; the next read maps them again."""
        self._mapped = 0
        for file in self.__dict__.get("files", ()):
            file.close()

    @cached_property
    def vocabulary(self) -> dict[str, int] | None:
        """Token -> row, or None where there is no tokenizer."""
        return read_vocabulary(self.folder)

    def tokenizer(self) -> Any:  # noqa: ANN401 - transformers' tokenizers share no public base in 4.x and 5.x
        """Returns the tokenizer, through transformers.

        Raises:
            CheckpointError: If there is none in the folder.
        """
        from transformers import AutoTokenizer

        try:
            found = AutoTokenizer.from_pretrained(self.folder)
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{self.source} has no tokenizer that transformers can load ({error})") from error
        names = found.vocab_files_names.values()
        if names and not any((self.folder / name).is_file() for name in names):
            # transformers 5 makes up an empty tokenizer then.
            raise CheckpointError(f"{self.source} has no tokenizer: none of {', '.join(names)} is in {self.folder}")
        return found

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the weights: of the files' names and their own sha256."""
        return combined([(file.path.name, file_sha256(file.path)) for file in self.files])
