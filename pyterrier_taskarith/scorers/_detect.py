"""Which scorer a ranker needs, from its configuration."""

from collections.abc import Callable

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.families import family_of
from pyterrier_taskarith.scorers._bi_encoder import BiEncoder
from pyterrier_taskarith.scorers._causal import Causal
from pyterrier_taskarith.scorers._cross_encoder import CrossEncoder
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions
from pyterrier_taskarith.scorers._seq2seq import Seq2Seq
from pyterrier_taskarith.scorers._settings import read_about, read_modules

#: What a user calls a scorer -> the scorer.
SCORERS: dict[str, Callable[[Checkpoint, ScorerOptions], Scorer]] = {
    "bi-encoder": BiEncoder, "cross-encoder": CrossEncoder, "seq2seq": Seq2Seq, "causal": Causal}


def detect(checkpoint: Checkpoint) -> str:
    """Returns the name of the scorer for a ranker: its folder's layout and its config.json decide, in this order.

    A folder that sentence-transformers' CrossEncoder has written is a cross-encoder; a Pooling in ``modules.json``
    makes a bi-encoder, whatever model is pooled; an architecture that ends in "ForSequenceClassification" makes a
    cross-encoder; then the model type decides.

    Raises:
        ScorerError: If none of these decides.
    """
    modules, model_type = [module.kind for module in read_modules(checkpoint)], checkpoint.config["model_type"]
    if read_about(checkpoint, {"truncate_dim": int}).get("model_type") == "CrossEncoder":
        return "cross-encoder"
    if "Pooling" in modules:
        return "bi-encoder"
    if any(str(name).endswith("ForSequenceClassification") for name in checkpoint.config.get("architectures") or ()):
        return "cross-encoder"
    if modules:
        return "bi-encoder"  # which raises an error that names the missing module
    scorer = family_of(str(model_type)).scorer
    if scorer:
        return scorer
    raise ScorerError(f"{checkpoint.source} is a {model_type!r} model without modules.json or a classification head, "
                      f"which does not say how it scores; give scorer=, one of {', '.join(SCORERS)} "
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
    tokens = {key: getattr(options, key) for key in ("token_false", "token_true") if getattr(options, key) is not None}
    if tokens and name != "seq2seq":
        raise ScorerError(f"{', '.join(f'{key}={token!r}' for key, token in tokens.items())}: a {name} has no "
                          "prediction tokens; leave this out")
    return SCORERS[name](checkpoint, options)
