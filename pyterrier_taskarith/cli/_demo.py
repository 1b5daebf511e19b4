"""``taskarith demo``: the whole story on a small real collection."""

import argparse

from pyterrier_taskarith.cli._models import ROLES, Commands


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    demo = commands.add_parser("demo", help="tune and compare BM25, Θ_0, Θ_D, Θ_T and Θ' on a small real collection",
                               description="Tunes α and weight on development queries and compares on test queries. "
                                           "Without --collection: docstrings of installed packages; without models: "
                                           "the small triple that the package carries.")
    demo.add_argument("--collection", metavar="DIR", help="a folder with docs.jsonl, queries.tsv and qrels.txt, or a "
                                                          "BEIR folder")
    demo.add_argument("--development", metavar="DIR", help="a folder with the development queries.tsv and qrels.txt "
                                                           "over the same documents")
    for name, symbol in ROLES.items():
        demo.add_argument(f"--{name}", metavar="MODEL", help=f"{symbol}: hub id or folder")
    demo.add_argument("--out", metavar="DIR", help="where the plot goes")
    demo.set_defaults(run=run, parser=demo)


def run(given: argparse.Namespace) -> None:
    """Runs the demo and prints its report."""
    models = {name: getattr(given, name) for name in ROLES if getattr(given, name)}
    if len(models) not in (0, len(ROLES)):
        given.parser.error("give --ranker, --domain and --base together")
    from pyterrier_taskarith.demo import main

    main(given.collection, given.development, models or None, given.out)
