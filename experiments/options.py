"""What a table's command is asked for: its options, and the systems, datasets and settings that they come to."""

import argparse
import math
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from experiments.datasets import DATASETS, Dataset
from experiments.measuring import Plan
from experiments.protocol import ALPHAS, READINGS
from experiments.report import ENDINGS
from experiments.scoring import Settings
from experiments.systems import BIOMEDICAL, SYSTEMS, System
from pyterrier_taskarith.errors import TaskArithError


class Named(Protocol):
    """What is declared under a name."""

    @property
    def name(self) -> str:
        """The name in the tables."""


Declared = TypeVar("Declared", bound=Named)


@dataclass(frozen=True)
class Request:
    """What a command was asked for.

    Attributes:
        systems: The systems to run.
        datasets: The datasets to measure.
        developments: The datasets whose development queries α is chosen on, whichever are measured.
        reading: How Θ' is scored while α is chosen.
        settings: Where and how.
        rehearsal: Whether the models are stand-ins, which are then audited.
        alphas: What α is chosen from.
    """

    systems: Sequence[System]
    datasets: Sequence[Dataset]
    developments: Sequence[Dataset]
    reading: str
    settings: Settings
    rehearsal: bool = False
    alphas: Sequence[float] = ALPHAS

    def tuning_sets(self) -> Sequence[Dataset]:
        """Returns the datasets whose development queries α is chosen on.

        Raises:
            TaskArithError: If there are none.
        """
        if not self.developments:
            raise TaskArithError(
                "no dataset has development queries, which α is chosen on: declare a dataset with them")
        return self.developments

    def plan(self, *, biomedical: bool) -> Plan:
        """Returns the plan of Table 1 (the biomedical datasets, α tuned) or Table 2 (the other ones, α = 1).

        Raises:
            TaskArithError: If no dataset is of the table, or, of Table 1, none has development queries.
        """
        datasets = [dataset for dataset in self.datasets if (dataset.target == BIOMEDICAL) == biomedical]
        if not datasets:
            raise TaskArithError(
                f"none of the datasets {[dataset.name for dataset in self.datasets]} is of this table: "
                f"those with the target {BIOMEDICAL!r} are of Table 1, the others of Table 2")
        return Plan(self.systems, datasets, self.tuning_sets() if biomedical else (), self.reading,
                    self.alphas)


def make_parser(name: str, about: str) -> argparse.ArgumentParser:
    """Returns the parser of a table's options."""
    parser = argparse.ArgumentParser(f"python -m experiments.{name}", description=about)
    parser.add_argument("--folder", type=Path, default=Path("paper"),
                        help="where runs, indexes, reports and the log are written; what is there is not made again "
                             "(%(default)s)")
    parser.add_argument("--systems", metavar="NAMES", help="systems, between commas; all if left out")
    parser.add_argument("--datasets", metavar="NAMES", help="datasets to measure, between commas; all if left out")
    parser.add_argument("--development", metavar="NAMES",
                        help="datasets whose development queries α is chosen on; all that have some if left out")
    parser.add_argument("--limit-queries", metavar="N", type=positive, help="only the first N queries of each split")
    parser.add_argument("--device", help='such as "cpu" or "cuda:0"; a GPU where there is one if left out')
    parser.add_argument("--dtype", choices=("auto", "float32", "float16", "bfloat16"), default="auto",
                        help="of the models; auto: float32 on a CPU, the checkpoint's own on a GPU")
    parser.add_argument("--collections", metavar="DIR", type=Path,
                        help="a folder of local collections, which go before ir_datasets: "
                             f"{', '.join(dataset.folder for dataset in DATASETS)}")
    parser.add_argument("--run", metavar="DATASET=FILE", action="append", default=[],
                        help="take a dataset's first stage from a run in TREC's format (.gz too), for a collection too "
                             "large to index here; with the development queries too, where α or λ is tuned on them")
    parser.add_argument("--reading", choices=tuple(READINGS), default="alone",
                        help="how Θ' is scored while α is chosen: alone, or half with BM25 (%(default)s)")
    parser.add_argument("--alphas", metavar="A,A,…", type=numbers, default=ALPHAS,
                        help="what α is chosen from; the paper's .1, .2 … 1 if left out. A system's α in the paper "
                             "must be there")
    parser.add_argument("--declarations", metavar="FILE", type=Path,
                        help="a Python file with further SYSTEMS or DATASETS, as systems.py and datasets.py have them")
    parser.add_argument("--format", choices=tuple(ENDINGS), default="text", help="of what is printed (%(default)s)")
    parser.add_argument("--rehearse", action="store_true",
                        help="run with small models and collections made on the spot, and audit every step; with "
                             "--collections on these, with a small real triple (--models)")
    parser.add_argument("--models", metavar="DIR", type=Path,
                        help="of a rehearsal on --collections: a folder with ranker, domain and base; the package's "
                             "own small triple if left out")
    parser.add_argument("--debug", action="store_true", help="print the traceback of every error")
    return parser


