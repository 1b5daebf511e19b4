"""``modules.json`` of a sentence-transformers folder: where its modules lie."""

import json
from pathlib import Path

from pyterrier_taskarith.errors import CheckpointError

#: Modules without weights.
_WEIGHTLESS = ("Pooling", "Normalize")


def transformer_folder(root: Path) -> Path:
    """Returns the folder of the transformer: of the first module, or ``root`` where there is no ``modules.json``.

    Raises:
        CheckpointError: If the file is no list of modules, the first is no Transformer, or lies outside ``root``.
    """
    modules = _modules(root)
    if not modules:
        return root
    kind, folder = modules[0]
    if kind != "Transformer":
        raise CheckpointError(f"{root / 'modules.json'}: the first module is {kind!r}; only a Transformer can be "
                              "merged")
    return folder


def further_folders(root: Path, *, weighted: bool = False) -> list[Path]:
    """Returns the folders of the modules after the transformer; if ``weighted``, of those that may have weights."""
    return [folder for kind, folder in _modules(root)[1:]
            if folder != root and not (weighted and kind in _WEIGHTLESS)]


def _modules(root: Path) -> list[tuple[str, Path]]:
    """Returns the modules' kinds and folders."""
    path = root / "modules.json"
    if not path.is_file():
        return []
    try:
        modules = [(str(entry["type"]).rsplit(".", 1)[-1], str(entry["path"]))
                   for entry in json.loads(path.read_text(encoding="utf-8"))]
        if not modules:
            raise ValueError("it is empty")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no list of sentence-transformers modules ({error!r})") from error
    for _, folder in modules:
        if ".." in Path(folder).parts or not (root / folder).resolve().is_relative_to(root.resolve()):
            raise CheckpointError(f"{path} names the folder {folder!r}, which lies outside {root}; refused")
    return [(kind, root / folder) for kind, folder in modules]
