"""A checkpoint: canonical name -> tensor, with its configuration and tokenizer. Files are opened when needed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith._files import combined, file_sha256
from pyterrier_taskarith._json import read_object
from pyterrier_taskarith.checkpoints._adapter import adapt
from pyterrier_taskarith.checkpoints._adapter_config import ADAPTER_CONFIG, AdapterConfig, read_adapter_config
from pyterrier_taskarith.checkpoints._config import adapted_config, further_folders, read_config, read_origin
from pyterrier_taskarith.checkpoints._header import TensorLocation
from pyterrier_taskarith.checkpoints._locate import Located, locate
from pyterrier_taskarith.checkpoints._readers import WeightFile, check_plain, open_file, open_weights
from pyterrier_taskarith.checkpoints._vocabulary import has_vocabulary, read_vocabulary
from pyterrier_taskarith.errors import CheckpointError, library_errors
from pyterrier_taskarith.families import canonical, family_of, own_output, ties_embeddings

#: Bytes of mapped pages after which a pass over a checkpoint unmaps them.
MAPPED_BYTES = 32 * 2**20
#: Endings of the small files that say how a model reads text.
_SETTINGS = (".json", ".txt", ".model")
#: Names of tensors that are not parameters.
_BUFFERS = re.compile(r"(?:^|\.)(?:position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|rotary_emb\.\w+)$")
#: Tokens that a tokenizer may add to its file's; T5 adds 100, and each takes time and memory.
MOST_EXTRA = 10_000


@dataclass(frozen=True)
class Names:
    """How the names of one file set map to canonical ones.

    Attributes:
        parameters: Canonical name -> the names in the files that hold it; more than one where a file repeats a tied
            matrix.
        buffers: Names in the files that are not parameters (position ids, rotary frequencies).
        ignored: Names in the files that the model does not use.
    """

    parameters: Mapping[str, tuple[str, ...]]
    buffers: tuple[str, ...]
    ignored: tuple[str, ...]


class Checkpoint:
    """A published model as its files hold it.

    Example:
        >>> Checkpoint("google-t5/t5-base").shapes["shared.weight"]  # doctest: +SKIP
        (32128, 768)
    """

    def __init__(self, source: "str | Path | Checkpoint", *, trust_config: bool = False) -> None:
        """Remembers where the checkpoint is; nothing is read or fetched yet.

        Args:
            source: A hub id ``org/name[@revision]``, a folder, a weight file, or a checkpoint.
            trust_config: Whether transformers' own class is wanted where the folder names code of its own for the
                model (``auto_map``), which is never run. Else such a folder is refused.
        """
        if not isinstance(source, str | Path | Checkpoint) or not str(source):
            raise CheckpointError(f"{source!r} is not a checkpoint: give a hub id org/name[@revision], a folder or a "
                                  "file")
        self._mapped = 0
        self._compared: set[str] = set()
        self.source: str = source.source if isinstance(source, Checkpoint) else str(source)
        self.trust_config: bool = trust_config or isinstance(source, Checkpoint) and source.trust_config

    def __repr__(self) -> str:
        return f"Checkpoint({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        return Checkpoint, (self.source,), {"trust_config": self.trust_config}

    @cached_property
    def located(self) -> Located:
        """Where the files are; a hub id is fetched by this."""
        return locate(self.source)

    @property
    def folder(self) -> Path:
        """The folder with the weights and ``config.json``; of an adapter, its base's (see :class:`Located`)."""
        return self.located.weights

    @property
    def config_file(self) -> Path:
        """The ``config.json`` that is read; of an adapter, its base's."""
        return self.base.config_file if self.base else self.folder / "config.json"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders whose small files (configuration, tokenizer, modules) belong to the checkpoint, each once.

        Of an adapter, they are its own and its base's.
        """
        own = [self.located.root, self.folder, self.tokenizer_folder, *further_folders(self.located.root)]
        if self.base and self.located.adapter:
            own += [self.located.adapter.parent, *self.base.folders]
        return tuple(dict.fromkeys(own))

    def companions(self) -> list[Path]:
        """Returns the files beside the weights on which scores depend: configurations, tokenizers, further modules."""
        modules = further_folders(self.located.root)
        return [path for folder in self.folders if folder.is_dir() for path in sorted(folder.iterdir())
                if path.is_file() and (folder in modules or path.suffix in _SETTINGS)]

    @cached_property
    def origin(self) -> str | None:
        """The Θ_T that a merged folder was made from, as it was named then; None for other checkpoints."""
        return read_origin(self.located.root)

    @cached_property
    def base(self) -> "Checkpoint | None":
        """The model that an adapter changes; None where the checkpoint is a whole model."""
        if self.located.base is None:
            return None
        base = Checkpoint(self.located.base.source, trust_config=self.trust_config)
        base.located = self.located.base
        return base

    @cached_property
    def adapter(self) -> AdapterConfig | None:
        """The configuration of an adapter; None where the checkpoint is a whole model."""
        path = self.located.adapter
        return read_adapter_config(path.parent / ADAPTER_CONFIG) if path else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json`` as written, unknown keys kept; an entry that the weights contradict is corrected.

        That is ``tie_word_embeddings`` (see :func:`own_output`) and, of an adapter, what it changes of its base's
        configuration: ``vocab_size``, and class and labels where it has a classifier.

        Raises:
            CheckpointError: If it is absent, is not a JSON object, states no known ``model_type``, or the weights are
                quantised.
        """
        config = dict(self._config)
        if self.adapter:
            config |= adapted_config(config, self.adapter, self.shapes)
        return config

    @cached_property
    def _config(self) -> dict[str, Any]:
        """The configuration that names are mapped by: of an adapter, its base's."""
        config = self.base.config if self.base else read_config(self.folder, trust_config=self.trust_config)
        if ties_embeddings(config) and own_output(config, self.raw):
            return config | {"tie_word_embeddings": False}
        return config

    @cached_property
    def files(self) -> list[WeightFile]:
        """Readers of the weight files; of an adapter, the base's as the adapter changes them, then the adapter's."""
        if self.base and self.adapter and self.located.adapter:
            return adapt(self.base.files, open_file(self.located.adapter), self.adapter, self.base.config)
        file = self.located.file
        return [open_file(file)] if file else open_weights(self.folder)

    @cached_property
    def raw(self) -> dict[str, WeightFile]:
        """Name in the files -> the file that holds it, in the files' order."""
        return {name: file for file in self.files for name in file.shapes()}

    @cached_property
    def names(self) -> Names:
        """How the files' names map to canonical ones.

        Raises:
            CheckpointError: If a parameter is quantised or packed; it names the tensor.
        """
        found = _map_names(self.raw, self._config)
        for name in (held for names in found.parameters.values() for held in names):
            check_plain(self.raw[name], name)
        return found

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Canonical name -> shape, for every parameter."""
        return {name: self.raw[held[0]].shapes()[held[0]] for name, held in self.names.parameters.items()}

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype of :meth:`tensor`: the files', but float32 where an adapter is added to its base."""
        held = self.names.parameters[name][0]
        return self.raw[held].dtype(held)

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the dtype that a merged model has by default: the files' own, and of an adapter its base's."""
        held = self.names.parameters[name][0]
        return self.raw[held].stored_dtype(held)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns a parameter, on the CPU. Never edit it: later reads would see the edit.

        Raises:
            KeyError: If the checkpoint has no such parameter.
            CheckpointError: If the files hold it under two names with different values.
        """
        if self._mapped > MAPPED_BYTES:
            self._mapped = 0
            for file in self.files:
                file.unmap()
        held = self._agreed(name)
        value = self.raw[held].tensor(held)
        self._mapped += value.nbytes
        return value

    def _agreed(self, name: str) -> str:
        """Returns the name under which the files hold a parameter; if there are several, they were compared once."""
        first, *others = self.names.parameters[name]
        if others and name not in self._compared:
            value = self.raw[first].tensor(first)
            for other in others:
                if not torch.equal(self.raw[other].tensor(other), value):
                    raise CheckpointError(f"{self.source}: {first!r} and {other!r} are one parameter ({name}) in this "
                                          "architecture, but the files hold different values for them")
            self._mapped += value.nbytes * len(others)
            self._compared.add(name)
        return first

    def location(self, name: str) -> TensorLocation | None:
        """Returns where on disk a parameter is, for reading without mapping; None where that is not known.

        It is known where a safetensors file holds it as it is: not in a ``.bin``, nor where an adapter changes it.

        Raises:
            KeyError: If the checkpoint has no such parameter.
            CheckpointError: If the files hold it under two names with different values.
        """
        held = self._agreed(name)
        return self.raw[held].location(held)

    def close(self) -> None:
        """Frees the weights that are mapped or loaded; the next read opens the files again."""
        self._mapped = 0
        for file in self.__dict__.get("files", ()):
            file.close()

    @cached_property
    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer's files: of an adapter, its own where it has a vocabulary, else the base's."""
        if self.base and self.located.adapter:
            own = self.located.adapter.parent
            return own if has_vocabulary(own) else self.base.tokenizer_folder
        return self.folder

    @cached_property
    def vocabulary(self) -> dict[str, int] | None:
        """Token -> row, or None where there is no tokenizer."""
        return read_vocabulary(self.tokenizer_folder)

    def tokenizer(self) -> Any:
        """Returns the tokenizer, through transformers; code in the folder is never run.

        Raises:
            CheckpointError: If there is none in the folder.
        """
        from transformers import AutoTokenizer

        folder = self.tokenizer_folder
        about = folder / "tokenizer_config.json"
        stated = read_object(about, {"extra_ids": int, "tokenizer_class": str}) if about.is_file() else {}
        if not 0 <= (stated.get("extra_ids") or 0) <= MOST_EXTRA:
            raise CheckpointError(f"{about}: extra_ids = {stated['extra_ids']} is not a number of tokens from 0 to "
                                  f"{MOST_EXTRA}")
        with library_errors(f"{self.source} has no tokenizer that transformers can load from {folder}"):
            found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        names = found.vocab_files_names.values()
        if names and not any((folder / name).is_file() for name in names):
            # transformers 5 makes up an empty tokenizer then.
            raise CheckpointError(f"{self.source} has no tokenizer: none of {', '.join(names)} is in {folder}")
        return found

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the weights: of the files' names and their own sha256, and of an adapter's configuration."""
        paths = [file.path for file in self.files] + ([self.adapter.path] if self.adapter else [])
        return combined([(path.name, file_sha256(path)) for path in paths])


def _map_names(names: Iterable[str], config: Mapping[str, Any]) -> Names:
    """Maps every tensor name in a checkpoint's files to its canonical name."""
    family, tied = family_of(str(config["model_type"])), ties_embeddings(config)
    ignore = re.compile(family.ignored or r"(?!)")
    parameters: dict[str, list[str]] = {}
    buffers, ignored = [], []
    for name in names:
        if _BUFFERS.search(name):
            buffers.append(name)
        elif ignore.fullmatch(name):
            ignored.append(name)
        else:
            parameters.setdefault(canonical(name, family, tied), []).append(name)
    return Names({k: tuple(v) for k, v in parameters.items()}, tuple(buffers), tuple(ignored))
