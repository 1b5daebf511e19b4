"""A model on the hub -> a folder of the hub's cache with what a merge needs, and nothing else."""

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

from pyterrier_taskarith.checkpoints._adapter_config import ADAPTER_CONFIG, ADAPTER_FILES
from pyterrier_taskarith.checkpoints._config import further_folders, transformer_folder
from pyterrier_taskarith.checkpoints._readers import INDEX, WEIGHT_FILES, read_index
from pyterrier_taskarith.errors import CheckpointError

_SMALL_FILES = ["*.json", "*.txt", "*.model", "README.md"]


def fetch(source: str) -> Path:
    """Downloads the small files, then the weights in the best format there is; offline, uses the hub's cache.

    Args:
        source: ``org/name[@revision]``.

    Raises:
        CheckpointError: If there is no such model, it is gated, has no weights, or cannot be reached and is not in the
            cache.
    """
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
                hf_hub_download(repo, (folder / shard).relative_to(root).as_posix(), revision=commit)
            return True
    return False


def _snapshot(repo: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_SMALL_FILES))
    except LocalEntryNotFoundError as error:
        # Newer hub clients refuse a cached folder that lacks any file of the patterns, a README say: ours may do.
        cached = getattr(error, "snapshot_path", None)
        if cached is None:
            raise
        return Path(cached)


def _download(repo: str, root: Path, path: Path, commit: str) -> bool:
    """Returns whether the repository has the file (offline: whether the cache has); it is then in the cache."""
    try:
        hf_hub_download(repo, path.relative_to(root).as_posix(), revision=commit)
    except EntryNotFoundError:
        return False
    return True
