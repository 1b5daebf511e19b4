"""The models, task vectors, merge method and α on the command line, and the merge that they ask for."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pyterrier_taskarith.errors import MissingPackageError

if TYPE_CHECKING:
    from pyterrier_taskarith.arithmetic import Merge, TaskVector

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

#: Option -> the paper's symbol.
ROLES = {"ranker": "Θ_T", "domain": "Θ_D", "base": "Θ_0"}
#: Of an output; the names that config.json uses.
DTYPES = ("float32", "float16", "bfloat16")
#: The one vector of --domain and --base, the one that TIES makes of several, and the α of all layers that have no own.
DOMAIN, TIES, DEFAULT = "domain", "ties", "default"
#: Option of a method that changes each task vector by itself -> the task vector that it makes.
METHODS: "dict[str, Callable[[TaskVector, argparse.Namespace], TaskVector]]" = {
    "trim": lambda vector, given: vector.trim(given.trim),
    "dare": lambda vector, given: vector.dare(given.dare, seed=given.seed),
    "breadcrumbs": lambda vector, given: vector.breadcrumbs(given.breadcrumbs, outliers=given.outliers),
    "interpolate": lambda vector, given: vector.slerp() if given.interpolate == "slerp" else vector,
}


class GivenAlpha(NamedTuple):
    """One ``--alpha``: layers, a vector or ``VECTOR:LAYERS`` (empty: everything), and the number."""

    of: str
    value: float


def alpha(text: str) -> GivenAlpha:
    """Reads ``0.7``, ``NAME=0.3``, ``layers 8-11=1`` or ``NAME:layers 8-11=1``."""
    of, _, number = text.rpartition("=")
    try:
        return GivenAlpha(of.strip(), float(number))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} has no number: give 0.7, 'layers 8-11=1' or NAME=0.3") from None


def vector(text: str) -> tuple[str, tuple[str, ...]]:
    """Reads ``NAME=DOMAIN,BASE`` or ``NAME=FILE``."""
    name, _, sources = text.partition("=")
    name, parts = name.strip(), tuple(part.strip() for part in sources.split(","))
    if not name or ":" in name or not all(parts) or len(parts) > 2:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=DOMAIN,BASE, or NAME=FILE of a saved task vector")
    return name, parts


def density(text: str) -> float:
    """Reads a share above 0 and at most 1."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give the share of the values that is kept, above 0 and at most 1")
    return found


def add_models(parser: argparse.ArgumentParser, *, swept: bool = False) -> None:
    """Adds the options that say which merge.

    Args:
        parser: The subcommand's.
        swept: Whether the subcommand looks for α, so that there is no such option; the models may then be left out.
    """
    models = parser.add_argument_group("models", "hub ids org/name[@revision], folders or weight files" + (
        "; if all are left out, the small triple that the package carries" if swept else ""))
    models.add_argument("--ranker", metavar="MODEL", required=not swept, help="Θ_T, fine-tuned for ranking")
    models.add_argument("--domain", metavar="MODEL", help="Θ_D, adapted to the domain or language")
    models.add_argument("--base", metavar="MODEL", help="Θ_0, what both were made from")
    models.add_argument("--vector", metavar="NAME=DOMAIN,BASE", type=vector, action="append", default=[],
                        help="instead of --domain and --base, any number of times; or NAME=FILE, a saved task vector")
    models.add_argument("--trust-config", action="store_true", help="of a folder that names code of its own for its "
                        "model (auto_map), take transformers' class; such a folder is refused else")
    if swept:
        parser.set_defaults(alpha=[])
    else:
        models.add_argument("--alpha", metavar="[LAYERS=]ALPHA", type=alpha, action="append", default=[],
                            help="α, 1 if left out. By layers: --alpha 0.7 --alpha 'layers 8-11=1' --alpha "
                                 "embeddings=0. With several vectors, for all of them or NAME=0.3, NAME:embeddings=0")
    models.add_argument("--layers", metavar="LAYERS", help="add τ to these layers alone: '0-5', 'not 3', "
                                                           "'decoder.0-5,embeddings'")
    methods = parser.add_argument_group("methods", "instead of plain task arithmetic; one of them")
    one = methods.add_mutually_exclusive_group()
    one.add_argument("--trim", metavar="DENSITY", type=density, help="keep the largest values of τ (TIES' first step)")
    one.add_argument("--ties", metavar="DENSITY", type=density,
                     help="TIES over the vectors given: trim, elect sign, merge; --alpha is the paper's λ")
    one.add_argument("--dare", metavar="DENSITY", type=density, help="DARE: keep values of τ at random, and rescale")
    one.add_argument("--breadcrumbs", metavar="DENSITY", type=density,
                     help="Model Breadcrumbs: drop the largest values (--outliers) and the smallest")
    one.add_argument("--interpolate", choices=("linear", "slerp"), help="between Θ_T and Θ_D; without --base")
    methods.add_argument("--outliers", metavar="SHARE", type=float, default=0.01,
                         help="of --breadcrumbs, 0.01 if left out")
    methods.add_argument("--seed", metavar="N", type=int, default=0, help="of --dare, 0 if left out")


