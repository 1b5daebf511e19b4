"""Table 3: nDCG@10 on the development sets for each α: ``python -m experiments.table3``."""

from collections.abc import Sequence

import pandas as pd

from experiments.claims import curve_claims
from experiments.command import main
from experiments.layout import READINGS_IN_WORDS, curves_table
from experiments.loading import DEVELOPMENT
from experiments.options import Request
from experiments.paper import printed_curves, remarks
from experiments.protocol import READINGS, Choice, choose_alpha
from experiments.report import Section
from experiments.scoring import Workbench
from experiments.systems import BIOMEDICAL
from pyterrier_taskarith.errors import TaskArithError

NAME = "table3"


def table3(bench: Workbench, request: Request) -> list[Section]:
    """Returns the report: the curves by both readings beside the paper's, and what agrees."""
    developments = request.tuning_sets()
    systems = [system for system in request.systems if BIOMEDICAL in system.domains]
    if not systems:
        raise TaskArithError(
            f"none of the systems {[system.name for system in request.systems]} has a biomedical model")
    bench.find(systems, [BIOMEDICAL])
    for system in systems:
        for dataset in developments:
            bench.expect(system, dataset, DEVELOPMENT, len(request.alphas))
    choices = [choose_alpha(bench, system, developments, request.reading, request.alphas) for system in systems]
    if request.rehearsal:
        from experiments.rehearsal.audit import audit_curves

        bench.progress.say(audit_curves(bench, systems, developments, choices))
    ours = pd.concat([choice.curves.assign(system=choice.system) for choice in choices], ignore_index=True)
    theirs = printed_curves()
    return [
        *(Section(f"Table 3, {READINGS_IN_WORDS[reading]}", [curves_table(ours, theirs, reading)])
          for reading in READINGS),
        Section("Agreement with the paper", sentences=[_agreement(choices, reading) for reading in READINGS]),
        Section("The paper's claims", sentences=curve_claims(ours[ours["reading"] == request.reading], theirs)),
        Section("On the paper's figures", sentences=remarks(NAME)),
    ]


def _agreement(choices: list[Choice], reading: str) -> str:
    parts = [f"{choice.system} α = {choice.alpha_of(reading):g}, mean |difference| {choice.distance(reading):.3f}"
             for choice in choices]
    return f"{READINGS_IN_WORDS[reading]}: {'; '.join(parts)}.".replace("nan", "—")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    main(NAME, __doc__ or "", table3, argv)


if __name__ == "__main__":
    run()
