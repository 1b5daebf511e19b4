"""``taskarith compare``: runs in TREC's format side by side, with tests."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_taskarith.cli._development import add_topic_field
from pyterrier_taskarith.cli._models import Commands, check_matplotlib
from pyterrier_taskarith.errors import printable

if TYPE_CHECKING:
    from pyterrier_taskarith.evaluation import Comparison

#: The paper's measures (§3.1).
MEASURES = "P@10,nDCG@3,nDCG@10,AP@100"
#: The names that `compare` knows; not imported from it, so that --help need not wait for SciPy.
TESTS = ("t", "wilcoxon", "fisher")
CORRECTIONS = ("bonferroni", "holm")
INTERVALS = ("t", "bootstrap")
NONE = "none"
FORMATS = ("text", "markdown", "latex", "html")
#: Commas that part measures: those that stand in no parentheses, as AP(rel=2,judged_only=True) has one.
_COMMA = re.compile(r",(?![^()]*\))")


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    parser = commands.add_parser(
        "compare", help="compare runs in TREC's format: table, significance, conclusion",
        description="Evaluates runs on the same queries, picks the best baseline in each measure, tests every other "
                    "run against it, and corrects for the number of comparisons. The defaults are the paper's: "
                    "two-sided paired t-test, Bonferroni, 99 % confidence.",
        epilog="Example: taskarith compare --qrels qrels.txt BM25=bm25.run 'Θ_T=ranker.run.gz' \"Θ'=merged.run\" "
               "--baselines 'BM25,Θ_T'")
    parser.add_argument("runs", metavar="NAME=RUN", nargs="+", help="a run's name in the table and its file (.gz too); "
                                                                    "without NAME= the file's own name")
    parser.add_argument("--qrels", metavar="FILE", required=True, help="judgements: qid, 0, docno, label")
    parser.add_argument("--topics", metavar="FILE", help="the queries that were asked; one of them that a run lacks "
                                                         "counts as 0, and others do not count")
    add_topic_field(parser)
    parser.add_argument("--measures", metavar="LIST", default=MEASURES,
                        help=f"by ir_measures' names or trec_eval's, between commas; {MEASURES} if left out. The "
                             "conclusion is about the first")
    parser.add_argument("--baselines", metavar="NAMES", help="runs among which the best baseline is chosen, between "
                                                             "commas; may be left out with two runs: the first")
    parser.add_argument("--test", choices=TESTS, default=TESTS[0], help="paired and two-sided; t if left out")
    parser.add_argument("--correction", choices=(*CORRECTIONS, NONE), default=CORRECTIONS[0],
                        help="of p values; bonferroni if left out")
    parser.add_argument("--comparisons", metavar="N", type=int,
                        help="how many to correct for; if left out, the runs tested in a measure")
    parser.add_argument("--confidence", metavar="C", type=float, default=0.99, help="0.99 if left out")
    parser.add_argument("--interval", choices=INTERVALS, default=INTERVALS[0],
                        help="confidence intervals of the mean difference: Student's or the bootstrap's; t if left out")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="text if left out")
    parser.add_argument("--table-only", action="store_true", help="print neither the tests nor the conclusion")
    parser.add_argument("--csv", metavar="FILE", help="write every run's value for each query and measure")
    parser.add_argument("--plot", metavar="FILE", help="draw the best tested run's difference to the best baseline, "
                                                       "query by query, in the first measure (PNG, PDF, SVG)")
    parser.set_defaults(run=run, parser=parser)


def run(given: argparse.Namespace) -> None:
    """Prints the comparison and writes the files asked for."""
    check_matplotlib(given, "plot")
    if given.topic_field and not given.topics:
        given.parser.error("--topic-field goes with --topics")
    files = [named_file(text) for text in given.runs]
    from pyterrier_taskarith.data import read_qrels, read_run, read_topics
    from pyterrier_taskarith.evaluation import compare

    qrels = read_qrels(given.qrels)
    topics = read_topics(given.topics, given.topic_field) if given.topics else None
    names = [name for name, _ in files]
    comparison = compare([(name, read_run(path)) for name, path in files], qrels,
                         [measure.strip() for measure in _COMMA.split(given.measures)], topics=topics,
                         baselines=_baselines(given.baselines, names), test=given.test,
                         correction=None if given.correction == NONE else given.correction,
                         n_comparisons=given.comparisons, confidence=given.confidence, interval=given.interval)
    if given.csv:
        comparison.per_query.to_csv(given.csv, index=False)
    if given.plot:
        comparison.plot_differences(path=given.plot)
    print(printable(report(comparison, given.format, table_only=given.table_only)))


def report(comparison: "Comparison", form: str, *, table_only: bool = False) -> str:
    """Returns the table, the tests and the conclusion in the first measure, in one of the formats."""
    table: str = getattr(comparison, f"to_{form}")(details=not table_only)
    if table_only:
        return table
    return f"{table}\n\n{_paragraphs()[form](comparison.in_words([str(comparison.means.columns[0])]))}"


def _paragraphs() -> dict[str, Callable[[str], str]]:
    """Returns what makes a sentence a paragraph of a format."""
    import html

    from pyterrier_taskarith.tables import latex, markdown

    return {"text": str, "markdown": markdown, "latex": latex, "html": lambda text: f"<p>{html.escape(text)}</p>"}


def named_file(text: str) -> tuple[str, Path]:
    """Reads ``NAME=FILE``; the name ends at the first "=" behind which a file is named, for "Θ' (α = 1)" has one too.

    Returns:
        Name and path; of a file without a name, the file's own without its endings.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    ends = [match.start() for match in re.finditer("=", text)]
    for end in ends:
        if text[:end].strip() and (path := Path(text[end + 1:].strip()).expanduser()).is_file():
            return text[:end].strip(), path
    path = Path(text).expanduser()
    if path.is_file():
        return path.name.removesuffix(".gz").rpartition(".")[0] or path.name, path
    raise FileNotFoundError(f"{text}: there is no file {text[ends[0] + 1:] if ends else text}; give NAME=FILE")


def _baselines(text: str | None, names: Sequence[str]) -> str | list[str] | None:
    """Returns the names between commas; a text that is itself a run's name is that one."""
    if text is None or text in names:
        return text
    return [name.strip() for name in text.split(",")]
