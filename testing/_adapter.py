"""LoRA adapters as PEFT saves them, over a model folder of these factories."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from testing._folders import as_json

PREFIX = "base_model.model."

__all__ = ["PREFIX", "lora_adapter"]


def lora_adapter(
    folder: Path, base: Path, *, targets: Sequence[str], rank: int = 4, alpha: float = 8, prefix: str = "",
    extra: Mapping[str, torch.Tensor] | None = None, layout: str = "safetensors", dtype: torch.dtype = torch.float32,
    base_name: str | None = None, seed: int = 0, **settings: object,
) -> dict[str, torch.Tensor]:
    """Writes `adapter_config.json` and the adapter's weights: random A (r, inputs) and B (outputs, r) for each target.

    Args:
        folder: where the adapter is written; made if need be.
        base: the base model's folder.
        targets: last parts of the names of the base's matrices that are adapted, such as "query".
        rank: r; `rank_pattern` among the settings gives a module's own by its last part.
        alpha: lora_alpha.
        prefix: what the trained class puts before the names of the base's files, such as "bert." before a bare body's.
        extra: further tensors of the file, under names without `base_model.model.`.
        layout: "safetensors" or "bin".
        dtype: of A and B.
        base_name: `base_model_name_or_path`; the base folder where it is None.
        seed: of the weights.
        settings: further entries of `adapter_config.json`.

    Returns:
        The tensors of the adapter's file, without `base_model.model.`.
    """
    ranks: Mapping[str, int] = settings.get("rank_pattern") or {}  # type: ignore[assignment]
    tensors: dict[str, torch.Tensor] = {}
    for name, (outputs, inputs) in _matrices(base, targets).items():
        module = prefix + name.removesuffix(".weight")
        own = ranks.get(module.rsplit(".", 1)[-1], rank)
        tensors[f"{module}.lora_A.weight"] = _random(f"{seed}/{module}/A", (own, inputs), dtype)
        tensors[f"{module}.lora_B.weight"] = _random(f"{seed}/{module}/B", (outputs, own), dtype)
    tensors |= extra or {}
    folder.mkdir(parents=True, exist_ok=True)
    named = {PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()}
    if layout == "bin":
        torch.save(named, folder / "adapter_model.bin")
    else:
        save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_bytes(as_json({
        "auto_mapping": None, "base_model_name_or_path": str(base) if base_name is None else base_name, "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "lora_alpha": alpha,
        "lora_dropout": 0.1, "modules_to_save": None, "peft_type": "LORA", "r": rank, "revision": None,
        "target_modules": list(targets), "task_type": None, "use_dora": False, "use_rslora": False, **settings}))
    return tensors


def _matrices(base: Path, targets: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Returns name -> shape of the base's matrices that end in one of the targets."""
    files = sorted([*base.glob("model*.safetensors"), *base.glob("pytorch_model*.bin")])
    found: dict[str, tuple[int, int]] = {}
    for path in files:
        for name, tensor in (load_file(path) if path.suffix == ".safetensors" else torch.load(path)).items():
            if tensor.ndim == 2 and name.removesuffix(".weight").rsplit(".", 1)[-1] in targets:
                found[name] = (tensor.shape[0], tensor.shape[1])
    return found


def _random(name: str, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32) / 10).to(dtype)
