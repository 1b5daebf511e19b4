"""Stand-ins for a rehearsal: small models of the six families in the layouts of the real ones, small collections.

They are random, so their figures mean nothing; audit.py tells whether every step did to them what it should. On real
collections one small real triple stands in for all systems.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.datasets import Dataset
from experiments.rehearsal.small_collections import make_collections
from experiments.systems import Model, System
from pyterrier_taskarith._files import new_folder
from pyterrier_taskarith.demo import demo_models
from pyterrier_taskarith.errors import TaskArithError

#: Dataset -> the folder of a small public collection of its language that stands in where its own is not there.
SIMILAR = {"NFCorpus": "cran", "SCIDOCS": "npl_vaswani", "GermanQuAD": "xquad_de", "MIRACL Spanish": "xquad_es",
           "MIRACL French": "cnil_fr", "MIRACL English": "xquad_en"}
SMALL = "Small BERT"


def stand_ins(systems: Sequence[System], datasets: Sequence[Dataset], folder: Path, collections: Path | None,
              models: Path | None) -> tuple[list[System], list[Dataset], Path]:
    """Returns systems, datasets and the folder of collections for a rehearsal.

    Args:
        systems: The declared systems; each gets a small triple of its family.
        datasets: The declared datasets; each gets a small collection.
        folder: Where they are made.
        collections: Real collections to take instead; the datasets that none stands in for are left out, and one small
            real triple is the only system.
        models: Of real collections, the folder with ranker, domain and base; None: the package's.

    Raises:
        TaskArithError: If models are given without collections, or none of the collections is there.
    """
    if collections is None:
        if models is not None:
            raise TaskArithError(
                "--models needs --collections: the small collections made on the spot suit no real model")
        make_collections(datasets, folder / "rehearsal" / "collections")
        small = [small_system(system, folder / "rehearsal" / "models") for system in systems]
        # The text is English-like, whatever the language that it stands in for.
        english = [replace(dataset, test="", corpus="", development=dataset.development and "local", language="english")
                   for dataset in datasets]
        return small, english, folder / "rehearsal" / "collections"
    kept = [found for dataset in datasets if (found := _found(dataset, collections)) is not None]
    if not kept:
        names = ", ".join(dataset.folder for dataset in datasets)
        raise TaskArithError(f"{collections} holds none of the collections {names}, nor of "
                             f"{', '.join(SIMILAR.values())}")
    triple = demo_models() if models is None else {name: str(models.resolve() / name)
                                                   for name in ("ranker", "domain", "base")}
    targets = dict.fromkeys((dataset.target for dataset in datasets), Model(triple["domain"]))
    return [System(SMALL, Model(triple["ranker"]), Model(triple["base"]), targets, "bi-encoder")], kept, collections


def _found(dataset: Dataset, collections: Path) -> Dataset | None:
    """Returns a dataset that is among local collections, else one like it under its own name, else None."""
    if (collections / dataset.folder).is_dir():
        return dataset
    similar = SIMILAR.get(dataset.name)
    # Not under the paper's name, whose figures are of another collection.
    return replace(dataset, name=similar, folder=similar) if similar and (collections / similar).is_dir() else None


def in_words(datasets: Sequence[Dataset]) -> str:
    """Returns the names of datasets, with what they are in the place of."""
    places = {similar: name for name, similar in SIMILAR.items()}
    return ", ".join(f"{dataset.name} in the place of {places[dataset.name]}" if dataset.name in places
                     else dataset.name for dataset in datasets)


def small_system(system: System, folder: Path) -> System:
    """Returns a system with small models in the places of its own, made where they are missing.

    Raises:
        TaskArithError: If there is no small family for its name.
    """
    from experiments.rehearsal.small_models import MAKERS

    maker = MAKERS.get(system.name)
    if maker is None:
        raise TaskArithError(
            f"there are no small models for {system.name!r}; there are for {', '.join(MAKERS)}: leave it "
            "out with --systems or name the others")
    triples = {target: made(folder / system.name.lower() / target, maker, seed)
               for seed, target in enumerate(system.domains)}
    first = next(iter(triples.values()))
    return replace(system, ranker=Model(str(first / "ranker")), base=Model(str(first / "base")), max_length=None,
                   domains={target: Model(str(triple / "domain")) for target, triple in triples.items()})


def made(folder: Path, maker: Callable[[Path, int], object], seed: int) -> Path:
    """Makes a triple where it is missing; returns its folder."""
    if not folder.is_dir():
        with new_folder(folder) as new:
            maker(new, seed)
    return folder.resolve()
