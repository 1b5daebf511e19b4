"""The index of a sharded model: which tensor is in which file."""

import json
from pathlib import Path

from pyterrier_taskarith.checkpoints._header import MOST_HEADER, unique
from pyterrier_taskarith.errors import CheckpointError

#: How the name of an index ends; before it stands the ending of its shards.
INDEX = ".index.json"


def read_index(path: Path) -> dict[str, frozenset[str]]:
    """Returns file name -> names of its tensors; the files are all of the index's own folder.

    Raises:
        CheckpointError: If it is no index, names a tensor twice, or names a file elsewhere or of another kind.
    """
    try:
        if path.stat().st_size > MOST_HEADER:
            raise ValueError(f"more than {MOST_HEADER} bytes")
        weight_map = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)["weight_map"]
        shards: dict[str, set[str]] = {}
        for name, shard in weight_map.items():
            shards.setdefault(shard, set()).add(name)
        if not shards:
            raise ValueError("it lists no tensor")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no shard index: it needs a 'weight_map' of tensor name to file name "
                              f"({error!r})") from error
    ending = Path(path.name.removesuffix(INDEX)).suffix
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or shard in (".", "..") or len(shard) > 200:
            raise CheckpointError(f"{path} names the shard {shard!r}, which is not a file of its own folder; refused")
        if not shard.endswith(ending):
            raise CheckpointError(f"{path} names the shard {shard!r}, which is no {ending} file; refused")
    return {shard: frozenset(shards[shard]) for shard in sorted(shards)}