def merge_of(given: argparse.Namespace) -> "Merge":
    """Returns the merge that the options ask for.

    Raises:
        SystemExit: If the options contradict each other.
        MergeError: If an α, the layers or a method's numbers do not suit the vectors.
        CheckpointError: If a file of a saved vector cannot be read.
    """
    names = _vector_names(given)
    alphas = _alphas(given, names)
    # Imported late: --help and usage errors should not wait for torch.
    from pyterrier_taskarith.arithmetic import Merge, TaskVector
    from pyterrier_taskarith.checkpoints import Checkpoint

    sources = given.vector or [(DOMAIN, (given.domain, given.ranker if given.interpolate else given.base))]
    opened = partial(Checkpoint, trust_config=given.trust_config)
    vectors = {name: TaskVector(*map(opened, parts)) if len(parts) == 2 else TaskVector.load(parts[0])
               for name, parts in sources}
    if given.layers is not None:
        vectors = {name: found.layers(given.layers) for name, found in vectors.items()}
    for option, changed in METHODS.items():
        if getattr(given, option) is not None:
            vectors = {name: changed(found, given) for name, found in vectors.items()}
    if given.ties is not None:
        vectors = {TIES: TaskVector.ties(*vectors.values(), density=given.ties)}
    return Merge(opened(given.ranker), vectors, alphas)


def check_matplotlib(given: argparse.Namespace, *options: str) -> None:
    """Raises MissingPackageError, before anything is computed, if one of the options is given and cannot be drawn."""
    asked = [f"--{option.replace('_', '-')}" for option in options if getattr(given, option)]
    if asked and find_spec("matplotlib") is None:
        raise MissingPackageError(f"{asked[0]} needs matplotlib: pip install matplotlib")


def _vector_names(given: argparse.Namespace) -> list[str]:
    names = [name for name, _ in given.vector]
    if len(set(names)) < len(names):
        given.parser.error(f"--vector names {', '.join(names)}: each needs a name of its own")
    if given.vector and (given.domain or given.base):
        given.parser.error("give either --domain and --base, or --vector")
    if given.interpolate and (given.vector or given.base or not given.domain):
        given.parser.error("--interpolate goes from --ranker to --domain, and needs no --base or --vector")
    if not given.vector and not given.interpolate and not (given.domain and given.base):
        given.parser.error("give --domain and --base, or --vector NAME=DOMAIN,BASE")
    return [TIES] if given.ties is not None else names or [DOMAIN]


def _alphas(given: argparse.Namespace, names: list[str]) -> Mapping[str, float | Mapping[str, float]]:
    """Returns α of each vector: a number, or a mapping of layers to numbers. What is said of one vector comes last."""
    general: dict[str, float] = {}
    own: dict[str, dict[str, float]] = {name: {} for name in names}
    for of, value in given.alpha:
        name, colon, layers = of.partition(":")
        if colon and name not in own:
            given.parser.error(f"--alpha {of}={value:g}: the vectors are {', '.join(names)}")
        if colon:
            target, key = own[name], layers.strip()
        else:
            target, key = (own[of], DEFAULT) if of in own else (general, of or DEFAULT)
        if key in target:
            given.parser.error(f"--alpha is given twice for {of or 'all layers'}")
        target[key] = value
    if not given.alpha:
        general[DEFAULT] = 1.0
    merged = {name: {**general, **own[name]} for name in names}
    return {name: found[DEFAULT] if list(found) == [DEFAULT] else found for name, found in merged.items()}
