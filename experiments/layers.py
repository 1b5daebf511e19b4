"""The ablation of layers: the task vector in one layer only, or in all but one: ``python -m experiments.layers``.

The paper prints no figures of it. α is the tuned one (--reading), and nDCG@10 is of Θ' alone and half with BM25 on the
development queries, as in Table 3.
"""

from collections.abc import Sequence

from experiments.command import main
from experiments.datasets import Dataset
from experiments.layout import READINGS_IN_WORDS, number
from experiments.loading import DEVELOPMENT
from experiments.options import Request
from experiments.paper import RANKER
from experiments.protocol import READINGS, choose_alpha, values
from experiments.report import Section
from experiments.scoring import Alpha, Workbench
from experiments.systems import BIOMEDICAL, System
from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.evaluation import highest
from pyterrier_taskarith.families import layer_of
from pyterrier_taskarith.tables import Cell, Table

NAME = "layers"


def layers(bench: Workbench, request: Request) -> list[Section]:
    """Returns the report: a table for each system."""
    developments = request.tuning_sets()
    systems = [system for system in request.systems if BIOMEDICAL in system.domains]
    if not systems:
        raise TaskArithError(
            f"none of the systems {[system.name for system in request.systems]} has a biomedical model")
    bench.find(systems, [BIOMEDICAL])
    where = {system.name: places(bench, system) for system in systems}
    for system in systems:
        for dataset in developments:
            # α's grid, Θ_T, and each place alone and left out.
            bench.expect(system, dataset, DEVELOPMENT, len(request.alphas) + 1 + 2 * len(where[system.name]))
    sections = []
    for system in systems:
        choice = choose_alpha(bench, system, developments, request.reading, request.alphas)
        rows = ablations(where[system.name], choice.alpha)
        found = {dataset.name: {name: scored(bench, system, dataset, variant, alpha)
                                for name, (variant, alpha) in rows.items()} for dataset in developments}
        if request.rehearsal:
            from experiments.rehearsal.audit import audit_layers

            bench.progress.say(f"{system.name}, "
                               + audit_layers(bench, system, developments, choice, list(rows.values())))
        sections.append(Section(f"{system.name}: layers, α = {choice.alpha:g}", [table_of(found, list(rows))]))
    return sections


def places(bench: Workbench, system: System) -> list[str]:
    """Returns where a system's merged parameters stand: "embeddings", "encoder.0" …, in order."""
    found: dict[tuple[str, int], str] = {}
    for name in bench.reranker(system, BIOMEDICAL).plan.merged:
        side, layer = layer_of(name)
        if layer is None:
            found[("" if side == "embeddings" else "~", -1 if side == "embeddings" else len(side))] = side
        else:
            found[side, layer] = f"{side}.{layer}" if side else str(layer)
    return [found[key] for key in sorted(found)]


def ablations(where: Sequence[str], alpha: float) -> dict[str, tuple[str, Alpha | None]]:
    """Returns the rows of the ablation: name -> variant and α, where needed by layers."""
    rows: dict[str, tuple[str, Alpha | None]] = {"none (Θ_T)": (RANKER, None), "all": ("Θ'", alpha)}
    for place in where:
        rows[f"only {place}"] = ("Θ'", {"default": 0.0, place: alpha})
    for place in where:
        rows[f"all but {place}"] = ("Θ'", {"default": alpha, place: 0.0})
    return rows


def scored(bench: Workbench, system: System, dataset: Dataset, variant: str, alpha: Alpha | None) -> list[float]:
    """Returns nDCG@10 on a dataset's development queries by every reading."""
    run = bench.neural(system, dataset, DEVELOPMENT, variant, alpha)
    return values(bench, dataset, run, READINGS.values())


def table_of(found: dict[str, dict[str, list[float]]], rows: Sequence[str]) -> Table:
    """Returns a row for each ablation, a column for each dataset and reading, and the difference to all layers."""
    header = ["Task vector in"]
    for dataset in found:
        for reading in READINGS:
            header += [f"{dataset}, {READINGS_IN_WORDS[reading]}", "− all"]
    body = []
    for name in rows:
        cells = [Cell(name)]
        for by_row in found.values():
            for place in range(len(READINGS)):
                value, whole = by_row[name][place], by_row["all"][place]
                best = highest([each[place] for each in by_row.values()])[list(by_row).index(name)]
                cells += [Cell(number(value), bold=bool(best)), Cell(number(value - whole, sign=True))]
        body.append(tuple(cells))
    return Table(tuple(header), tuple(body), ("nDCG@10 on the development queries.",))


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    main(NAME, __doc__ or "", layers, argv)


if __name__ == "__main__":
    run()
