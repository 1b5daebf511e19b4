"""The paper's six systems, declared. A further one is one more entry here, or in a file given as --declarations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyterrier_taskarith.errors import TaskArithError

#: What a domain model may be adapted to; datasets say which they need.
BIOMEDICAL, GERMAN, SPANISH, FRENCH, ENGLISH = "biomedical", "german", "spanish", "french", "english"


@dataclass(frozen=True)
class Model:
    """A published checkpoint.

    Attributes:
        id: Its hub id, or a folder.
        revision: The commit to take; None: the hub's newest, as the paper states none. What was used is on record
            either way: a run's recipe has the sha256 of the weights.
    """

    id: str
    revision: str | None = None

    @property
    def source(self) -> str:
        """What a re-ranker takes."""
        return self.id if self.revision is None else f"{self.id}@{self.revision}"

    def __str__(self) -> str:
        path = Path(self.id)
        return "/".join(path.parts[-2:]) if path.is_absolute() else self.source


@dataclass(frozen=True)
class System:
    """A re-ranker of the paper: three models and how they score.

    Attributes:
        name: As in the tables.
        ranker: Θ_T.
        base: Θ_0.
        domains: What a dataset needs -> Θ_D; the system takes part in the tables of the datasets that need one of them.
        scorer: A scorer's name, as TaskArithReranker's ``scorer``.
        truncation: Of a prompt that is too long, as TaskArithReranker's.
        token_false: Of a T5 model, the token that means not relevant; None: what is known of the ranker.
        token_true: The token that means relevant; None: what is known of the ranker.
        max_length: Tokens of an input; None: what the model states.
        paper_alpha: The α that the paper's Table 1 has; None where it tunes none.
    """

    name: str
    ranker: Model
    base: Model
    domains: Mapping[str, Model]
    scorer: str
    truncation: str = "paper"
    token_false: str | None = None
    token_true: str | None = None
    max_length: int | None = None
    paper_alpha: float | None = None

    def __hash__(self) -> int:
        return hash(self.name)

    def options(self, target: str) -> dict[str, object]:
        """Returns the arguments of a TaskArithReranker.

        Raises:
            TaskArithError: If there is no model for the target.
        """
        if target not in self.domains:
            raise TaskArithError(f"system {self.name} has no model adapted to {target!r}; it has {list(self.domains)}")
        return {"ranker": self.ranker.source, "domain": self.domains[target].source, "base": self.base.source,
                "scorer": self.scorer, "truncation": self.truncation, "token_false": self.token_false,
                "token_true": self.token_true, "max_length": self.max_length}


SYSTEMS: tuple[System, ...] = (
    System(
        name="Llama-2-7B",
        ranker=Model("zyznull/RankingGPT-llama2-7b"),
        base=Model("meta-llama/Llama-2-7b-hf"),  # gated: accept its licence on the hub and log in
        domains={BIOMEDICAL: Model("nlpie/Llama2-MedTuned-7b")},
        scorer="causal",
        paper_alpha=0.8,
    ),
    System(
        name="T5-Large",
        ranker=Model("castorini/monot5-large-msmarco"),
        base=Model("google-t5/t5-large"),
        domains={BIOMEDICAL: Model("razent/SciFive-large-Pubmed_PMC")},
        scorer="seq2seq",
        paper_alpha=0.9,
    ),
    System(
        name="T5-base",
        ranker=Model("castorini/monot5-base-msmarco"),
        base=Model("google-t5/t5-base"),
        domains={BIOMEDICAL: Model("razent/SciFive-base-Pubmed_PMC")},
        scorer="seq2seq",
        paper_alpha=0.7,
    ),
    System(
        name="RoBERTa-base",
        ranker=Model("sentence-transformers/msmarco-roberta-base-v3"),  # named in the authors' scripts
        base=Model("FacebookAI/roberta-base"),
        domains={BIOMEDICAL: Model("allenai/biomed_roberta_base")},
        scorer="bi-encoder",
        paper_alpha=0.3,
    ),
    System(
        name="DistilBERT",
        # The paper does not say which msmarco-distilbert. This is the v3 that its RoBERTa is; v2, v4, tas-b and
        # dot-prod-v3 are others.
        ranker=Model("sentence-transformers/msmarco-distilbert-base-v3"),
        base=Model("distilbert/distilbert-base-uncased"),
        domains={BIOMEDICAL: Model("nlpie/bio-distilbert-uncased")},
        scorer="bi-encoder",
        paper_alpha=0.5,
    ),
    System(
        name="mT5-base",
        ranker=Model("unicamp-dl/mt5-base-en-msmarco"),
        base=Model("google/mt5-base"),
        domains={GERMAN: Model("airKlizz/mt5-base-wikinewssum-german"),
                 SPANISH: Model("airKlizz/mt5-base-wikinewssum-spanish"),
                 FRENCH: Model("airKlizz/mt5-base-wikinewssum-french"),
                 ENGLISH: Model("airKlizz/mt5-base-wikinewssum-english")},
        scorer="seq2seq",
    ),
)
