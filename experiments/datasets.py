"""The paper's eight datasets, declared. A further one is one more entry here, or in a file given as --declarations."""

from dataclasses import dataclass

from experiments.systems import BIOMEDICAL, ENGLISH, FRENCH, GERMAN, SPANISH

#: What an ir_datasets id begins with.
IRDS = "irds:"


@dataclass(frozen=True)
class Dataset:
    """A test collection of the paper.

    Attributes:
        name: As in the tables.
        folder: Name of its folder where collections are local files (BEIR's layout, or docs.jsonl, queries.tsv and
            qrels.txt).
        target: What Θ_D is to be adapted to; see systems.py.
        test: Where its test queries are: an ``irds:`` id; empty where there are only local files.
        corpus: The ``irds:`` id of its documents.
        development: Where its development queries are: an ``irds:`` id, or of local files only "local"; empty where it
            has none.
        development_folder: Of local files, the folder of the development queries where it is another one.
        development_share: The part of the development queries that counts, from the first in file order on.
        tunes_weight: Whether λ is tuned on its development queries; else it is .5.
        language: Of its text, for the first stage.
    """

    name: str
    folder: str
    target: str
    test: str = ""
    corpus: str = ""
    development: str = ""
    development_folder: str = ""
    development_share: float = 1.0
    tunes_weight: bool = False
    language: str = "english"

    @property
    def develops(self) -> bool:
        """Whether it has development queries."""
        return bool(self.development or self.development_folder)


DATASETS: tuple[Dataset, ...] = (
    Dataset(
        name="SciFact",
        folder="scifact",
        target=BIOMEDICAL,
        test="irds:beir/scifact/test",
        corpus="irds:beir/scifact",
        development="irds:beir/scifact/train",
        development_folder="scifact_train",
        development_share=0.2,  # 161 of 809
        tunes_weight=True,
    ),
    Dataset(
        name="NFCorpus",
        folder="nfcorpus",
        target=BIOMEDICAL,
        test="irds:beir/nfcorpus/test",
        corpus="irds:beir/nfcorpus",
        development="irds:beir/nfcorpus/dev",
        tunes_weight=True,
    ),
    Dataset(
        name="SCIDOCS",
        folder="scidocs",
        target=BIOMEDICAL,
        test="irds:beir/scidocs",
        corpus="irds:beir/scidocs",
    ),
    Dataset(
        name="TREC-COVID",
        folder="trec-covid",
        target=BIOMEDICAL,
        test="irds:beir/trec-covid",
        corpus="irds:beir/trec-covid",
    ),
    Dataset(
        name="GermanQuAD",  # of BEIR, and not in ir_datasets
        folder="germanquad",
        target=GERMAN,
        language="german",
    ),
    Dataset(
        name="MIRACL Spanish",
        folder="miracl_es",
        target=SPANISH,
        test="irds:miracl/es/dev",
        corpus="irds:miracl/es",
        language="spanish",
    ),
    Dataset(
        name="MIRACL French",
        folder="miracl_fr",
        target=FRENCH,
        test="irds:miracl/fr/dev",
        corpus="irds:miracl/fr",
        language="french",
    ),
    Dataset(
        name="MIRACL English",
        folder="miracl_en",
        target=ENGLISH,
        test="irds:miracl/en/dev",
        corpus="irds:miracl/en",
    ),
)
