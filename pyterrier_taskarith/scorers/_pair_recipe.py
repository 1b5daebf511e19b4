"""How a cross-encoder reads pairs and gives scores, as sentence-transformers reads it off the model's folder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._pooling import TRANSFORMER_CONFIGS, read_json

logger = logging.getLogger("pyterrier_taskarith")

#: Last part of an activation's path in torch -> (n, labels) logits -> (n, labels).
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda logits: logits, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "ReLU": torch.relu,
    "LogSigmoid": functional.logsigmoid, "Softplus": functional.softplus,
    "Softmax": lambda logits: logits.softmax(-1), "LogSoftmax": lambda logits: logits.log_softmax(-1)}
#: Labels -> the activation of a folder that states none.
_DEFAULTS = {1: "Sigmoid", 2: "Identity"}
#: Settings of the Transformer module that change how it reads a pair.
_READING = ("do_lower_case", "processing_kwargs", "config_args", "config_kwargs")


@dataclass(frozen=True)
class PairRecipe:
    """What decides a score beside the model and its tokenizer.

    Attributes:
        activation: Name in :data:`ACTIVATIONS`, applied to the logits.
        max_length: Tokens of a pair where sentence-transformers' own settings state them; None: the tokenizer does.
        prompt: Put before the query.
    """

    activation: str
    max_length: int | None = None
    prompt: str = ""


def read_pair_recipe(checkpoint: Checkpoint, labels: int) -> PairRecipe:
    """Reads what ``CrossEncoder`` of sentence-transformers reads (5.7 and 6.2).

    Args:
        checkpoint: A folder of transformers, of sentence-transformers before 5.4 (with the activation in
            ``config.json``), or of a newer one (with ``modules.json``; such a folder of another kind of model is read
            as one of transformers).
        labels: 1 or 2.

    Raises:
        ScorerError: If modules, settings or the activation are not supported; nothing is assumed.
    """
    root, config = checkpoint.located.root, checkpoint.config
    about = read_json(root / "config_sentence_transformers.json") if (root / "modules.json").is_file() else {}
    own = about if about.get("model_type") == "CrossEncoder" else {}
    old = config.get("sentence_transformers") or {}
    stated = [own.get("activation_fn"), old["activation_fn"] if "activation_fn" in old else
              config.get("sbert_ce_default_activation_function")]
    prompts, default = own.get("prompts") or {}, own.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ScorerError(f"{root / 'config_sentence_transformers.json'}: the default prompt {default!r} is not one "
                          f"of its prompts ({', '.join(prompts) or 'it has none'})")
    return PairRecipe(_activation(stated, labels, checkpoint.source), _stated_length(checkpoint) if own else None,
                      prompts.get(default) or "")


def _activation(stated: Sequence[str | None], labels: int, source: str) -> str:
    """Returns the first activation whose path lies in torch, else the default."""
    for path in filter(None, stated):
        if not path.startswith("torch."):
            logger.warning("%s: its activation %r would be code from elsewhere, which is never run: as in "
                           "sentence-transformers, the default takes its place", source, path)
            continue
        name = path.rsplit(".", 1)[-1]
        if name not in ACTIVATIONS:
            raise ScorerError(f"{source}: the activation {path!r} is not supported; {', '.join(ACTIVATIONS)} are")
        return name
    return _DEFAULTS[labels]


def _stated_length(checkpoint: Checkpoint) -> int | None:
    """Returns the length that the Transformer module states, or None.

    Raises:
        ScorerError: If scores come from more than that one module, or it reads pairs in a way of its own.
    """
    root, weights = checkpoint.located.root, checkpoint.located.weights
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in read_json(root / "modules.json")]
    settings: dict[str, Any] = next(filter(None, (read_json(weights / name) for name in TRANSFORMER_CONFIGS)), {})
    task = settings.get("transformer_task", "feature-extraction")
    if kinds != ["Transformer"] or task != "sequence-classification":
        raise ScorerError(f"{root / 'modules.json'}: only a cross-encoder of one Transformer with the task "
                          f"'sequence-classification' is supported; this one is {', '.join(kinds)}, with {task!r}")
    reading = {**settings.get("tokenizer_args", {}), **settings.get("processor_kwargs", {})}
    length = reading.pop("model_max_length", settings.get("max_seq_length"))
    others = [*filter(settings.get, _READING), *reading]
    if others:
        raise ScorerError(f"{weights}: the settings {', '.join(others)} of sentence-transformers are not supported")
    return None if length is None else int(length)
