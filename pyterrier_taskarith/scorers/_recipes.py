"""What a sentence-transformers folder states: how embeddings are pooled and compared, and how pairs are scored."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional

from pyterrier_taskarith.checkpoints import Checkpoint, open_weights
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._settings import (
    TransformerSettings,
    read_about,
    read_modules,
    read_settings,
    read_transformer,
)

logger = logging.getLogger("pyterrier_taskarith")

#: Keys of the older 1_Pooling/config.json, in the order in which several are concatenated.
_OLD_KEYS = {"pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
             "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
             "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken"}


def _cls(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(~mask.bool().unsqueeze(-1), float("-inf")).amax(1)


def _mean(hidden: torch.Tensor, weights: torch.Tensor, *, root: bool = False) -> torch.Tensor:
    """Averages over the length; ``root`` divides by the square root of the sum of weights instead of the sum."""
    weights = weights.unsqueeze(-1).float()
    total = weights.sum(1).clamp(min=1e-9)
    return (hidden * weights).sum(1, dtype=torch.float32) / (total.sqrt() if root else total)


def _weighted_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _mean(hidden, mask * torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=torch.float32))


#: Pooling mode -> (hidden (n, length, d), mask (n, length)) -> (n, d).
POOLINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _cls, "max": _max, "mean": _mean, "mean_sqrt_len_tokens": partial(_mean, root=True),
    "weightedmean": _weighted_mean, "lasttoken": _last}

#: Similarity -> (queries (n, d), texts (n, d)) -> (n,); distances are negated, so that higher is better.
SIMILARITIES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cosine": functional.cosine_similarity,
    "dot": lambda queries, texts: (queries * texts).sum(-1),
    "euclidean": lambda queries, texts: -(queries - texts).norm(dim=-1),
    "manhattan": lambda queries, texts: -(queries - texts).abs().sum(-1),
}

#: Last part of an activation's path in torch -> (n, labels) logits -> (n, labels).
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda logits: logits, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "ReLU": torch.relu,
    "LogSigmoid": functional.logsigmoid, "Softplus": functional.softplus,
    "Softmax": lambda logits: logits.softmax(-1), "LogSoftmax": lambda logits: logits.log_softmax(-1)}
#: Labels -> the activation of a folder that states none.
_DEFAULTS = {1: "Sigmoid", 2: "Identity"}
#: Activations of a Dense module: names of classes in torch.nn.
_DENSE_ACTIVATIONS = ("Tanh", "Identity", "ReLU", "GELU", "Sigmoid", "SiLU", "Mish", "ELU", "LeakyReLU", "Softplus")


class Step(NamedTuple):
    """Something that is applied to the pooled embeddings, (n, d) to (n, d'), and what it is called."""

    name: str
    apply: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class EmbeddingRecipe:
    """How a bi-encoder makes and compares embeddings; everything is read from its folder.

    Attributes:
        poolings: Names in :data:`POOLINGS`, concatenated.
        after: What is applied to the pooled embeddings, in order.
        similarity: Name in :data:`SIMILARITIES`.
        transformer: Lengths, and whether texts are lower-cased.
        prompts: Kind ("query", "document") -> text put before the input.
        pool_prompt: Whether the prompt's tokens are pooled too.
        origins: Setting -> the file that states it; a setting that no file states is left out.
    """

    poolings: tuple[str, ...] = ("mean",)
    after: tuple[Step, ...] = ()
    similarity: str = "cosine"
    transformer: TransformerSettings = TransformerSettings()
    prompts: Mapping[str, str] = field(default_factory=lambda: {"query": "", "document": ""})
    pool_prompt: bool = True
    origins: Mapping[str, Path] = field(default_factory=dict)


def read_recipe(checkpoint: Checkpoint, device: torch.device) -> EmbeddingRecipe:
    """Reads a sentence-transformers folder; one without ``modules.json`` is mean-pooled and compared by cosine.

    Args:
        checkpoint: The folder.
        device: Where layers after the pooling go.

    Raises:
        ScorerError: If it has a module, pooling, similarity or setting that is not supported or not known.
    """
    root, modules = checkpoint.located.root, read_modules(checkpoint)
    if not modules:
        return EmbeddingRecipe()
    poolings: tuple[str, ...] = ()
    after: list[Step] = []
    pool_prompt = True
    for kind, folder in ((module.kind, module.folder) for module in modules[1:]):
        if kind == "Dropout":
            continue  # it changes embeddings in training alone
        if kind not in ("Pooling", *_STEPS):
            raise ScorerError(f"{root / 'modules.json'}: module {kind!r} is not supported; Pooling, "
                              f"{', '.join(_STEPS)} and Dropout are")
        if (kind == "Pooling") == bool(poolings):
            raise ScorerError(f"{root / 'modules.json'}: after the Transformer there must be one Pooling, then the "
                              f"modules that are applied to the pooled embedding; {kind!r} is at another position")
        if kind == "Pooling":
            poolings, pool_prompt = _pooling(folder / "config.json")
        else:
            after.append(_STEPS[kind](folder, device))
    if not poolings:
        raise ScorerError(f"{root / 'modules.json'} lists no Pooling, so it does not say how to make an embedding")
    about, path = read_about(checkpoint, {"truncate_dim": int}), root / "config_sentence_transformers.json"
    if about.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        raise ScorerError(f"{path}: this is a {about['model_type']}, which does not make one embedding for each text")
    similarity = about.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise ScorerError(f"{path}: similarity {similarity!r} is not supported; {', '.join(SIMILARITIES)} are")
    width = about.get("truncate_dim")
    if width is not None:
        after.append(Step(f"first {width} numbers", lambda embeddings: embeddings[:, :width]))
    transformer = read_transformer(checkpoint)
    if transformer.task != "feature-extraction":
        raise ScorerError(f"{transformer.file}: transformer_task {transformer.task!r} makes no embeddings")
    # encode_query and encode_document of sentence-transformers use no other prompts (5.7 and 6.2).
    prompts = {kind: (about.get("prompts") or {}).get(kind) or "" for kind in ("query", "document")}
    origins = {"pooling": next(module.folder for module in modules if module.kind == "Pooling") / "config.json",
               "modules": root / "modules.json",
               **{setting: path for setting, key in (("similarity", "similarity_fn_name"), ("prompts", "prompts"))
                  if about.get(key)}}
    return EmbeddingRecipe(poolings, tuple(after), similarity, transformer, prompts, pool_prompt, origins)


def _pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    """Returns the pooling modes, and whether the prompt's tokens are pooled."""
    if not path.is_file():
        raise ScorerError(f"{path} is missing, so it is not known how embeddings are pooled")
    flags = dict.fromkeys(("include_prompt", *_OLD_KEYS), bool)
    config = read_settings(path, {"pooling_mode": (str, list), **flags},
                           ("embedding_dimension", "word_embedding_dimension"))
    modes = config.get("pooling_mode") or [mode for key, mode in _OLD_KEYS.items() if config.get(key)] or "mean"
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown:
        raise ScorerError(f"{path}: pooling {unknown} is not supported; {', '.join(POOLINGS)} are")
    return modes, bool(config.get("include_prompt", True))


def _state(folder: Path, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: file.tensor(name).float().to(device) for file in open_weights(folder) for name in file.shapes()}


def _embedding_only(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses a module that reads or writes anything but the pooled embedding."""
    read = config.get("module_input_name") or "sentence_embedding"
    if {read, config.get("module_output_name") or read} != {"sentence_embedding"}:
        raise ScorerError(f"{path}: other inputs and outputs than the pooled embedding are not supported")


def _normalize(folder: Path, device: torch.device) -> Step:
    path = folder / "config.json"
    _embedding_only(path, read_settings(path, {"module_input_name": str, "module_output_name": str}))
    return Step("Normalize", functional.normalize)


def _layer_norm(folder: Path, device: torch.device) -> Step:
    read_settings(folder / "config.json", {}, ("dimension",))
    state = _state(folder, device)
    weight, bias = state["norm.weight"], state["norm.bias"]
    return Step("LayerNorm", lambda embeddings: functional.layer_norm(embeddings, weight.shape, weight, bias))


def _dense(folder: Path, device: torch.device) -> Step:
    path = folder / "config.json"
    config = read_settings(path, {"in_features": int, "out_features": int, "bias": bool, "activation_function": str,
                                  "use_residual": bool, "module_input_name": str, "module_output_name": str})
    _embedding_only(path, config)
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, name = activation.rpartition(".")
    if not package.startswith("torch.nn") or name not in _DENSE_ACTIVATIONS:
        raise ScorerError(f"{path}: activation {activation!r} is not supported; {', '.join(_DENSE_ACTIVATIONS)} of "
                          "torch.nn are")
    activate, state = getattr(torch.nn, name)(), _state(folder, device)
    residual = bool(config.get("use_residual"))
    wanted = {"linear.weight", *(["linear.bias"] if config.get("bias", True) else []),
              *(["residual.weight"] if residual and config.get("in_features") != config.get("out_features") else [])}
    if state.keys() != wanted:
        raise ScorerError(f"{folder} holds {', '.join(sorted(state))}, but {path} asks for {', '.join(sorted(wanted))}")
    weight, bias, shortcut = state["linear.weight"], state.get("linear.bias"), state.get("residual.weight")
    if list(weight.shape) != [config.get("out_features"), config.get("in_features")]:
        raise ScorerError(f"{folder}: linear.weight is {tuple(weight.shape)}, but {path} says in_features = "
                          f"{config.get('in_features')}, out_features = {config.get('out_features')}")

    def apply(embeddings: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = activate(functional.linear(embeddings, weight, bias))
        if residual:
            out = out + (embeddings if shortcut is None else functional.linear(embeddings, shortcut))
        return out

    return Step(f"Dense {weight.shape[1]} to {weight.shape[0]}, {name}{', residual' * residual}", apply)


#: Modules that may come after the pooling, and what makes their step.
_STEPS: dict[str, Callable[[Path, torch.device], Step]] = {
    "Normalize": _normalize, "Dense": _dense, "LayerNorm": _layer_norm}


@dataclass(frozen=True)
class PairRecipe:
    """What decides a score beside the model and its tokenizer.

    Attributes:
        activation: Name in :data:`ACTIVATIONS`, applied to the logits.
        transformer: Lengths, and whether texts are lower-cased, where sentence-transformers' own settings are read.
        prompt: Put before the query.
        origins: Setting -> the file that states it; a setting that no file states is left out.
    """

    activation: str
    transformer: TransformerSettings = TransformerSettings()
    prompt: str = ""
    origins: Mapping[str, Path] = field(default_factory=dict)


def read_pair_recipe(checkpoint: Checkpoint, labels: int) -> PairRecipe:
    """Reads what ``CrossEncoder`` of sentence-transformers reads (5.7 and 6.2).

    Args:
        checkpoint: A folder of transformers, of sentence-transformers before 5.4 (with the activation in
            ``config.json``), or of a newer one (with ``modules.json``; such a folder of another kind of model is read
            as one of transformers).
        labels: 1 or 2.

    Raises:
        ScorerError: If modules, settings or the activation are not supported or not known.
    """
    root, config, about = checkpoint.located.root, checkpoint.config, read_about(checkpoint)
    own = about if about.get("model_type") == "CrossEncoder" else {}
    old = config.get("sentence_transformers") or {}
    stated = {root / "config_sentence_transformers.json": own.get("activation_fn"),
              checkpoint.config_file: old["activation_fn"] if "activation_fn" in old else
              config.get("sbert_ce_default_activation_function")}
    activation, origin = _activation(stated, labels, checkpoint.source)
    transformer = read_transformer(checkpoint) if own else TransformerSettings()
    if own:
        kinds = [module.kind for module in read_modules(checkpoint)]
        if kinds != ["Transformer"] or transformer.task != "sequence-classification":
            raise ScorerError(f"{root / 'modules.json'}: only a cross-encoder of one Transformer with the task "
                              f"'sequence-classification' is supported; this one is {', '.join(kinds)}, with "
                              f"{transformer.task!r}")
        if transformer.lengths:
            raise ScorerError(f"{transformer.file}: query_length and document_length are for single texts; a "
                              "cross-encoder reads pairs")
    prompt = (own.get("prompts") or {}).get(own.get("default_prompt_name")) or ""
    origins = {**({"activation": origin} if origin else {}),
               **({"prompt": root / "config_sentence_transformers.json"} if prompt else {})}
    return PairRecipe(activation, transformer, prompt, origins)


def _activation(stated: Mapping[Path, str | None], labels: int, source: str) -> tuple[str, Path | None]:
    """Returns the first activation that is a part of torch and the file that states it, else the default."""
    for file, path in stated.items():
        if not path:
            continue
        if not path.startswith("torch."):
            logger.warning("%s: its activation %r is not a part of torch, and other code is never run; the "
                           "default is used, as in sentence-transformers", source, path)
            continue
        name = path.rsplit(".", 1)[-1]
        if name not in ACTIVATIONS:
            raise ScorerError(f"{source}: the activation {path!r} is not supported; {', '.join(ACTIVATIONS)} are")
        return name, file
    return _DEFAULTS[labels], None
