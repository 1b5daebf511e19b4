"""Scores by plain torch and transformers, to audit runs: nothing here comes from pyterrier_taskarith.

The state dicts are read whole and merged name by name in float64; each pair is scored alone, without batches.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith.errors import CheckpointError, DataError

PREFIXES = ("bert.", "roberta.", "distilbert.")
T5_PROMPT = "Query: {query} Document: {text} Relevant:"
CAUSAL_PROMPT = "Document: {text} Query:"
T5_LENGTH, CAUSAL_TEXT, CAUSAL_QUERY = 512, 256, 128


class Reference:
    """One system's model, with the weights of a variant.

    Attributes:
        scorer: "bi-encoder", "seq2seq" or "causal".
    """

    def __init__(self, ranker: str, domain: str, base: str, scorer: str, tokens: tuple[str, str]) -> None:
        """Reads the three folders.

        Args:
            ranker: The folder of Θ_T.
            domain: The folder of Θ_D.
            base: The folder of Θ_0.
            scorer: How it scores.
            tokens: Of a T5 model, those that mean not relevant and relevant.
        """
        from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        loaders: dict[str, Any] = {"bi-encoder": AutoModel, "seq2seq": AutoModelForSeq2SeqLM,
                                   "causal": AutoModelForCausalLM}
        self.scorer, self._tokens = scorer, tokens
        self._states = {"ranker": state(Path(ranker)), "domain": state(Path(domain)), "base": state(Path(base))}
        self._model = loaders[scorer].from_pretrained(ranker, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(ranker)
        about = Path(ranker) / "sentence_bert_config.json"
        self._length = json.loads(about.read_text())["max_seq_length"] if about.is_file() else None

    def set(self, kind: str, alpha: float | dict[str, float]) -> None:
        """Takes the weights of "base", "domain" or "ranker", whatever α, or those of Θ' ("merged") at α.

        α may differ by place in the model; see :func:`place`.
        """
        by_place = alpha if isinstance(alpha, dict) else {"default": alpha}
        merged = {}
        for name, tensor in self._states["ranker"].items():
            domain, base = self._states["domain"].get(name), self._states["base"].get(name)
            if not tensor.is_floating_point() or domain is None or base is None:
                merged[name] = tensor
            elif kind == "merged":
                here = by_place.get(place(name), by_place["default"])
                merged[name] = (tensor.double() + here * (domain.double() - base.double())).float()
            else:
                merged[name] = {"base": base, "domain": domain, "ranker": tensor}[kind].float()
        if "shared.weight" in merged:  # what repeats it follows it; an output matrix of its own (mT5's) does not
            ranker = self._states["ranker"]
            tied = torch.equal(ranker.get("lm_head.weight", ranker["shared.weight"]), ranker["shared.weight"])
            merged |= dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                                     *(["lm_head.weight"] if tied else [])), merged["shared.weight"])
        unknown = self._model.load_state_dict(merged, strict=False).missing_keys
        absent = [name for name in unknown if "pooler" not in name and "position_ids" not in name]
        if absent:
            raise CheckpointError(f"the reference has no weights for {absent[:3]}")

    @torch.inference_mode()
    def score(self, query: str, text: str) -> float:
        """Returns the score of one pair."""
        return {"bi-encoder": self._cosine, "seq2seq": self._relevance, "causal": self._likelihood}[self.scorer](
            query, text)

    def _cosine(self, query: str, text: str) -> float:
        ours, theirs = (self._embedding(each) for each in (query, text))
        return float(ours @ theirs / (ours.norm() * theirs.norm()))

    def _embedding(self, text: str) -> torch.Tensor:
        inputs = self._tokenizer(text, truncation=True, max_length=self._length, return_tensors="pt")
        states: torch.Tensor = self._model(**inputs).last_hidden_state[0]
        return states.double().mean(dim=0)

    def _relevance(self, query: str, text: str) -> float:
        ids = self._tokenizer(T5_PROMPT.format(query=query, text=text), truncation=True, max_length=T5_LENGTH,
                              return_tensors="pt")
        start = torch.tensor([[self._model.config.decoder_start_token_id]])
        rows = self._tokenizer.convert_tokens_to_ids(list(self._tokens))
        logits = self._model(input_ids=ids["input_ids"], decoder_input_ids=start).logits[0, 0, rows]
        return float(logits.double().log_softmax(-1)[1])

    def _likelihood(self, query: str, text: str) -> float:
        lengths = [len(self._tokenizer(each, add_special_tokens=False)["input_ids"]) for each in (text, query)]
        if lengths[0] > CAUSAL_TEXT or lengths[1] > CAUSAL_QUERY:
            raise DataError("the reference does not cut texts")
        source = CAUSAL_PROMPT.format(text=text)
        ids, start = self._tokenizer(source + query)["input_ids"], len(self._tokenizer(source)["input_ids"])
        logits = self._model(torch.tensor([ids[:-1]])).logits[0].double()
        found = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        return float(found[start - 1:].mean())


def place(name: str) -> str:
    """Returns where a parameter stands: "embeddings", "encoder.3", "head", "other"; "3" where one stack has no name."""
    numbered = re.match(r"(?:(encoder|decoder)\.(?:block|layer)|transformer\.layer|model\.layers)\.(\d+)\.", name)
    if numbered:
        return f"{numbered[1]}.{numbered[2]}" if numbered[1] else numbered[2]
    if re.match(r"(embeddings|shared|model\.embed_tokens)\.", name):
        return "embeddings"
    return "head" if re.match(r"(lm_head|pooler)\.", name) else "other"


def state(folder: Path) -> dict[str, torch.Tensor]:
    """Returns a folder's tensors by their names without the prefix of a head model."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    for path in sorted(folder.glob("pytorch_model*.bin")):
        found |= torch.load(path, weights_only=True)
    if not found:
        raise FileNotFoundError(f"{folder} has no weights that the reference reads")
    return {next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name): tensor
            for name, tensor in found.items()}
