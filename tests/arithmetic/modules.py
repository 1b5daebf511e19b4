"""Living modules made by transformers from a ranker's folder."""

import json
from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM

from tests.checkpoints.by_hand import raw, same_bits


def module_of(ranker: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The ranker as transformers loads it; a BERT has the pooler only where its file has one."""
    config = json.loads((ranker / "config.json").read_text())
    if config["model_type"] in ("t5", "mt5"):
        return AutoModelForSeq2SeqLM.from_pretrained(ranker, dtype=dtype).eval()
    pooler = any("pooler" in name for name in raw(ranker))
    options = {} if config["model_type"] == "distilbert" else {"add_pooling_layer": pooler}
    return AutoModel.from_pretrained(ranker, dtype=dtype, **options).eval()


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of its parameters, each once, under transformers' names."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def differing(ours: dict[str, torch.Tensor], theirs) -> list[str]:
    """Names of tensors that are not the same bytes."""
    return [name for name in ours if not same_bits(ours[name], theirs[name])]
