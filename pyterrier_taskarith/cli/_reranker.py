"""The re-ranker that the options of ``taskarith sweep`` ask for."""

import argparse
from typing import TYPE_CHECKING, Any

from pyterrier_taskarith.cli._cache import default_folder
from pyterrier_taskarith.cli._models import DTYPES, METHODS, add_models, merge_of

if TYPE_CHECKING:
    from pyterrier_taskarith.reranker import TaskArithReranker

#: Options that are TaskArithReranker's arguments of the same name; None: as it decides.
SCORING: dict[str, dict[str, Any]] = {
    "scorer": {"choices": ("bi-encoder", "cross-encoder", "seq2seq", "causal"),
               "help": "how the models score; if left out, by their configuration"},
    "truncation": {"choices": ("keep_prompt", "paper"), "help": "of a prompt that is too long"},
    "token_false": {"metavar": "TOKEN", "help": "of a T5 ranker, its token for not relevant; if left out, by family"},
    "token_true": {"metavar": "TOKEN", "help": "of a T5 ranker, its token for relevant"},
    "dtype": {"choices": DTYPES, "help": "if left out, float32 on a CPU, the ranker's own on a GPU"},
    "device": {"metavar": "DEVICE", "help": "such as cpu or cuda:0; if left out, a GPU where there is one"},
    "batch_tokens": {"metavar": "N", "type": int, "help": "tokens in a batch, padding included"},
    "max_length": {"metavar": "N", "type": int, "help": "tokens of an input; if left out, what the model states"},
    # Its argument is called weights; --weights are those of the mix.
    "resident": {"choices": ("memory", "disk"), "help": "where Θ_T and τ are kept; if left out, in memory if they fit"},
}
#: Options about the models, each without a value where it is not given.
_MODELS = ("ranker", "domain", "base", "vector", "layers", "ties", *METHODS)


def add_reranker(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which models, and how they score."""
    add_models(parser, swept=True)
    scoring = parser.add_argument_group("scoring")
    for name, options in SCORING.items():
        scoring.add_argument(f"--{name.replace('_', '-')}", **options)
    scoring.add_argument("--cache", metavar="DIR", nargs="?", const="", help="keep every score there, for other runs "
                         "and commands; without DIR, in the package's cache. See taskarith cache")


def reranker_of(given: argparse.Namespace) -> "TaskArithReranker":
    """Returns the re-ranker that the options ask for; without any model, the demo's.

    Raises:
        SystemExit: If the options contradict each other.
        TaskArithError: If an argument is not as it should be.
    """
    asked = [name for name in _MODELS if getattr(given, name) not in (None, [])]
    if asked and given.ranker is None:
        given.parser.error("give --ranker too, or no models at all")
    merge = merge_of(given) if asked else None
    from pyterrier_taskarith.arithmetic import TaskVector
    from pyterrier_taskarith.demo import demo_models
    from pyterrier_taskarith.reranker import TaskArithReranker

    scoring = {name: getattr(given, name) for name in SCORING if getattr(given, name) is not None}
    if "resident" in scoring:
        scoring["weights"] = scoring.pop("resident")
    if given.trust_config:
        scoring["trust_config"] = True
    if given.cache is not None:
        scoring["cache"] = given.cache or str(default_folder())
    if merge is None:
        models = demo_models()
        return TaskArithReranker(models["ranker"], models["domain"], models["base"], **scoring)
    if set(asked) <= {"ranker", "domain", "base", "layers"}:
        return TaskArithReranker(given.ranker, given.domain, given.base, layers=given.layers, **scoring)
    vectors = {name: TaskVector.of(vector.terms) for name, vector in merge.vectors.items()}
    return TaskArithReranker(given.ranker, vectors=vectors, **scoring)
