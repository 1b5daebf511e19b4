"""The figures of Tables 1 and 2 from stored runs: α, then λ, then every measure, and the tests behind the stars."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from experiments.datasets import Dataset
from experiments.loading import DEVELOPMENT, TEST
from experiments.paper import BASE, BASELINES, BM25, CELL, DOMAIN, FIXED, RANKER, TUNED, Figures
from experiments.protocol import ALPHAS, MEASURES, Choice, choose_alpha, choose_lambda, mixed
from experiments.scoring import Workbench
from experiments.systems import System
from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.evaluation import Comparison, compare


@dataclass(frozen=True, eq=False)
class Measured:
    """What a table's runs gave.

    Attributes:
        figures: Ours.
        choices: Of each system whose α was tuned.
        lambdas: Columns system, variant, dataset, alpha (NaN but of Θ'), lambda, and value: nDCG@10 on the development
            queries (NaN where λ was not tuned).
        comparisons: (system, dataset) -> the comparison that the stars are of.
    """

    figures: Figures
    choices: dict[str, Choice]
    lambdas: pd.DataFrame
    comparisons: dict[tuple[str, str], Comparison]


@dataclass(frozen=True)
class Plan:
    """What a table needs.

    Attributes:
        systems: In the order of the table.
        datasets: Whose test queries are measured.
        developments: Whose development queries α is chosen on; none: Θ' has α = 1 only.
        reading: How Θ' is scored while α is chosen; see protocol.READINGS.
        alphas: What α is chosen from.
    """

    systems: Sequence[System]
    datasets: Sequence[Dataset]
    developments: Sequence[Dataset] = field(default=())
    reading: str = "alone"
    alphas: Sequence[float] = ALPHAS

    def pairs(self) -> list[tuple[System, list[Dataset]]]:
        """Returns each system with the datasets that it has a model for.

        Raises:
            ValueError: If no system has a model for any dataset.
        """
        found = [(system, [dataset for dataset in self.datasets if dataset.target in system.domains])
                 for system in self.systems]
        found = [(system, datasets) for system, datasets in found if datasets]
        if not found:
            raise TaskArithError(f"none of the systems {[system.name for system in self.systems]} has a model adapted "
                                 f"to what the datasets {[dataset.name for dataset in self.datasets]} need")
        return found


def measure(bench: Workbench, plan: Plan) -> Measured:
    """Makes the runs that are missing, and measures them all."""
    expect(bench, plan)
    cells: list[tuple[object, ...]] = []
    lambdas: list[tuple[object, ...]] = []
    choices: dict[str, Choice] = {}
    comparisons = {}
    for system, datasets in plan.pairs():
        if plan.developments:
            choices[system.name] = choose_alpha(bench, system, plan.developments, plan.reading, plan.alphas)
        for dataset in datasets:
            runs = {BM25: bench.first(dataset, TEST)}
            for variant, alpha in line_up(choices.get(system.name)):
                weight, on_development = choose_lambda(bench, system, dataset, variant, alpha)
                lambdas.append((system.name, variant, dataset.name, alpha, weight, on_development.max()))
                runs[variant] = mixed(runs[BM25], bench.neural(system, dataset, TEST, variant, alpha), weight)
            comparisons[system.name, dataset.name] = comparison = compared(bench, dataset, runs)
            cells += _cells(system.name, dataset.name, comparison)
    frame = pd.DataFrame(cells, columns=[*CELL, "value", "star"]).drop_duplicates(CELL)  # BM25's are every system's
    figures = Figures(frame, {name: choice.alpha for name, choice in choices.items()})
    columns = ["system", "variant", "dataset", "alpha", "lambda", "value"]
    return Measured(figures, choices, pd.DataFrame(lambdas, columns=columns).astype({"alpha": "float64"}), comparisons)


def line_up(choice: Choice | None) -> list[tuple[str, float | None]]:
    """Returns the variants of a table in its order, each with its α."""
    published: list[tuple[str, float | None]] = [(BASE, None), (DOMAIN, None), (RANKER, None), (FIXED, 1.0)]
    return published if choice is None else [*published, (TUNED, choice.alpha)]


def compared(bench: Workbench, dataset: Dataset, runs: dict[str, pd.DataFrame]) -> Comparison:
    """Evaluates runs of a dataset's test queries, and tests Θ' against the best baseline of each measure."""
    loaded = bench.data(dataset)
    return compare(runs, loaded.qrels[TEST], MEASURES, topics=loaded.topics[TEST],
                   baselines=[name for name in runs if name in BASELINES])


def expect(bench: Workbench, plan: Plan) -> None:
    """Finds every model, retrieves for every dataset, and tells how many runs are to come."""
    for system, datasets in plan.pairs():
        bench.find([system], [dataset.target for dataset in datasets])
    for system, datasets in plan.pairs():
        tuned = bool(plan.developments)
        for dataset in dict.fromkeys([*plan.developments, *datasets]):
            tests = (4 + tuned) if dataset in datasets else 0
            grid = len(plan.alphas) if dataset in plan.developments else 0
            if tests:
                bench.expect(system, dataset, TEST, tests)
            # Where λ is tuned, also the published models; and Θ' at α = 1 where the grid has not done it.
            published = (3 if grid and 1.0 in plan.alphas else 4) if tests and dataset.tunes_weight else 0
            if grid + published:
                bench.expect(system, dataset, DEVELOPMENT, grid + published)


def _cells(system: str, dataset: str, comparison: Comparison) -> list[tuple[object, ...]]:
    tests = comparison.tests
    stars = set(tests.loc[tests["significant"] & (tests["difference"] > 0), ["system", "measure"]]
                .itertuples(index=False, name=None))
    return [(BM25 if variant == BM25 else system, variant, dataset, name, float(value), (variant, name) in stars)
            for variant, means in comparison.means.iterrows() for name, value in means.items()]
