"""Table 2: other languages, α = 1: ``python -m experiments.table2``."""

from collections.abc import Sequence

from experiments.command import main
from experiments.measuring import measure
from experiments.options import Request
from experiments.report import Section
from experiments.scoring import Workbench
from experiments.table1 import compared_sections, summary

NAME = "table2"


def table2(bench: Workbench, request: Request) -> list[Section]:
    """Returns the report: the paper's table with our figures, ours beside the paper's, and what agrees."""
    plan = request.plan(biomedical=False)
    measured = measure(bench, plan)
    if request.rehearsal:
        from experiments.rehearsal.audit import audit

        bench.progress.say(audit(bench, plan, measured))
    return [*compared_sections(NAME, measured), *summary(NAME, measured)]


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    main(NAME, __doc__ or "", table2, argv)


if __name__ == "__main__":
    run()
