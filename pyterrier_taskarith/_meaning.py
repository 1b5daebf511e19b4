"""What configurations say of the weights' meaning: entries that two models must have alike, however they are spelt."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

#: Configuration keys that make an architecture; two checkpoints that both state one must agree on it.
STRUCTURE = ("model_type", "hidden_size", "d_model", "dim", "num_hidden_layers", "num_layers", "num_decoder_layers",
             "n_layers", "num_attention_heads", "num_heads", "n_heads", "num_key_value_heads", "intermediate_size",
             "d_ff", "d_kv", "hidden_dim", "head_dim", "feed_forward_proj", "position_embedding_type", "hidden_act",
             "activation", "activation_function", "hidden_activation")
#: Spellings of one activation, the approximation of GELU by tanh.
_ONE_ACTIVATION = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh")
#: Configuration keys that change what weights compute without changing their shapes; models that differ in one can be
#: merged, but what one has learnt may not carry over.
_MEANING = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "norm_eps", "sliding_window", "local_attention",
            "use_sliding_window", "global_attn_every_n_layers", "layer_types", "attn_logit_softcapping",
            "final_logit_softcapping", "query_pre_attn_scalar", "position_biased_input", "relative_attention",
            "relative_attention_num_buckets", "relative_attention_max_distance", "max_relative_positions",
            "pos_att_type", "is_decoder", "partial_rotary_factor", "rotary_pct")
#: What rotary positions are spelt with: transformers 5 has ``rope_parameters``, by kind of layer where they differ.
_ROTARY = ("rope_theta", "rope_scaling", "rope_parameters", "global_rope_theta", "local_rope_theta",
           "rope_local_base_freq", "rotary_emb_base")
#: What a model has whose configuration's class does not know the key.
_OTHERWISE = {"position_embedding_type": "absolute", "is_decoder": False}


def structure(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of a configuration that make the architecture; other ones cannot be added up."""
    found = _stated(config, STRUCTURE)
    return {key: _ONE_ACTIVATION[0] if value in _ONE_ACTIVATION else value for key, value in found.items()}


def meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries that change what the same weights compute, rotary positions in one spelling.

    transformers 4 writes ``rope_theta`` and ``rope_scaling`` (ModernBERT: ``global_rope_theta`` and
    ``local_rope_theta``), transformers 5 ``rope_parameters``.
    """
    found = _stated(config, _MEANING)
    given = config.get("rope_parameters") or {}
    by_kind = given and all(isinstance(value, Mapping) for value in given.values())
    thetas = {"full_attention": config.get("global_rope_theta"), "sliding_attention": config.get("local_rope_theta")}
    if by_kind or any(thetas.values()):
        kinds = dict.fromkeys([*thetas, *(given if by_kind else {})])
        rotary = {kind: _rotary(given.get(kind) or {}, thetas.get(kind)) for kind in kinds}
    else:
        rotary = _rotary({**(config.get("rope_scaling") or {}), **given}, config.get("rope_theta"))
    if any(rotary.values()):
        found["rotary positions"] = rotary
    return found


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any],
              entries: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[str]:
    """Returns a phrase for each entry in which two configurations differ.

    What only one of them states, or states as null or in another spelling, is compared by transformers' class: it
    has the values that hold where nothing is stated.

    Args:
        ours: A configuration as written.
        theirs: Another one.
        entries: `structure` or `meaning`.
    """
    keys = (*STRUCTURE, *_MEANING, *_ROTARY)
    if all(ours.get(key, keys) == theirs.get(key, keys) for key in keys):
        return []
    if ours.get("model_type") == theirs.get("model_type"):
        ours, theirs = _completed(ours), _completed(theirs)
    first, second = entries(ours), entries(theirs)
    return [f"{key} {value!r} and {second[key]!r}" for key, value in first.items()
            if key in second and second[key] != value]


def _completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a configuration with what its class adds; as it is where the class refuses it."""
    from transformers import AutoConfig  # late: where configurations are alike, a merge needs no transformers

    given = {key: copy.deepcopy(value) for key, value in config.items() if key != "model_type"}
    try:
        found: Mapping[str, Any] = AutoConfig.for_model(str(config["model_type"]), **given).to_dict()
    except Exception:
        return {key: value for key, value in config.items() if value is not None}
    return found


def _stated(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    known = {**_OTHERWISE, **config}
    return {key: known[key] for key in keys if key in known}


def _rotary(given: Mapping[str, Any], theta: object) -> dict[str, Any]:
    """Returns the parameters of rotary positions with their type first; nothing where nothing is given."""
    rotary = dict(given)
    kind = rotary.pop("type", None) or rotary.pop("rope_type", None)
    rotary.pop("rope_type", None)
    if theta is not None:
        rotary.setdefault("rope_theta", theta)
    return {"type": kind or "default", **rotary} if rotary or kind else {}
