"""A merge -> an ordinary model folder, written tensor by tensor, complete or absent."""

import json
import os
import shutil
import struct
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith.arithmetic._difference import CheckpointDifference
from pyterrier_taskarith.arithmetic._errors import MergeError
from pyterrier_taskarith.arithmetic._merge import Merge
from pyterrier_taskarith.checkpoints import canonical, family_of
from pyterrier_taskarith.checkpoints._fingerprint import file_sha256
from pyterrier_taskarith.checkpoints._readers import WEIGHT_FILES

#: Dtypes that a folder can be saved in, by the name that config.json uses.
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_CODES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
          torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
          torch.bool: "BOOL"}
#: Other formats of the weights, and files that belong to Θ_T's training; not copied beside merged weights.
_LEFT_OUT = (".bin", ".safetensors", ".h5", ".msgpack", ".ot", ".onnx", ".pt", ".pth", ".pkl", ".pickle", ".joblib",
             ".ckpt", ".npz", ".npy", ".gguf", ".tflite", ".safetensors.index.json", ".bin.index.json")


def save_merge(merge: Merge, folder: Path, *, dtype: str | None = None) -> Path:
    """Writes Θ' as a model folder that transformers, sentence-transformers and pyterrier_t5 load.

    Everything but the weights is Θ_T's own, byte for byte. Each tensor is computed in float32 and rounded once.

    Args:
        merge: What to write.
        folder: Where; it must not exist, or be empty.
        dtype: "float32", "float16" or "bfloat16" for floating-point tensors; None keeps each one's dtype in Θ_T.

    Returns:
        The folder.

    Raises:
        MergeError: If the folder holds something, the dtype is unknown, or a weight is not finite.
        OSError: If the disk is full or read-only; nothing is left behind then.
    """
    if dtype is not None and dtype not in DTYPES:
        raise MergeError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}, or None for Θ_T's own")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MergeError(f"{folder} exists and is not empty; choose another folder or remove it")
    plan = merge.plan
    ranker = merge.ranker
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        root, weights = ranker.located.root, ranker.located.weights
        _copy_companions(root, temporary, weights)
        target = temporary / weights.relative_to(root)
        _write_weights(merge, target / "model.safetensors", DTYPES.get(dtype or ""))
        if dtype is not None:
            _state_dtype(target / "config.json", dtype)
        (temporary / "README.md").write_text(model_card(merge, dtype), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        ranker.close()
        for vector in plan.vectors.values():
            for term in vector.terms:
                term.difference.close()
    return folder


def _copy_companions(root: Path, target: Path, weights: Path) -> None:
    """Copies what belongs to the model: configuration, tokenizer, and the other modules of a sentence-transformer."""
    target.mkdir(parents=True)
    for folder in {root, weights}:
        (target / folder.relative_to(root)).mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            left_out = path.name.endswith(_LEFT_OUT) or path.name in ("README.md", ".gitattributes")
            if path.is_file() and not left_out and path.name not in WEIGHT_FILES:
                shutil.copyfile(path, target / path.relative_to(root))
    for folder in _other_modules(root):
        if folder.is_dir() and folder not in (root, weights):
            shutil.copytree(folder, target / folder.relative_to(root), dirs_exist_ok=True, ignore=_not_a_modules)


def _other_modules(root: Path) -> list[Path]:
    """Returns the folders of the modules after the transformer, where the folder is a sentence-transformer."""
    modules = root / "modules.json"
    if not modules.is_file():
        return []
    paths = [Path(str(entry["path"])) for entry in json.loads(modules.read_text(encoding="utf-8"))[1:]]
    for path in paths:
        if ".." in path.parts or not (root / path).resolve().is_relative_to(root.resolve()):
            raise MergeError(f"{modules} names the folder {str(path)!r}, which lies outside {root}; refused")
    return [root / path for path in paths]


def _not_a_modules(_: str, names: list[str]) -> list[str]:
    """Returns what is not copied of a module such as a dense layer, whose own weights are."""
    return [name for name in names if name.endswith(_LEFT_OUT) and name not in WEIGHT_FILES]


def _write_weights(merge: Merge, path: Path, dtype: torch.dtype | None) -> None:
    """Writes the header first, then each tensor in the order of Θ_T's files."""
    ranker = merge.ranker
    family = replace(family_of(str(ranker.config["model_type"])), tied={})
    chosen: dict[str, str] = {}
    for name, held in ranker.names.parameters.items():
        # Of a tied group, the name of the matrix itself: transformers makes the others from it.
        chosen[min(held, key=lambda raw: canonical(raw, family, tied=False) != name)] = name
    kept = {name: None for name in (*ranker.names.buffers, *ranker.names.ignored)}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    order, offset = [], 0
    for raw, file in ranker.raw.items():
        if raw not in chosen and raw not in kept:
            continue
        stored = file.dtype(raw)
        out = dtype if dtype is not None and raw in chosen and stored.is_floating_point else stored
        shape = file.shapes()[raw]
        size = out.itemsize * int(torch.Size(shape).numel())
        header[raw] = {"dtype": _CODES[out], "shape": list(shape), "data_offsets": [offset, offset + size]}
        order.append((raw, chosen.get(raw), out))
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as output:
        output.write(struct.pack("<Q", len(text)) + text)
        for raw, parameter, out in order:
            value = (merge.tensor(parameter) if parameter else ranker.raw[raw].tensor(raw)).to(out)
            if parameter and not torch.isfinite(value).all():
                raise MergeError(f"Θ': {parameter} has values that {str(out).removeprefix('torch.')} cannot hold; save "
                                 "with dtype='float32', or with a smaller α")
            output.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        output.flush()
        os.fsync(output.fileno())


def _state_dtype(path: Path, dtype: str) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in [key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"]:
        config[key] = dtype
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_card(merge: Merge, dtype: str | None) -> str:
    """Returns the README of a merged model: recipe, the sha256 of every file read, versions."""
    inputs = [("Θ_T", merge.ranker.source, [file.path for file in merge.ranker.files])]
    for name, vector in merge.vectors.items():
        for term in vector.terms:
            difference = term.difference
            if isinstance(difference, CheckpointDifference):
                inputs += [(f"{role} of {name}", checkpoint.source, [file.path for file in checkpoint.files])
                           for role, checkpoint in (("Θ_D", difference.domain), ("Θ_0", difference.base))]
            else:
                inputs.append((f"τ of {name}", difference.label, difference.paths()))
    rows = dict.fromkeys(f"| {role} | {source} | {path.name} | {file_sha256(path)} |"
                         for role, source, paths in inputs for path in paths)
    return "\n".join([
        "---", "tags: [task-arithmetic, pyterrier]", "---", "",
        "# A re-ranker merged by task arithmetic", "",
        "Θ' = Θ_T + Σ α·(Θ_D − Θ_0), computed in float32 and rounded once (SIGIR 2025, doi 10.1145/3726302.3730216).",
        "", f"    {merge}", "",
        f"Output dtype: {dtype or 'as in Θ_T'}. {merge.plan.summary()}.", "",
        "| role | model | file | sha256 |", "|---|---|---|---|", *rows, "",
        f"pyterrier_taskarith {version('pyterrier_taskarith')}, torch {torch.__version__}, "
        f"safetensors {version('safetensors')}.", "",
    ])
