"""What is read of a re-ranker's models, and from which file: one table."""

from collections.abc import Mapping
from typing import Any

from pyterrier_taskarith._json import read_object
from pyterrier_taskarith.arithmetic import CheckpointDifference, MergePlan
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import CheckpointError, library_errors
from pyterrier_taskarith.scorers._scorer import Scorer
from pyterrier_taskarith.tables import Cell, Table

#: What is shown of a configuration -> its names there; the first one that the model's class knows counts.
CONFIGURED = {
    "hidden activation": ("hidden_act", "activation", "activation_function", "hidden_activation", "feed_forward_proj"),
    "positions": ("max_position_embeddings", "n_positions"),
    "norm epsilon": ("layer_norm_eps", "rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "rotary positions": ("rope_parameters", "rope_scaling", "rope_theta"),
    "attention window": ("sliding_window", "local_attention"),
}
#: Setting -> its value and where that comes from.
Read = dict[str, tuple[str, str]]


def explain(plan: MergePlan, scorer: Scorer | None = None) -> Table:
    """Returns what is read of Θ_T, Θ_D and Θ_0: files, class, settings, tokenizer, and how Θ_T scores.

    Args:
        plan: Of the merge.
        scorer: Of Θ_T; None where it is not known, which leaves out how Θ_T scores.

    Returns:
        A row for each setting: its value in each model, and the file that states Θ_T's.
    """
    models = {"Θ_T": plan.ranker}
    for name, vector in plan.vectors.items():
        parts = [part for term in vector.terms for part in term.difference.parts()
                 if isinstance(part, CheckpointDifference)]
        for number, part in enumerate(parts):
            suffix = (f".{name}" if len(plan.vectors) > 1 else "") + (f".{number + 1}" if len(parts) > 1 else "")
            models |= {f"Θ_D{suffix}": part.domain, f"Θ_0{suffix}": part.base}
    read = {symbol: _read(checkpoint) for symbol, checkpoint in models.items()}
    if scorer is not None:
        read["Θ_T"] |= {setting.replace("_", " "): (_shown(value), scorer.origins.get(setting, "default"))
                        for setting, value in scorer.facts.items()}
    settings = dict.fromkeys(setting for found in read.values() for setting in found)
    rows = []
    for setting in settings:
        origin = next(found[setting][1] for found in read.values() if setting in found)
        first, *others = (found.get(setting, ("", ""))[0] for found in read.values())
        # The same value once more would only make the table wider.
        others = ["the same" if value and value == first else value for value in others]
        rows.append(tuple(map(Cell, (setting, first, *others, origin))))
    return Table(("", *models, "from"), tuple(rows), (), n_labels=len(models) + 2)


def _read(checkpoint: Checkpoint) -> Read:
    """Returns what is read of one model, whatever it is used for."""
    names = [file.path.name for file in checkpoint.files]
    dtypes = sorted({str(checkpoint.stored_dtype(name)).removeprefix("torch.") for name in checkpoint.shapes})
    found = {"folder": (checkpoint.source, ""), "weights": (_shown(names), ""),
             "parameters": (f"{len(checkpoint.shapes)}, {', '.join(dtypes)}", "")}
    if checkpoint.adapter:
        found["adapter of"] = (str(checkpoint.adapter.base), checkpoint.adapter.path.name)
    config = _config(checkpoint)
    classes = checkpoint.config.get("architectures") or [f"a {checkpoint.config['model_type']} model"]
    found["class"] = (_shown(classes), "config.json")
    for setting, keys in CONFIGURED.items():
        key = next((key for key in keys if hasattr(config, key)), None)
        if key is not None:
            stated = key in checkpoint.config or getattr(config, "attribute_map", {}).get(key) in checkpoint.config
            found[setting] = (_shown(getattr(config, key)), "config.json" if stated else type(config).__name__)
    return found | _tokenizer(checkpoint)


def _config(checkpoint: Checkpoint) -> Any:
    from transformers import AutoConfig

    with library_errors(f"{checkpoint.config_file}: transformers cannot build the configuration from it"):
        return AutoConfig.from_pretrained(checkpoint.config_file.parent)


def _tokenizer(checkpoint: Checkpoint) -> Read:
    try:
        tokenizer = checkpoint.tokenizer()
    except CheckpointError as error:
        return {"tokenizer": (f"none ({error})", "")}
    path = checkpoint.tokenizer_folder / "tokenizer_config.json"
    stated = read_object(path) if path.is_file() else {}

    def origin(key: str) -> str:
        return path.name if key in stated else type(tokenizer).__name__

    special = {kind.replace("_", " "): (f"{token} {tokenizer.convert_tokens_to_ids(token)}", origin(kind))
               for kind, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return {"tokenizer": (f"{type(tokenizer).__name__}, {len(tokenizer)} tokens", origin("tokenizer_class")),
            **special,
            "padding side": (tokenizer.padding_side, origin("padding_side")),
            "truncation side": (tokenizer.truncation_side, origin("truncation_side")),
            "tokenizer's length": (_shown(int(tokenizer.model_max_length)), origin("model_max_length"))}


def _shown(value: object) -> str:
    """Writes a value for a cell of the table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, int) and value > 10**15:
        return "no limit"
    return str(value).removeprefix("torch.") or "none"
