"""What the commands of all tables share: the folder's files, progress, exit statuses, and a rehearsal's heading."""

import sys
from collections.abc import Callable, Sequence

from experiments.loading import first_stage
from experiments.options import Request, make_parser, requested
from experiments.progress import Energy, Progress, hardware, versions
from experiments.report import ENDINGS, Section, written
from experiments.runs import replace as write
from experiments.scoring import FirstStage, Workbench
from pyterrier_taskarith.cli import exit_status
from pyterrier_taskarith.errors import TaskArithError

#: Makes a table's report, and, in a rehearsal, audits it.
Table = Callable[[Workbench, Request], list[Section]]


def main(name: str, about: str, table: Table, argv: Sequence[str] | None = None) -> None:
    """Runs a table's command: makes missing runs, prints the report, and writes it in every format.

    Raises:
        SystemExit: With the status of `exit_status`, or 2 where the command line is wrong.
    """
    parser = make_parser(name, about)
    given = parser.parse_args(argv)
    try:
        request = requested(given)
    except (TaskArithError, FileNotFoundError) as error:
        parser.error(str(error))
    status = exit_status(name, lambda: print(run(name, table, request, given.format), end=""), debug=given.debug)
    if status:
        print(f"Finished runs stay in {given.folder}; the same command goes on from there.", file=sys.stderr)
        sys.exit(status)


def run(name: str, table: Table, request: Request, form: str = "text", first: FirstStage = first_stage) -> str:
    """Makes a table and writes its files; returns the report in one format."""
    settings = request.settings
    settings.folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(settings.folder / "log.txt")
    progress.say(f"{name}: systems {', '.join(system.name for system in request.systems)}; datasets "
                 f"{', '.join(dataset.name for dataset in request.datasets)}; {settings}")
    progress.say(", ".join(f"{package} {number}" for package, number in versions().items()))
    progress.say(f"{hardware()}; nothing is drawn at random, so there is no seed")
    bench = None
    try:
        bench = Workbench(settings, progress, first)
        with Energy(progress):
            sections = table(bench, request)
        if bench.remarks:
            sections.insert(0, Section("Stored runs", sentences=list(bench.remarks.values())))
        if request.rehearsal:
            sections.insert(0, rehearsed(request))
    except Exception as error:
        progress.log(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
        raise
    finally:
        if bench is not None:
            bench.close()
        progress.close()
    for each, ending in ENDINGS.items():
        write(settings.folder / f"{name}{settings.part}{ending}", written(sections, each).encode())
    return written(sections, form)


def rehearsed(request: Request) -> Section:
    """Returns what a rehearsal's report begins with: its figures are of stand-ins."""
    from experiments.rehearsal.rehearsing import in_words

    models = [f"{system.name}: {system.ranker}" for system in request.systems]
    real = request.settings.halves
    return Section(f"A rehearsal: the figures are not of the paper's models{'' if real else ', nor of its datasets'}",
                   sentences=[f"Models that stand in: {'; '.join(models)}.",
                              "Collections: " + (f"{in_words(request.datasets)}; with development queries: "
                                                 f"{in_words(request.developments)}" if real else "made on the spot")
                              + "."])
