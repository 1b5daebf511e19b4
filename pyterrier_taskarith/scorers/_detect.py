"""Which scorer a ranker needs, from its configuration."""

from collections.abc import Callable

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers._bi_encoder import BiEncoder
from pyterrier_taskarith.scorers._errors import ScorerError
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions
from pyterrier_taskarith.scorers._seq2seq import PREDICTION_TOKENS, Seq2Seq

#: What a user calls a scorer -> the scorer.
SCORERS: dict[str, Callable[[Checkpoint, ScorerOptions], Scorer]] = {"bi-encoder": BiEncoder, "seq2seq": Seq2Seq}


def detect(checkpoint: Checkpoint) -> str:
    """Returns the name of the scorer for a ranker: its folder's layout and its config.json decide.

    Raises:
        ScorerError: If they do not say.
    """
    if (checkpoint.located.root / "modules.json").is_file():
        return "bi-encoder"
    if checkpoint.config["model_type"] in PREDICTION_TOKENS:
        return "seq2seq"
    raise ScorerError(f"{checkpoint.source} is a {checkpoint.config['model_type']!r} model without modules.json, so "
                      f"how it scores is not stated; say it with scorer=, one of {', '.join(SCORERS)} "
                      "('bi-encoder' then means mean pooling and cosine). Is it really the ranker, Θ_T? The order is "
                      "ranker, domain, base")


def make_scorer(checkpoint: Checkpoint, name: str, options: ScorerOptions) -> Scorer:
    """Builds the scorer called ``name``; "auto" is what :func:`detect` says.

    Raises:
        ScorerError: If there is no such scorer, or the checkpoint does not suit it.
    """
    name = detect(checkpoint) if name == "auto" else name
    if name not in SCORERS:
        raise ScorerError(f"scorer={name!r}: choose 'auto' or one of {', '.join(SCORERS)}")
    return SCORERS[name](checkpoint, options)
