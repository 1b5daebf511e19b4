"""``taskarith inspect``: what a merge would do."""

import argparse
from typing import TYPE_CHECKING

from pyterrier_taskarith.cli._models import DTYPES, Commands, add_models, check_matplotlib, merge_of

if TYPE_CHECKING:
    from pyterrier_taskarith.arithmetic import Merge


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    parser = commands.add_parser(
        "inspect", help="show what a merge would do, before it is done",
        description="Shows, layer by layer, how long the task vector is beside the ranker's weights, whether it points "
                    "where the ranker's own training went, and how often they disagree in sign; and which parameters "
                    "are merged, which are kept, and why. Nothing is written but the files asked for.")
    add_models(parser)
    parser.add_argument("--dtype", choices=DTYPES, help="of the output, to see what rounding changes; if left out, "
                                                        "Θ_T's own")
    parser.add_argument("--parameters", action="store_true", help="print a row for each parameter, too")
    parser.add_argument("--models", action="store_true", help="print what is read of each model, and from which file, "
                                                              "too")
    parser.add_argument("--csv", metavar="FILE", help="write a row for each parameter and vector")
    parser.add_argument("--plot", metavar="FILE", help="draw the figures by layer (PNG, PDF, SVG)")
    parser.set_defaults(run=run, parser=parser)


def _read(merge: "Merge") -> str:
    """Returns what is read of each model as text; where it is not known how Θ_T scores, why."""
    import torch

    from pyterrier_taskarith.errors import ScorerError
    from pyterrier_taskarith.scorers import ScorerOptions, explain, make_scorer

    try:
        scorer = make_scorer(merge.ranker, "auto", ScorerOptions(torch.float32, torch.device("cpu"), filled=False))
    except ScorerError as error:
        return f"{explain(merge.plan)}\nIt is not known how Θ_T scores: {error}"
    return str(explain(merge.plan, scorer))


def run(given: argparse.Namespace) -> None:
    """Prints the report and writes the files asked for."""
    check_matplotlib(given, "plot")
    merge = merge_of(given)
    from pyterrier_taskarith.inspection import inspect_merge

    inspection = inspect_merge(merge, dtype=given.dtype)
    if given.csv:
        inspection.parameters.to_csv(given.csv, index=False)
    if given.plot:
        inspection.plot(given.plot)
    print(inspection.to_text(parameters=given.parameters))
    if given.models:
        print(f"\nRead from the files:\n{_read(merge)}")
