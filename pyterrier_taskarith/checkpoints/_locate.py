"""A checkpoint's name -> the folder on this disk that holds it."""

import re
from dataclasses import dataclass
from pathlib import Path

from pyterrier_taskarith.checkpoints._adapter_config import ADAPTER_CONFIG, ADAPTER_FILES, read_adapter_config
from pyterrier_taskarith.checkpoints._config import transformer_folder
from pyterrier_taskarith.checkpoints._readers import WEIGHT_FILES
from pyterrier_taskarith.errors import CheckpointError

_HUB_ID = re.compile(r"^[\w.-]+(?:/[\w.-]+)?(?:@[\w./-]+)?$")


@dataclass(frozen=True)
class Located:
    """Where a checkpoint is on this disk.

    Attributes:
        source: What the user named.
        root: The folder with everything that belongs to it.
        weights: The folder with the weights and, but for an adapter, ``config.json``: ``root``, or the transformer's
            folder inside a sentence-transformers one.
        file: The one weight file to read, where the user named a file.
        adapter: The adapter's weight file, where the checkpoint is an adapter.
        base: Where the adapter's base model is. ``root`` and ``weights`` are then the base's, unless the adapter
            itself is in a sentence-transformers folder.
    """

    source: str
    root: Path
    weights: Path
    file: Path | None = None
    adapter: Path | None = None
    base: "Located | None" = None


def locate(source: str | Path) -> Located:
    """Finds a checkpoint on disk or fetches it from the hub.

    Args:
        source: A folder, a ``.safetensors`` or ``.bin`` file beside its ``config.json``, or a hub id
            ``org/name[@revision]``. An adapter's folder or file is located with its base model.

    Raises:
        CheckpointError: If it is neither, is gated, does not exist, or cannot be reached and is not in the cache.
    """
    return _locate(source, None)


def _locate(source: str | Path, needed_by: Path | None) -> Located:
    """Finds a checkpoint; ``needed_by`` is the configuration of the adapter whose base it is."""
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix not in (".safetensors", ".bin"):
            raise CheckpointError(f"{path} is not a weight file: name a .safetensors or .bin file, or the model's "
                                  "folder")
        if path.name in ADAPTER_FILES:
            return _with_base(str(source), path.parent, path, needed_by)
        return Located(str(source), path.parent, path.parent, path)
    if path.is_dir():
        return _folder(str(source), path, needed_by)
    if isinstance(source, Path) or not _HUB_ID.match(source):
        raise CheckpointError(f"{source}: no such folder or file, and not a hub id of the form org/name[@revision]")
    from pyterrier_taskarith.checkpoints._hub import fetch  # late: a merge of local folders needs no hub client

    return _folder(source, fetch(source), needed_by)


def _folder(source: str, root: Path, needed_by: Path | None) -> Located:
    weights = transformer_folder(root)
    if not (weights / ADAPTER_CONFIG).is_file():
        return Located(source, root, weights)
    adapters = [weights / name for name in ADAPTER_FILES if (weights / name).is_file()]
    models = [weights / name for name in WEIGHT_FILES if (weights / name).is_file()]
    if adapters and models:
        raise CheckpointError(f"{weights} has the weights of a model ({models[0].name}) and of an adapter "
                              f"({adapters[0].name}), and does not say which is meant. Name one of the two files")
    if models:
        return Located(source, root, weights)
    if not adapters:
        raise CheckpointError(f"{weights} has {ADAPTER_CONFIG}, but none of {', '.join(ADAPTER_FILES)}")
    return _with_base(source, root, adapters[0], needed_by)


def _with_base(source: str, root: Path, adapter: Path, needed_by: Path | None) -> Located:
    """Returns where an adapter and its base model are."""
    if needed_by:
        raise CheckpointError("it is an adapter itself; merge it into its own base with PEFT's merge_and_unload first")
    about = read_adapter_config(adapter.parent / ADAPTER_CONFIG)
    beside = adapter.parent / about.base
    if beside.is_dir() and beside.resolve() == adapter.parent.resolve():
        raise CheckpointError(f"{about.path}: base_model_name_or_path is the adapter's own folder")
    name: str | Path = beside if beside.is_dir() else about.base
    if about.revision and not Path(name).expanduser().exists():
        name = f"{name}@{about.revision}"
    try:
        base = _locate(str(name), about.path)
    except CheckpointError as error:
        raise CheckpointError(f"the adapter {source} needs its base model, which {about.path} says is {about.base!r}: "
                              f"{error}. Write another folder or hub id there where that is wrong") from error
    own = (root / "modules.json").is_file()
    return Located(source, root if own else base.root, adapter.parent if own else base.weights, None, adapter, base)
