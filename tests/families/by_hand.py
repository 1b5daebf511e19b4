"""Θ' as a reader of the paper computes it: state dicts read by their formats' own libraries, added by one torch call.

Nothing here calls the package. Names are mapped by the table below, rows by transformers' own tokenizers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = Mapping[str, torch.Tensor]
WORDS = "embeddings.word_embeddings.weight"
#: Names that no model reads as a parameter: position ids, rotary frequencies, and T5's stray.
BUFFERS = ("position_ids", "inv_freq")
STRAY = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


@dataclass(frozen=True)
class Spelling:
    """How a family's files name the parameters of its bare backbone.

    Attributes:
        prefix: what a model with a head puts before them.
        repeats: name, without prefix, to the parameter that it repeats.
        by_token: parameters with one row a token, the token embedding first.
        heads: first parts of the names of heads.
    """

    prefix: str = ""
    repeats: Mapping[str, str] = field(default_factory=dict)
    by_token: tuple[str, ...] = (WORDS,)
    heads: tuple[str, ...] = ("pooler",)

    def bare(self, name: str) -> str | None:
        """The bare backbone's name for a name in a file; None for what is no parameter."""
        if name.endswith(BUFFERS) or name == STRAY:
            return None
        name = name.removeprefix("0.auto_model.").removeprefix(self.prefix)
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        return self.repeats.get(name, name)


_T5_COPIES = {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"}
SPELLINGS = {
    "bert": Spelling("bert.", {"cls.predictions.decoder.weight": WORDS,
                               "cls.predictions.decoder.bias": "cls.predictions.bias"},
                     (WORDS, "cls.predictions.bias"), ("pooler", "cls")),
    "distilbert": Spelling("distilbert.", {"vocab_projector.weight": WORDS}, (WORDS, "vocab_projector.bias"),
                           ("vocab_transform", "vocab_layer_norm", "vocab_projector")),
    "roberta": Spelling("roberta.", {"lm_head.decoder.weight": WORDS, "lm_head.decoder.bias": "lm_head.bias"},
                        (WORDS, "lm_head.bias"), ("pooler", "lm_head")),
    "electra": Spelling("electra."),
    "t5": Spelling("", {**_T5_COPIES, "lm_head.weight": "shared.weight"}, ("shared.weight",), ()),
    "mt5": Spelling("", _T5_COPIES, ("shared.weight", "lm_head.weight"), ()),
    "llama": Spelling("model.", {}, ("embed_tokens.weight", "lm_head.weight"), ()),
}


def whole(folder: Path) -> Path:
    """The folder with a model's configuration and tokenizer: of an adapter, its base's."""
    about = folder / "adapter_config.json"
    return Path(json.loads(about.read_text())["base_model_name_or_path"]) if about.is_file() else folder


def transformer_of(folder: Path) -> Path:
    """The folder with the transformer: in old sentence-transformers folders, `0_Transformer`."""
    inner = whole(folder) / "0_Transformer"
    return inner if inner.is_dir() else whole(folder)


def files(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's weight files, under the files' names; an adapter's matrices are added to its base's.

    The base's matrix, plus lora_alpha/r times B·A, in float32 (LoRA, https://arxiv.org/abs/2106.09685).
    """
    tensors = stored(folder)
    if whole(folder) == folder:
        return tensors
    about = json.loads((folder / "adapter_config.json").read_text())
    adapter = load_file(folder / "adapter_model.safetensors")
    for name, a in adapter.items():
        if name.endswith(".lora_A.weight"):
            b = adapter[name.replace("lora_A", "lora_B")]
            matrix = name.removeprefix("base_model.model.").replace(".lora_A", "")
            tensors[matrix] = torch.add(tensors[matrix].float(), b.float() @ a.float(),
                                        alpha=about["lora_alpha"] / about["r"])
    return tensors


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the weight files of a folder, or of an adapter's base, as it lies there."""
    tensors: dict[str, torch.Tensor] = {}
    where = transformer_of(folder)
    for path in sorted([*where.glob("model*.safetensors"), *where.glob("pytorch_model*.bin")]):
        tensors |= load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return tensors


def parameters(folder: Path, spelling: Spelling) -> dict[str, torch.Tensor]:
    """The parameters of a folder under the bare backbone's names, as stored, each once."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in files(folder).items():
        bare = spelling.bare(name)
        if bare is not None:
            assert torch.equal(found.setdefault(bare, tensor), tensor), f"the test's own folder disagrees in {name}"
    return found


def tokens(folder: Path) -> dict[str, int]:
    """Token to row, of the tokenizer that transformers loads."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(transformer_of(folder)).get_vocab()


def shared_rows(ranker: Path, domain: Path, base: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows in Θ_T, Θ_D and Θ_0 of each token that all three have, in the order of Θ_T's rows."""
    ours, theirs, first = tokens(ranker), tokens(domain), tokens(base)
    known = sorted((row, theirs[token], first[token]) for token, row in ours.items()
                   if token in theirs and token in first)
    in_ranker, in_domain, in_base = (torch.tensor(rows) for rows in zip(*known, strict=True))
    return in_ranker, in_domain, in_base


def merged(ranker: Tensors, domain: Tensors, base: Tensors, alpha: float, *, by_token: tuple[str, ...] = (),
           rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Θ_T + α(Θ_D − Θ_0) in float32, the paper's eq. 1 and 2; a parameter that τ lacks stays as Θ_T stores it.

    Args:
        ranker: Θ_T, name to tensor.
        domain: Θ_D.
        base: Θ_0.
        alpha: α.
        by_token: parameters with one row a token.
        rows: see `shared_rows`, where the three have different numbers of rows.
    """
    result = {}
    for name, tensor in ranker.items():
        if name not in domain or name not in base:
            result[name] = tensor
        elif rows is None or name not in by_token:
            tau = domain[name].float() - base[name].float()
            result[name] = torch.add(tensor.float(), tau, alpha=alpha)
        else:
            in_ranker, in_domain, in_base = rows
            tau = domain[name][in_domain].float() - base[name][in_base].float()
            result[name] = tensor.float().clone()
            result[name][in_ranker] = torch.add(tensor[in_ranker].float(), tau, alpha=alpha)
    return result


def saved_by_hand(ranker: Path, target: Path, weights: Tensors, spelling: Spelling) -> Path:
    """Copies Θ_T's folder but for its weights, and puts others in it, in float32 under the names of Θ_T's files.

    Args:
        ranker: Θ_T's folder.
        target: made; what other libraries load.
        weights: bare name to tensor.
        spelling: the family's.
    """
    shutil.copytree(whole(ranker), target, ignore=shutil.ignore_patterns(
        "*.bin", "*.safetensors", "*.index.json", "*.pt", "*.pth"))
    names = {bare: name for name in files(ranker) if (bare := spelling.bare(name)) is not None
             and name.removeprefix(spelling.prefix) not in spelling.repeats}
    where = transformer_of(target)
    save_file({names.get(bare, bare): tensor.float().contiguous() for bare, tensor in weights.items()},
              where / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}))
    return target
