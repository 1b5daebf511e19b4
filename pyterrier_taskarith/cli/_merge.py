"""``taskarith merge``: Θ' as an ordinary model folder."""

import argparse
import time
from pathlib import Path

from pyterrier_taskarith.cli._models import DTYPES, Commands, add_models, merge_of


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    parser = commands.add_parser(
        "merge", help="write Θ' as an ordinary model folder",
        description="Writes Θ' = Θ_T + Σ α(Θ_D − Θ_0) as a folder that transformers, sentence-transformers and "
                    "pyterrier_t5 load, with a model card that states the recipe. The folder is complete or absent; if "
                    "this very merge is there already, nothing is done.")
    add_models(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder to make")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights that are written; if left out, Θ_T's own")
    parser.add_argument("--shard-size", metavar="SIZE", help="largest weight file, such as 500MB; if left out, 5GB")
    parser.add_argument("--overwrite", action="store_true", help="replace another merge that is there")
    parser.set_defaults(run=run, parser=parser)


def run(given: argparse.Namespace) -> None:
    """Writes the folder and prints what was done."""
    merge = merge_of(given)
    from pyterrier_taskarith.arithmetic import MergeError
    from pyterrier_taskarith.arithmetic.save import inputs

    print(f"Θ' = {merge}\n{merge.plan.summary()}.", flush=True)
    folder, start = Path(given.out), time.perf_counter()
    before = _identity(folder)
    try:
        merge.save(folder, dtype=given.dtype, shard_size=given.shard_size, overwrite=given.overwrite, verbose=True)
    except MergeError as error:
        raise MergeError(str(error).replace("overwrite=True", "--overwrite")) from error
    seconds = time.perf_counter() - start
    if _identity(folder) == before:
        print(f"{folder} holds this merge already.")
        return
    read = sum(path.stat().st_size for path in {file.path for file in inputs(merge)})
    written = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    print(f"{folder}: {_size(written)} of weights made of {_size(read)} in {seconds:.2f} s "
          f"({(read + written) / 1e9 / seconds:.2f} GB/s).")


def _identity(folder: Path) -> int | None:
    """Returns what changes when a folder is replaced by another: its inode."""
    return folder.stat().st_ino if folder.exists() else None


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
