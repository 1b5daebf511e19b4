"""A checkpoint's name -> the folder on this disk that holds it, fetched from the hub where it is a hub id."""

import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub  # what it exports is imported at its first use

from pyterrier_taskarith.checkpoints._adapter_config import ADAPTER_CONFIG, ADAPTER_FILES, read_adapter_config
from pyterrier_taskarith.checkpoints._config import further_folders, transformer_folder
from pyterrier_taskarith.checkpoints._readers import INDEX, WEIGHT_FILES, read_index
from pyterrier_taskarith.errors import CheckpointError

#: What is fetched of a repository before its weights.
_SMALL_FILES = ["*.json", "*.txt", "*.model", "README.md"]
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
    return _folder(source, _fetch(source), needed_by)


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


def _fetch(source: str) -> Path:
    """Downloads the small files, then the weights in the best format there is; offline, uses the hub's cache.

    Args:
        source: ``org/name[@revision]``.

    Raises:
        CheckpointError: If there is no such model, it is gated, has no weights, or cannot be reached and is not in the
            cache.
    """
    from huggingface_hub.errors import (  # late: a merge of local folders needs no hub client
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = source.partition("@")
    try:
        root = _snapshot(repo, revision or None)
        commit = root.name  # from here on, so that all files are of one commit even if the hub's branch moves
        for folder in further_folders(root, weighted=True):
            _first_weights(repo, root, folder, commit)
        folder = transformer_folder(root)
        adapter = (folder / ADAPTER_CONFIG).is_file() and any(
            _download(repo, root, folder / name, commit) for name in ADAPTER_FILES)
        # A model beside an adapter is looked for too: which of them is meant must not depend on what the cache has.
        if _first_weights(repo, root, folder, commit) or adapter:
            return root
    except HFValidationError as error:
        raise CheckpointError(f"{source}: no such folder or file, and not a hub id of the form org/name[@revision]"
                              ) from error
    except GatedRepoError as error:
        raise CheckpointError(f"{repo} is gated: accept its licence on its hub page, then log in with "
                              "`hf auth login` (or set HF_TOKEN)") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(f"{source}: no such folder here, not in the hub's cache, and the hub cannot be reached. "
                              "Check the name and the network, or give a local folder") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointError(f"{source}: no such folder here and no such model or revision on the hub (a private one "
                              "needs `hf auth login`)") from error
    except HfHubHTTPError as error:
        raise CheckpointError(f"{source}: the hub answered with an error ({error})") from error
    raise CheckpointError(f"{source} has none of {', '.join((*WEIGHT_FILES, *ADAPTER_FILES))} on the hub or in "
                          "its cache")


def _first_weights(repo: str, root: Path, folder: Path, commit: str) -> bool:
    """Fetches the weights of one folder of a repository in the first format that it has; returns whether it has any."""
    for name in WEIGHT_FILES:
        if not name.endswith(INDEX):
            if _download(repo, root, folder / name, commit):
                return True
        elif (folder / name).is_file():
            for shard in read_index(folder / name):
                huggingface_hub.hf_hub_download(repo, (folder / shard).relative_to(root).as_posix(), revision=commit)
            return True
    return False


def _snapshot(repo: str, revision: str | None) -> Path:
    """Returns the folder of the hub's cache with the small files of a repository."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=_SMALL_FILES))
    except LocalEntryNotFoundError as error:
        # Newer hub clients refuse a cached folder that lacks any file of the patterns, a README say: ours may do.
        cached = getattr(error, "snapshot_path", None)
        if cached is None:
            raise
        return Path(cached)


def _download(repo: str, root: Path, path: Path, commit: str) -> bool:
    """Returns whether the repository has the file (offline: whether the cache has); it is then in the cache."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        huggingface_hub.hf_hub_download(repo, path.relative_to(root).as_posix(), revision=commit)
    except EntryNotFoundError:
        return False
    return True
