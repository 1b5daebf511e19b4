"""What people do today: a plain transformer around sentence-transformers that merges whole state dicts."""

import pandas as pd
import pyterrier as pt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import pairwise_cos_sim
from transformers import AutoModel


class PlainReranker(pt.Transformer):
    """Reloads the three models for each α and remembers nothing; within a frame it embeds each text once."""

    def __init__(self, ranker, domain, base, alpha=1.0):
        """Loads Θ_T; the other two at the first frame."""
        super().__init__()
        self.ranker, self.domain, self.base, self.alpha = ranker, domain, base, alpha
        self.scorings, self._merged_at = 0, None
        self._model = SentenceTransformer(ranker, device="cpu", model_kwargs={"dtype": torch.float32})

    def _merge(self):
        ranker, domain, base = (AutoModel.from_pretrained(name, dtype=torch.float32).state_dict()
                                for name in (self.ranker, self.domain, self.base))
        merged = {name: value + self.alpha * (domain[name] - base[name]) if "pooler" not in name else value
                  for name, value in ranker.items()}
        self._model[0].auto_model.load_state_dict(merged, strict=False)
        self._merged_at = self.alpha

    def transform(self, run):
        """Scores every row by the cosine of its query and its text."""
        if self._merged_at != self.alpha:
            self._merge()
        self.scorings += len(run) > 0  # PyTerrier and Mix ask with empty frames for the columns
        (of_query, queries), (of_text, texts) = pd.factorize(run["query"]), pd.factorize(run["text"])
        ours, theirs = (self._model.encode(list(part), convert_to_tensor=True) for part in (queries, texts))
        return pt.model.add_ranks(run.assign(score=pairwise_cos_sim(ours[of_query], theirs[of_text]).tolist()))
