"""``taskarith cache``: what scores are kept, and how to be rid of them."""

import argparse
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_taskarith._files import home
from pyterrier_taskarith.cli._models import Commands
from pyterrier_taskarith.errors import CacheError

if TYPE_CHECKING:
    from pyterrier_taskarith._score_cache import CachedScores

ALL = "all"


def default_folder() -> Path:
    """Returns the folder of scores that commands use where none is named."""
    return home() / "scores"


def add_to(commands: Commands) -> None:
    """Adds the subcommand's parser."""
    parser = commands.add_parser(
        "cache", help="show or clear the scores that are kept on disk",
        description="Shows what a folder of scores holds, as 'cache=' of TaskArithReranker and '--cache' of taskarith "
                    "sweep keep them: for each ranker which weights and α, how many scores, and when they were last "
                    "used. A score is kept under the weights of the three models, α, query and text, so none is ever "
                    "out of date; clearing gives room back.")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="if left out, the folder of a --cache without one")
    parser.add_argument("--clear", metavar="WHAT", action="append", default=[],
                        help="forget scores: 'all', the number of a line, or a ranker's name; any number of times")
    parser.set_defaults(run=run, parser=parser)


def run(given: argparse.Namespace) -> None:
    """Prints what the cache holds, or what was cleared."""
    from pyterrier_taskarith._score_cache import FILE, ScoreCache

    folder = Path(given.folder).expanduser() if given.folder else default_folder()
    if not (folder / FILE).is_file():
        if given.folder:
            raise FileNotFoundError(f"{folder} holds no scores: there is no {FILE}")
        print(f"{folder}: no scores.")
        return
    cache = ScoreCache(folder)
    entries = cache.entries()
    if given.clear:
        print(f"{cache.clear(_numbers(given.clear, entries)):,} scores forgotten.")
        entries = cache.entries()
    scores = sum(entry.scores for entry in entries)
    print(f"{cache.path}: {scores:,} scores, {cache.size / 1e6:,.2f} MB.")
    for ranker, group in groupby(entries, key=lambda entry: entry.ranker):
        print(f"\n{ranker}")
        print(*_lines(list(group)), sep="\n")


def _lines(entries: "list[CachedScores]") -> list[str]:
    """Returns a line for each setting of a ranker, in columns, with their sum where there are several."""
    rows = [(str(entry.number), f"{entry.scores:,}", time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
             entry.scorer, entry.weights) for entry in entries]
    table = [("no.", "scores", "last used", "scored by", "weights"), *rows]
    if len(rows) > 1:
        table.append(("", f"{sum(entry.scores for entry in entries):,}", "", "", "in all"))
    wide = [max(len(row[column]) for row in table) for column in range(5)]
    return [f"  {row[0]:>{wide[0]}}  {row[1]:>{wide[1]}}  {row[2]:<{wide[2]}}  {row[3]:<{wide[3]}}  {row[4]}"
            for row in table]


def _numbers(what: Iterable[str], entries: "list[CachedScores]") -> list[int] | None:
    """Returns the numbers of the lines that are asked for; None: all."""
    numbers: list[int] = []
    for asked in what:
        if asked == ALL:
            return None
        found = [entry.number for entry in entries if asked in (str(entry.number), entry.ranker)]
        if not found:
            rankers = ", ".join(dict.fromkeys(entry.ranker for entry in entries))
            raise CacheError(f"--clear {asked}: no such number or ranker; give 'all', a number of the list that "
                             f"taskarith cache prints, or one of {rankers or '(nothing is kept)'}")
        numbers += found
    return numbers
