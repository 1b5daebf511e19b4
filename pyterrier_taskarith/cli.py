"""The command ``taskarith``."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        The exit status: 0, or 1 after an error that the user can mend.
    """
    parser = argparse.ArgumentParser(prog="taskarith", description="Task arithmetic for neural re-rankers.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="tune and compare BM25, Θ_0, Θ_D, Θ_T and Θ' on a small real collection",
                               description="Tunes α and weight on development queries and compares on test queries. "
                                           "Without --collection: docstrings of installed packages; without models: "
                                           "the small triple that the package carries.")
    demo.add_argument("--collection", metavar="DIR", help="a folder with docs.jsonl, queries.tsv and qrels.txt, or a "
                                                          "BEIR folder")
    demo.add_argument("--development", metavar="DIR", help="a folder with the development queries.tsv and qrels.txt "
                                                           "over the same documents")
    for name, symbol in (("ranker", "Θ_T"), ("domain", "Θ_D"), ("base", "Θ_0")):
        demo.add_argument(f"--{name}", metavar="MODEL", help=f"{symbol}: hub id or folder")
    demo.add_argument("--out", metavar="DIR", help="where the plot goes")
    given = parser.parse_args(arguments)
    models = {name: getattr(given, name) for name in ("ranker", "domain", "base") if getattr(given, name)}
    if len(models) not in (0, 3):
        parser.error("give --ranker, --domain and --base together")
    # Imported late: --help and usage errors should not wait for torch.
    from pyterrier_taskarith.demo._run import main as run

    try:
        run(given.collection, given.development, models or None, given.out)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"taskarith: {error}", file=sys.stderr)
        return 1
    return 0
