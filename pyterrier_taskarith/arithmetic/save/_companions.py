"""The files beside merged weights: Θ_T's own, copied byte for byte, and a README."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from pyterrier_taskarith._json import read_json, read_object
from pyterrier_taskarith.arithmetic._merged import MergedWeights
from pyterrier_taskarith.arithmetic.save._record import inputs
from pyterrier_taskarith.checkpoints import RECORD, WEIGHT_FILES, Checkpoint

#: Other formats of the weights, and files that belong to Θ_T's training; not copied beside merged weights.
_LEFT_OUT = (".bin", ".safetensors", ".h5", ".msgpack", ".ot", ".onnx", ".pt", ".pth", ".pkl", ".pickle", ".joblib",
             ".ckpt", ".npz", ".npy", ".gguf", ".tflite", ".safetensors.index.json", ".bin.index.json")
#: Files that would be untrue of the merged model.
_UNTRUE = ("README.md", ".gitattributes", "adapter_config.json", RECORD)


def companions(ranker: Checkpoint) -> dict[Path, Path]:
    """Returns path in the merged folder -> the file it is a copy of: configuration, tokenizer, further modules.

    Args:
        ranker: Θ_T. Where it is an adapter, the files are its base model's, but for those of a sentence-transformers
            folder around it.
    """
    located = ranker.located
    root, weights = located.root, located.weights
    found = {path.relative_to(root): path for folder in dict.fromkeys([root, weights]) for path in _own_files(folder)}
    for folder in _modules(root):
        if folder.is_dir() and folder not in (root, weights):
            found |= {path.relative_to(root): path for path in sorted(folder.rglob("*"))
                      if path.is_file() and (path.name in WEIGHT_FILES or not path.name.endswith(_LEFT_OUT))}
    if located.base is not None and located.base.weights != weights:
        inside = weights.relative_to(root)
        found = {inside / path.name: path for path in _own_files(located.base.weights)} | found
    return found


def _own_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.endswith(_LEFT_OUT) and path.name not in (*WEIGHT_FILES, *_UNTRUE):
            yield path


def _modules(root: Path) -> list[Path]:
    """Returns the folders of a sentence-transformer's modules; that they lie in ``root`` was checked to find Θ_T."""
    modules = root / "modules.json"
    if not modules.is_file():
        return []
    return [root / str(entry["path"]) for entry in read_json(modules)]


def copy_files(files: dict[Path, Path], folder: Path) -> None:
    """Copies files, whose new paths are relative, into a folder."""
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / path)


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state_dtype(config: Path, dtype: str) -> None:
    """Writes into a ``config.json`` in which dtype the weights beside it are."""
    content = read_object(config)
    for key in [key for key in ("dtype", "torch_dtype") if key in content] or ["torch_dtype"]:
        content[key] = dtype
    config.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_card(merge: MergedWeights, dtype: str | None, hashes: Mapping[Path, str]) -> str:
    """Returns the README: recipe, the sha256 of every file read, versions.

    Args:
        merge: The merge.
        dtype: Of the output; None: as in Θ_T.
        hashes: Weight file -> sha256.
    """
    rows = dict.fromkeys(f"| {file.role} | {file.source} | {file.path.name} | {hashes[file.path]} |"
                         for file in inputs(merge))
    return "\n".join([
        "---", "tags: [task-arithmetic, pyterrier]", "---", "",
        "# A re-ranker merged by task arithmetic", "",
        "Θ' = Θ_T + Σ α·(Θ_D − Θ_0), computed in float32 and rounded once (SIGIR 2025, doi 10.1145/3726302.3730216).",
        "", f"    {merge}", "",
        f"Output dtype: {dtype or 'as in Θ_T'}. {merge.plan.summary()}.", "",
        "| role | model | file | sha256 |", "|---|---|---|---|", *rows, "",
        f"pyterrier_taskarith {version('pyterrier_taskarith')}, torch {torch.__version__}, "
        f"safetensors {version('safetensors')}. `{RECORD}` says the same for programs.", "",
    ])
