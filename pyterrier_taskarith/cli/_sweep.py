"""``taskarith sweep``: every α and weight for one scoring per α, and the pipeline at the best of them."""

import argparse
from typing import TYPE_CHECKING

from pyterrier_taskarith.cli._development import TuningData, add_development, check_development, development_of
from pyterrier_taskarith.cli._models import Commands, check_matplotlib
from pyterrier_taskarith.cli._reranker import add_reranker, reranker_of
from pyterrier_taskarith.errors import printable

if TYPE_CHECKING:
    from pyterrier_taskarith.tuning import Tuned

MEASURE = "nDCG@10"
#: The names that `tune` knows; not imported from it, so that --help need not wait for torch.
ORDERS = ("joint", "alpha-first")
PREFERRED = ("smallest", "largest")


def numbers(text: str) -> list[float]:
    """Reads numbers between commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers between commas, such as 0,0.3,0.6") from None


def alphas_of(text: str) -> tuple[str, list[float]]:
    """Reads numbers between commas, for all vectors or, as ``NAME=0,0.3``, for one."""
    name, _, values = text.rpartition("=")
    return name.strip(), numbers(values)


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    parser = commands.add_parser(
        "sweep", allow_abbrev=False,  # --alpha, as the other commands have it, would be --alphas
        help="find α and the mix's weight on judged queries, for one scoring per α",
        description="Evaluates weight·minmax(re-ranker at α) + (1 − weight)·minmax(first stage) for every α and weight "
                    "on judged queries, scoring once for each α, and prints the grid, the best setting, and the lines "
                    "of Python that make the pipeline.")
    add_development(parser)
    add_reranker(parser)
    grid = parser.add_argument_group("grid")
    grid.add_argument("--alphas", metavar="[NAME=]LIST", type=alphas_of, action="append", default=[],
                      help="between commas; 0,0.1,…,1 if left out; --alphas=-0.5,0 where the first is negative. With "
                           "several vectors, for all of them together, or NAME=LIST for each, and every combination is "
                           "tried")
    grid.add_argument("--weights", metavar="LIST", type=numbers,
                      help="of the re-ranker, from 0 to 1, between commas; 0,0.1,…,1 if left out; 1 is it alone")
    grid.add_argument("--measure", metavar="NAME", default=MEASURE,
                      help=f"what to maximise, by ir_measures' name or trec_eval's; {MEASURE} if left out")
    grid.add_argument("--order", choices=ORDERS, default=ORDERS[0],
                      help="choose α and weight together, or α by the re-ranker alone and then the weight (the paper's "
                           "order); joint if left out")
    grid.add_argument("--prefer", choices=PREFERRED, default=PREFERRED[0],
                      help="of settings with the same value, the one with the smallest or largest |α|, then weight; "
                           "smallest if left out")
    grid.add_argument("--nodes", metavar="LIST", type=numbers, nargs="?", const=[],
                      help="score at these α alone, five or more, and interpolate in between; the best α is then "
                           "scored exactly. 0,0.3,0.6,0.9,1.2 if no LIST is given. For large models and fine grids")
    parser.add_argument("--resume", metavar="FILE", help="keep the scores of every finished α in this file: the same "
                                                         "command, after it was stopped, goes on from there")
    parser.add_argument("--csv", metavar="FILE", help="write a row for each α and weight")
    parser.add_argument("--plot", metavar="FILE", help="draw the α curves (PNG, PDF, SVG)")
    parser.add_argument("--heat-map", metavar="FILE", help="draw the value of each α and weight")
    parser.set_defaults(run=run, parser=parser)


def run(given: argparse.Namespace) -> None:
    """Prints the grid, the best setting and its code, and writes the files asked for."""
    check_development(given)
    alphas = _alphas(given)
    check_matplotlib(given, "plot", "heat_map")
    reranker = reranker_of(given)
    from pyterrier_taskarith.evaluation import plot_grid
    from pyterrier_taskarith.tuning import ALPHAS, NODES, WEIGHTS, plot_alpha, tune

    data = development_of(given)
    if data.documents is not None:
        reranker = reranker.copy(text_loader=data.documents)
    tuned = tune(reranker, data.run, data.qrels, alphas=alphas or ALPHAS, weights=given.weights or WEIGHTS,
                 measure=given.measure, order=given.order, prefer=given.prefer, topics=data.topics, resume=given.resume,
                 nodes=NODES if given.nodes == [] else given.nodes)
    if given.csv:
        tuned.evidence.to_csv(given.csv, index=False)
    chosen = (tuned.alpha, tuned.weight)
    if given.heat_map:
        plot_grid(tuned.evidence, chosen=chosen, path=given.heat_map)
    if given.plot:
        first = tuned.evidence.loc[tuned.evidence["weight"] == 0, "value"]
        plot_alpha(tuned.evidence, chosen=chosen, title=data.name, path=given.plot,
                   levels={"first stage": float(first.iloc[0])} if len(first) else None)
    print(printable(report(tuned, data)))  # last: an output that cannot be written to must not lose the files


def report(tuned: "Tuned", data: TuningData) -> str:
    """Returns what the command prints: the grid, the best setting, and the pipeline."""
    from pyterrier_taskarith.evaluation import MEAN_TOLERANCE
    from pyterrier_taskarith.tables import Cell, Table, to_text

    columns = [column for column in tuned.evidence.columns if column == "alpha" or column.startswith("alpha.")]
    grid = tuned.evidence.pivot(index=columns, columns="weight", values="value")
    guessed = tuned.error is not None
    guesses = tuned.evidence.pivot(index=columns, columns="weight", values="interpolated") if guessed else grid != grid
    rows = []
    for setting, values, marks in zip(grid.index, grid.to_numpy(), guesses.to_numpy(), strict=True):
        label = ", ".join(f"{alpha:g}" for alpha in (setting if isinstance(setting, tuple) else (setting,)))
        rows.append((Cell(label), *(
            Cell(f"{'~' if mark else ''}{value:.4f}", star=abs(value - tuned.value) <= MEAN_TOLERANCE)
            for value, mark in zip(values, marks, strict=True))))
    names = ", ".join(column.removeprefix("alpha.") if column != "alpha" else "α" for column in columns)
    table = Table((f"{names} \\ weight", *(f"{weight:g}" for weight in grid.columns)), tuple(rows), ())
    return "\n".join([
        f"{tuned.measure} on {data.name}; weight 0 is the first stage alone, 1 the re-ranker alone; * the best"
        f"{'; ~ interpolated' * guessed}:", "", to_text(table), "", f"Chosen: {tuned}.", "",
        "In your own pipeline:", "", *(f"    {line}" for line in pipeline_code(tuned, data))])


def pipeline_code(tuned: "Tuned", data: TuningData) -> list[str]:
    """Returns the lines of Python that make the tuned pipeline."""
    made = repr(tuned.reranker.copy(text_loader=None))
    names = ["Mix", "TaskArithReranker", *["TaskVector"] * ("TaskVector" in made)]
    return [f"from pyterrier_taskarith import {', '.join(names)}", *data.code, f"r = {made}",
            f"pipeline = first >> Mix(r, weight={tuned.weight!r})"]


def _alphas(given: argparse.Namespace) -> list[float] | dict[str, list[float]]:
    """Returns the values of α: for all vectors, or by vector; empty where none are given.

    Raises:
        SystemExit: If they contradict each other.
    """
    names = [name for name, _ in given.alphas]
    if len(set(names)) < len(names) or ("" in names and len(names) > 1):
        given.parser.error("--alphas is given twice: give one LIST, or a NAME=LIST for each vector")
    if any(names) and (given.plot or given.heat_map):
        given.parser.error("--plot and --heat-map draw one α, and --alphas NAME=LIST has several; --csv has them all")
    return dict(given.alphas) if any(names) else [value for _, values in given.alphas for value in values]