def requested(given: argparse.Namespace) -> Request:
    """Returns what the options ask for.

    Raises:
        TaskArithError: If a name is unknown.
    """
    systems, datasets = list(SYSTEMS), list(DATASETS)
    if given.declarations is not None:
        further = declared_in(given.declarations)
        systems, datasets = added(systems, further[0]), added(datasets, further[1])
    settings = Settings(given.folder, given.collections, given.limit_queries, given.device, given.dtype)
    if given.rehearse:
        from experiments.rehearsal.rehearsing import stand_ins

        systems, datasets, collections = stand_ins(systems, datasets, given.folder, given.collections, given.models)
        settings = replace(settings, collections=collections, halves=given.collections is not None)
    elif given.models is not None:
        raise TaskArithError("--models is for a rehearsal; systems.py and --declarations name the models of a real run")
    settings = replace(settings, runs=stored_runs(given.run, datasets))
    developments = chosen([dataset for dataset in datasets if dataset.develops], given.development,
                          "dataset with development queries")
    wanted = chosen(systems, given.systems, "system")
    lacking = {system.name: system.paper_alpha for system in wanted
               if system.paper_alpha is not None and system.paper_alpha not in given.alphas}
    if lacking:
        raise TaskArithError("--alphas lacks " + ", ".join(f"{alpha:g} ({name})" for name, alpha in lacking.items())
                             + ", which the paper has: its row could not be compared; add it, or name other --systems")
    return Request(wanted, chosen(datasets, given.datasets, "dataset"), developments, given.reading, settings,
                   given.rehearse, given.alphas)


def declared_in(path: Path) -> tuple[list[System], list[Dataset]]:
    """Returns the systems and datasets of a file of declarations.

    Raises:
        TaskArithError: If it cannot be run, or declares nothing or something else; it is named.
    """
    try:
        names = runpy.run_path(str(path))
    except Exception as error:  # whatever the file does
        raise TaskArithError(f"--declarations {path}: {type(error).__name__}: {error}") from error
    if not {"SYSTEMS", "DATASETS"} & set(names):
        raise TaskArithError(f"--declarations {path}: it has neither SYSTEMS nor DATASETS")
    return _all_of(System, names, "SYSTEMS", path), _all_of(Dataset, names, "DATASETS", path)


def _all_of(kind: type[Declared], names: Mapping[str, object], name: str, path: Path) -> list[Declared]:
    found = names.get(name, ())
    if not isinstance(found, list | tuple) or not all(isinstance(each, kind) for each in found):
        raise TaskArithError(f"--declarations {path}: {name} must be a list of {kind.__name__}, not {found!r}")
    return list(found)


def stored_runs(given: Sequence[str], datasets: Sequence[Dataset]) -> dict[str, Path]:
    """Returns dataset -> the file of its run.

    Raises:
        TaskArithError: If there is no such dataset or file.
    """
    found = {}
    for name, equals, path in (text.partition("=") for text in given):
        if not equals or not path:
            raise TaskArithError(f"--run {name}: write DATASET=FILE")
        chosen(list(datasets), name, "dataset")
        if not Path(path).is_file():
            raise TaskArithError(f"--run {name}={path}: there is no such file")
        found[name.strip()] = Path(path)
    return found


def added(known: list[Declared], further: Sequence[Declared]) -> list[Declared]:
    """Returns what is known with further ones; of the same name, the further one counts."""
    return list({each.name: each for each in (*known, *further)}.values())


def chosen(known: list[Declared], names: str | None, kind: str) -> list[Declared]:
    """Returns those that are named between commas, in the order in which they are known.

    Raises:
        TaskArithError: If a name is unknown.
    """
    if names is None:
        return known
    asked = [name.strip() for name in names.split(",")]
    unknown = [name for name in asked if name not in {each.name for each in known}]
    if unknown:
        raise TaskArithError(f"unknown {kind} {unknown[0]!r}: choose among {', '.join(each.name for each in known)}")
    return [each for each in known if each.name in asked]


def positive(text: str) -> int:
    """Returns a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def numbers(text: str) -> tuple[float, ...]:
    """Returns numbers between commas, in order.

    Raises:
        argparse.ArgumentTypeError: If one is no number, is infinite or comes twice.
    """
    try:
        found = tuple(sorted(float(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers between commas, such as 0.3,0.5,1") from None
    if not all(map(math.isfinite, found)) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r}: finite numbers, each once")
    return found
