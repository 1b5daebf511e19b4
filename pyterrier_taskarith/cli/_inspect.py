"""``taskarith inspect``: what a merge would do."""

import argparse
from importlib.util import find_spec

from pyterrier_taskarith.cli._models import DTYPES, Commands, add_models, merge_of


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    parser = commands.add_parser(
        "inspect", help="show what a merge would do, before it is done",
        description="Shows, layer by layer, how long the task vector is beside the ranker's weights, whether it points "
                    "where the ranker's own training went, and how often they disagree in sign; and which parameters "
                    "are merged, which are kept, and why. Nothing is written but the files asked for.")
    add_models(parser)
    parser.add_argument("--dtype", choices=DTYPES, help="of the output, to see what rounding takes; if left "
                                                                 "out, Θ_T's own")
    parser.add_argument("--parameters", action="store_true", help="print a row for each parameter, too")
    parser.add_argument("--csv", metavar="FILE", help="write a row for each parameter and vector")
    parser.add_argument("--plot", metavar="FILE", help="draw the figures by layer (PNG, PDF, SVG)")
    parser.set_defaults(run=run, parser=parser)


def run(given: argparse.Namespace) -> None:
    """Prints the report and writes the files asked for.

    Raises:
        ImportError: If there is no matplotlib to plot with.
    """
    if given.plot and find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib: pip install matplotlib")
    merge = merge_of(given)
    from pyterrier_taskarith.inspection import inspect_merge

    inspection = inspect_merge(merge, dtype=given.dtype)
    print(inspection.to_text(parameters=given.parameters))
    if given.csv:
        inspection.parameters.to_csv(given.csv, index=False)
    if given.plot:
        inspection.plot(given.plot)
