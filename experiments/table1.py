"""Table 1: biomedical and scientific datasets, α tuned: ``python -m experiments.table1``."""

from collections.abc import Sequence

from experiments.claims import CLAIMS, agreement, told
from experiments.command import main
from experiments.layout import beside, chosen_alphas, chosen_lambdas, paper_layout
from experiments.measuring import Measured, measure
from experiments.options import Request
from experiments.paper import printed, remarks
from experiments.report import Section
from experiments.scoring import Workbench

NAME = "table1"
STARS = ("* significantly better than the best of BM25, Θ_0, Θ_D and Θ_T in that measure: two-sided paired Student's "
         "t-test, Bonferroni over the variants of Θ', 99 % confidence. Bold: the best of BM25 and the system's rows.")


def table1(bench: Workbench, request: Request) -> list[Section]:
    """Returns the report: the paper's table with our figures, ours beside the paper's, α, λ, and what agrees."""
    plan = request.plan(biomedical=True)
    measured = measure(bench, plan)
    if request.rehearsal:
        from experiments.rehearsal.audit import audit

        bench.progress.say(audit(bench, plan, measured))
    return sections_of(measured)


def sections_of(measured: Measured) -> list[Section]:
    """Returns the report of what was measured."""
    theirs = printed(NAME)
    return [
        *compared_sections(NAME, measured),
        Section("α", [chosen_alphas(measured, theirs.alphas)]),
        Section("λ", [chosen_lambdas(measured)]),
        *summary(NAME, measured),
    ]


def compared_sections(name: str, measured: Measured) -> list[Section]:
    """Returns the paper's table with our figures, and ours beside the paper's for each dataset."""
    theirs = printed(name)
    return [
        Section(f"Table {name.removeprefix('table')}, our figures", [paper_layout(measured.figures, [STARS])]),
        *(Section(f"{dataset}: ours, the paper's, difference", [beside(measured.figures, theirs, dataset)])
          for dataset in measured.figures.names("dataset")),
    ]


def summary(name: str, measured: Measured) -> list[Section]:
    """Returns what agrees with the paper, in words."""
    theirs = printed(name)
    return [
        Section("Agreement with the paper", sentences=[agreement(measured.figures, theirs)]),
        Section("The paper's claims", sentences=told(CLAIMS[name], measured.figures, theirs)),
        Section("On the paper's figures", sentences=remarks(name)),
    ]


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    main(NAME, __doc__ or "", table1, argv)


if __name__ == "__main__":
    run()
