"""A checkpoint's name -> the folder on this disk that holds it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pyterrier_taskarith.checkpoints._errors import CheckpointError
from pyterrier_taskarith.checkpoints._readers import WEIGHT_FILES, shard_names

_HUB_ID = re.compile(r"^[\w.-]+(?:/[\w.-]+)?(?:@[\w./-]+)?$")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "README.md"]


@dataclass(frozen=True)
class Located:
    """Where a checkpoint lies.

    Attributes:
        source: What the user named.
        root: The folder with everything that belongs to it.
        weights: The folder with ``config.json`` and the weights: ``root``, or the transformer's folder inside a
            sentence-transformers one.
        file: The one weight file to read, where the user named a file.
    """

    source: str
    root: Path
    weights: Path
    file: Path | None = None


def locate(source: str | Path) -> Located:
    """Finds a checkpoint on disk or fetches it from the hub.

    Args:
        source: A folder, a ``.safetensors`` or ``.bin`` file beside its ``config.json``, or a hub id
            ``org/name[@revision]``.

    Raises:
        CheckpointError: If it is neither, is gated, does not exist, or cannot be reached and is not in the cache.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix not in (".safetensors", ".bin"):
            raise CheckpointError(f"{path} is no weight file: name a .safetensors or .bin file, or the model's folder")
        return Located(str(source), path.parent, path.parent, path)
    if path.is_dir():
        return Located(str(source), path, _transformer_folder(path))
    if isinstance(source, Path) or not _HUB_ID.match(source):
        raise CheckpointError(f"{source}: no such folder or file, and no hub id of the form org/name[@revision]")
    root = _fetch(source)
    return Located(source, root, _transformer_folder(root))


def _transformer_folder(root: Path) -> Path:
    """Returns the folder of the transformer: where a sentence-transformers folder says its first module is."""
    modules = root / "modules.json"
    if not modules.is_file():
        return root
    try:
        first = json.loads(modules.read_text(encoding="utf-8"))[0]
        kind, folder = str(first["type"]), str(first["path"])
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{modules} is no list of sentence-transformers modules ({error!r})") from error
    if kind.rsplit(".", 1)[-1] != "Transformer":
        raise CheckpointError(f"{modules}: the first module is {kind!r}; only a Transformer can be merged")
    if ".." in Path(folder).parts or not (root / folder).resolve().is_relative_to(root.resolve()):
        raise CheckpointError(f"{modules} names the folder {folder!r}, which lies outside {root}; refused")
    return root / folder


def _fetch(source: str) -> Path:
    """Downloads the small files, then the weights in the best format there is; offline, uses the hub's cache."""
    repo, _, revision = source.partition("@")
    try:
        root = _snapshot(repo, revision or None)
        commit = root.name  # from here on, so that all files are of one commit even if the hub's branch moves
        folder = _transformer_folder(root).relative_to(root)
        for name in WEIGHT_FILES:
            if name.endswith(".index.json"):
                shards = shard_names(root / folder / name) if (root / folder / name).is_file() else []
                for shard in shards:
                    hf_hub_download(repo, (folder / shard).as_posix(), revision=commit)
                if shards:
                    return root
            elif _download(repo, (folder / name).as_posix(), commit):
                return root
    except HFValidationError as error:
        raise CheckpointError(f"{source}: no such folder or file, and no hub id of the form org/name[@revision]"
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
    raise CheckpointError(f"{source} has none of {', '.join(WEIGHT_FILES)} on the hub or in its cache")


def _snapshot(repo: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_SMALL_FILES))
    except LocalEntryNotFoundError as error:
        # Newer hub clients refuse a cached folder that lacks any file of the patterns, a README say: ours may do.
        cached = getattr(error, "snapshot_path", None)
        if cached is None:
            raise
        return Path(cached)


def _download(repo: str, name: str, revision: str) -> bool:
    """Returns whether the repository has the file (offline: whether the cache has); it is then in the cache."""
    try:
        hf_hub_download(repo, name, revision=revision)
    except EntryNotFoundError:
        return False
    return True
