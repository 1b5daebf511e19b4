"""The re-ranker that the options ask for, and the Python code that makes it."""

import argparse
from typing import TYPE_CHECKING, Any

from pyterrier_taskarith.cli._cache import default_folder
from pyterrier_taskarith.cli._models import DOMAIN, DTYPES, add_models, merge_of

if TYPE_CHECKING:
    from pyterrier_taskarith.reranker import TaskArithReranker

def token_pair(text: str) -> tuple[str, str]:
    """Reads two tokens between a comma.

    Raises:
        argparse.ArgumentTypeError: If they are not two.
    """
    tokens = text.split(",")
    if len(tokens) != 2 or not all(tokens):
        raise argparse.ArgumentTypeError(f"{text!r}: give two tokens between a comma, such as ▁false,▁true")
    return tokens[0], tokens[1]


#: Options that are TaskArithReranker's arguments of the same name; None: as it decides.
SCORING: dict[str, dict[str, Any]] = {
    "scorer": {"choices": ("bi-encoder", "cross-encoder", "seq2seq", "causal"),
               "help": "how the models score; if left out, by their configuration"},
    "truncation": {"choices": ("keep_prompt", "paper"), "help": "of a prompt that is too long"},
    "prediction_tokens": {"metavar": "NO,YES", "type": token_pair,
                          "help": "of a T5 ranker, its tokens for not relevant and relevant; if left out, by family"},
    "dtype": {"choices": DTYPES, "help": "if left out, float32 on a CPU, the ranker's own on a GPU"},
    "device": {"metavar": "DEVICE", "help": "such as cpu or cuda:0; if left out, a GPU where there is one"},
    "batch_tokens": {"metavar": "N", "type": int, "help": "tokens in a batch, padding included"},
    "max_length": {"metavar": "N", "type": int, "help": "tokens of an input; if left out, what the model states"},
    "resident": {"choices": ("memory", "disk"), "help": "where Θ_T and τ are kept; if left out, in memory if they fit"},
}
#: Options that name models or say what is done to them.
_MODELS = ("ranker", "domain", "base", "vector", "layers", "trim", "ties", "dare", "breadcrumbs", "interpolate")


def add_reranker(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which models, and how they score."""
    add_models(parser, swept=True)
    scoring = parser.add_argument_group("scoring")
    for name, options in SCORING.items():
        scoring.add_argument(f"--{name.replace('_', '-')}", **options)
    scoring.add_argument("--cache", metavar="DIR", nargs="?", const="", help="keep every score there, for other runs "
                         "and commands; without DIR, in the package's cache. See taskarith cache")


def reranker_of(given: argparse.Namespace) -> "tuple[TaskArithReranker, list[str]]":
    """Returns the re-ranker, and its arguments as code but for α; without any model, the demo's.

    Raises:
        SystemExit: If the options contradict each other.
        ValueError: If an argument is not as it should be.
    """
    if given.ranker is None and any(getattr(given, name) not in (None, []) for name in _MODELS):
        given.parser.error("give --ranker too, or no models at all")
    from pyterrier_taskarith.arithmetic import TaskVector

    vectors = None
    if given.ranker is not None and (given.vector or any(
            getattr(given, name) is not None for name in ("trim", "ties", "dare", "breadcrumbs", "interpolate"))):
        vectors = {name: TaskVector.of(vector.terms) for name, vector in merge_of(given).vectors.items()}
    elif given.ranker is not None:
        merge_of(given)  # refuses what contradicts
    from pyterrier_taskarith.demo import demo_models
    from pyterrier_taskarith.reranker import TaskArithReranker

    scoring = {name: getattr(given, name) for name in SCORING if getattr(given, name) is not None}
    if given.resident is not None:  # --weights are those of the mix
        scoring["weights"] = scoring.pop("resident")
    if given.cache is not None:
        scoring["cache"] = given.cache or str(default_folder())
    how = [f"{name}={value!r}" for name, value in scoring.items()]
    if given.ranker is None:
        return TaskArithReranker(**demo_models(), **scoring), ["**demo_models()", *how]  # type: ignore[arg-type]
    if vectors is not None:
        made = TaskArithReranker(given.ranker, vectors=vectors, **scoring)
        return made, [repr(given.ranker), f"vectors={_vectors_code(given)}", *how]
    models = {name: getattr(given, name) for name in ("ranker", "domain", "base", "layers")
              if getattr(given, name) is not None}
    return TaskArithReranker(**models, **scoring), [f"{name}={value!r}" for name, value in models.items()] + how


def _vectors_code(given: argparse.Namespace) -> str:
    """Returns the code of the vectors, as `merge_of` makes them."""
    base = given.ranker if given.interpolate else given.base
    sources = given.vector or [(DOMAIN, (given.domain, base))]
    codes = {name: f"TaskVector({', '.join(map(repr, parts))})" if len(parts) == 2 else f"TaskVector.load({parts[0]!r})"
             for name, parts in sources}
    if given.layers is not None:
        codes = {name: f"{code}.layers({given.layers!r})" for name, code in codes.items()}
    if given.ties is not None:
        return f"{{'ties': TaskVector.ties({', '.join(codes.values())}, density={given.ties!r})}}"
    method = (f".trim({given.trim!r})" if given.trim is not None
              else f".dare({given.dare!r}, seed={given.seed!r})" if given.dare is not None
              else f".breadcrumbs({given.breadcrumbs!r}, outliers={given.outliers!r})" if given.breadcrumbs is not None
              else ".slerp()" if given.interpolate == "slerp" else "")
    return "{" + ", ".join(f"{name!r}: {code}{method}" for name, code in codes.items()) + "}"
