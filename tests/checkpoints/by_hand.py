"""What the tests of this room and of arithmetic compare with: the files read by their formats' own libraries."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

#: Name in a masked model's file -> the bare name of the parameter it repeats.
REPEATED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_head.decoder.weight": "embeddings.word_embeddings.weight",
    "lm_head.decoder.bias": "lm_head.bias",
    "vocab_projector.weight": "embeddings.word_embeddings.weight",
    "encoder.embed_tokens.weight": "shared.weight",
    "decoder.embed_tokens.weight": "shared.weight",
}
STRAY = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def raw(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's weight files, under the files' names."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted([*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]):
        tensors |= load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return tensors


def parameters(folder: Path, *, prefix: str = "", tied_output: bool = True) -> dict[str, torch.Tensor]:
    """The parameters of a factory's folder under the bare backbone's names, each once.

    Args:
        folder: a folder with weight files.
        prefix: what the file's class puts before the backbone's names.
        tied_output: whether a T5's `lm_head.weight` is its embedding.
    """
    repeated = REPEATED | ({"lm_head.weight": "shared.weight"} if tied_output else {})
    bare = {}
    for name, tensor in raw(folder).items():
        name = name.removeprefix(prefix).replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if name.endswith("position_ids") or name == STRAY:
            continue
        bare[repeated.get(name, name)] = tensor
    return bare


def same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two tensors are equal byte for byte: dtype, shape, and the sign of zeros too."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    first, second = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (ours, theirs))
    return torch.equal(first, second)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rewrite(folder: Path, change) -> None:
    """Replaces the tensors of `model.safetensors` by what `change` makes of them."""
    path = folder / "model.safetensors"
    tensors = change({name: tensor.clone() for name, tensor in load_file(path).items()})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def rewrite_config(folder: Path, **changed: object) -> None:
    """Changes entries of `config.json`; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder that a test may damage."""
    shutil.copytree(source, target)
    return target


def forget_connections() -> None:
    """Makes huggingface_hub look again whether it is offline: its clients remember."""
    # The one name is huggingface_hub 0.x's, the other that of later ones.
    forget = getattr(huggingface_hub, "close_session", None) or huggingface_hub.utils._http.reset_sessions
    forget()


@contextmanager
def offline_hub(cache: Path) -> Iterator[Path]:
    """Has huggingface_hub use a cache folder and no network, as with HF_HUB_CACHE and HF_HUB_OFFLINE=1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        forget_connections()
        yield cache
    forget_connections()


def hub_cache(cache: Path, repo: str, folder: Path, *, commit: str, branch: str = "main") -> Path:
    """Lays a folder out as huggingface_hub's cache does and returns the snapshot: links into `blobs`.

    As on the hub, a weight file's blob is called by its sha256 and any other file's by a sha1.
    """
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    for name in ("blobs", "refs"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "refs" / branch).write_text(commit)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        weights = path.suffix in (".safetensors", ".bin")
        blob = home / "blobs" / (sha256(path) if weights else hashlib.sha1(path.read_bytes()).hexdigest())
        shutil.copyfile(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot
