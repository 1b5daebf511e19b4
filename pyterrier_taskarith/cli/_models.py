"""The models, vectors and α of a merge on the command line."""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pyterrier_taskarith.cli._methods import TIES, add_methods, with_method

if TYPE_CHECKING:
    from pyterrier_taskarith.arithmetic import Merge

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

#: Option -> the paper's symbol.
ROLES = {"ranker": "Θ_T", "domain": "Θ_D", "base": "Θ_0"}
#: Of an output; the names that config.json uses.
DTYPES = ("float32", "float16", "bfloat16")
#: The one vector of --domain and --base, and the key of the α that all other layers have.
DOMAIN, DEFAULT = "domain", "default"


@dataclass(frozen=True)
class GivenAlpha:
    """One ``--alpha``.

    Attributes:
        of: What stands before "=": layers, a vector, or ``VECTOR:LAYERS``; empty: nothing.
        value: α.
    """

    of: str
    value: float


def alpha(text: str) -> GivenAlpha:
    """Reads ``0.7``, ``NAME=0.3``, ``layers 8-11=1`` or ``NAME:layers 8-11=1``.

    Raises:
        argparse.ArgumentTypeError: If there is no number.
    """
    of, _, number = text.rpartition("=")
    try:
        return GivenAlpha(of.strip(), float(number))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} has no number: give 0.7, 'layers 8-11=1' or NAME=0.3") from None


def vector(text: str) -> tuple[str, tuple[str, ...]]:
    """Reads ``NAME=DOMAIN,BASE`` or ``NAME=FILE``.

    Raises:
        argparse.ArgumentTypeError: If it is neither.
    """
    name, _, sources = text.partition("=")
    name, parts = name.strip(), tuple(part.strip() for part in sources.split(","))
    if not name or ":" in name or not all(parts) or len(parts) > 2:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=DOMAIN,BASE, or NAME=FILE of a saved task vector")
    return name, parts


def add_models(parser: argparse.ArgumentParser, *, swept: bool = False) -> None:
    """Adds the options that say which merge.

    Args:
        parser: The subcommand's.
        swept: Whether α is what the subcommand looks for, and no option; the models may then be left out altogether.
    """
    models = parser.add_argument_group("models", "hub ids org/name[@revision], folders or weight files" + (
        "; if all are left out, the small triple that the package carries" if swept else ""))
    models.add_argument("--ranker", metavar="MODEL", required=not swept, help="Θ_T, fine-tuned for ranking")
    models.add_argument("--domain", metavar="MODEL", help="Θ_D, adapted to the domain or language")
    models.add_argument("--base", metavar="MODEL", help="Θ_0, what both were made from")
    models.add_argument("--vector", metavar="NAME=DOMAIN,BASE", type=vector, action="append", default=[],
                        help="instead of --domain and --base, any number of times; or NAME=FILE, a saved task vector")
    if swept:
        parser.set_defaults(alpha=[])
    else:
        models.add_argument("--alpha", metavar="[LAYERS=]ALPHA", type=alpha, action="append", default=[],
                            help="α, 1 if left out. By layers: --alpha 0.7 --alpha 'layers 8-11=1' --alpha "
                                 "embeddings=0. With several vectors, for all of them or NAME=0.3, NAME:embeddings=0")
    models.add_argument("--layers", metavar="LAYERS", help="add τ to these layers alone: '0-5', 'not 3', "
                                                           "'decoder.0-5,embeddings'")
    add_methods(parser)


def merge_of(given: argparse.Namespace) -> "Merge":
    """Returns the merge that the options ask for.

    Raises:
        SystemExit: If the options contradict each other.
        MergeError: If an α or the layers are not as they should be.
        CheckpointError: If a file of a saved vector cannot be read.
    """
    names = _vector_names(given)
    alphas = _alphas(given, names)
    # Imported late: --help and usage errors should not wait for torch.
    from pyterrier_taskarith.arithmetic import Merge, TaskVector
    from pyterrier_taskarith.checkpoints import Checkpoint

    base = given.ranker if given.interpolate else given.base
    sources: Iterable[tuple[str, tuple[str, ...]]] = given.vector or [(DOMAIN, (given.domain, base))]
    vectors = {name: TaskVector(*parts) if len(parts) == 2 else TaskVector.load(parts[0])
               for name, parts in sources}
    if given.layers is not None:
        vectors = {name: found.layers(given.layers) for name, found in vectors.items()}
    return Merge(Checkpoint(given.ranker), with_method(given, vectors), alphas)


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


def _alphas(given: argparse.Namespace, names: list[str]) -> Mapping[str, Any]:
    """Returns α of each vector: a number, or a mapping of layers to numbers. What is said of one vector comes last."""
    general: dict[str, float] = {}
    own: dict[str, dict[str, float]] = {name: {} for name in names}
    for one in given.alpha:
        name, colon, layers = one.of.partition(":")
        if colon and name not in own:
            given.parser.error(f"--alpha {one.of}={one.value:g}: the vectors are {', '.join(names)}")
        if colon:
            target, key = own[name], layers.strip()
        else:
            target, key = (own[one.of], DEFAULT) if one.of in own else (general, one.of or DEFAULT)
        if key in target:
            given.parser.error(f"--alpha is given twice for {one.of or 'all layers'}")
        target[key] = one.value
    if not given.alpha:
        general[DEFAULT] = 1.0
    merged = {name: {**general, **own[name]} for name in names}
    return {name: found[DEFAULT] if list(found) == [DEFAULT] else found for name, found in merged.items()}
