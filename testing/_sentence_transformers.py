"""What sentence-transformers puts around a transformer: modules, pooling, normalisation, prompts, similarity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testing._folders import as_json

POOLINGS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
SIMILARITIES = ("cosine", "dot")

__all__ = ["write_modules"]


def write_modules(folder: Path, *, hidden: int, pooling: str, similarity: str, normalize: bool, max_seq_length: int,
                  prompts: Mapping[str, str] | None = None, transformer_path: str = "") -> Path:
    """Writes the files of a SentenceTransformer but for the transformer's own, and returns that one's folder.

    Args:
        folder: the folder, which exists.
        hidden: width of the embeddings.
        pooling: "mean", "cls" or "max".
        similarity: "cosine" or "dot".
        normalize: a third module scales the embeddings to length 1.
        max_seq_length: tokens that the transformer reads.
        prompts: name ("query", "document") to the text put before what is embedded.
        transformer_path: sub-folder of the transformer; "" for the folder itself, "0_Transformer" in old models.

    Raises:
        ValueError: unknown pooling or similarity.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}: choose one of {', '.join(SIMILARITIES)}")
    kinds = [("Transformer", transformer_path), ("Pooling", "1_Pooling")]
    if normalize:
        kinds.append(("Normalize", "2_Normalize"))
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (kind, path) in enumerate(kinds)]
    modes = {f"pooling_mode_{mode}": mode == POOLINGS[pooling]
             for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")}
    (folder / "modules.json").write_bytes(as_json(modules))
    (folder / "config_sentence_transformers.json").write_bytes(as_json({
        "__version__": {"sentence_transformers": "2.0.0", "transformers": "4.7.0", "pytorch": "1.9.0+cu102"},
        "prompts": dict(prompts or {}), "default_prompt_name": None, "similarity_fn_name": similarity}))
    # A Normalize module has nothing to save; the hub, which keeps no empty folders, has no 2_Normalize either.
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_bytes(as_json({"word_embedding_dimension": hidden, **modes}))
    transformer = folder / transformer_path
    transformer.mkdir(exist_ok=True)
    (transformer / "sentence_bert_config.json").write_bytes(
        as_json({"max_seq_length": max_seq_length, "do_lower_case": False}))
    return transformer
