"""Encoders of BERT's kin, run whole or in two parts that meet at a layer."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pyterrier_taskarith.checkpoints import family_of
from pyterrier_taskarith.scorers._kept import Kept
from pyterrier_taskarith.scorers._scorer import Scorer


class EncoderScorer(Scorer):
    """A scorer whose module is an encoder of BERT's kin, with a head or bare."""

    _halves: tuple[Any, Any] | None = None

    def keep(self, kept: Kept | None) -> bool:
        """Runs the layers below ``kept.layer`` once a batch; see :meth:`Scorer.keep`."""
        stack = family_of(str(self.checkpoint.config["model_type"])).stack
        able = kept is not None and bool(stack) and 0 < kept.layer < len(_layers(self.module.base_model, stack))
        self.kept, self._halves = (kept, halves(self.module, stack, kept.layer)) if able and kept else (None, None)
        return able

    def run(self, inputs: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401 - a model output of transformers
        """Returns what the module returns for token ids and masks."""
        if self.kept is None or self._halves is None:
            return self.module(**inputs)
        lower, upper = self._halves
        states = self.kept.of(inputs, lambda: lower(**inputs).last_hidden_state)
        return upper(inputs_embeds=states, attention_mask=inputs["attention_mask"])


def halves(module: Any, stack: str, layer: int) -> tuple[Any, Any]:  # noqa: ANN401 - a model of transformers
    """Returns a model's embeddings with the layers below one, and the layers from it on with all that follows.

    Both hold the model's own submodules, so that they always have its weights, hooks and mode; the model itself is not
    touched. The upper one takes the lower one's last hidden state as ``inputs_embeds``. Together they do the very same
    operations as the whole.

    Args:
        module: An encoder of transformers, with a head or bare.
        stack: Name of the part of its base model whose ``layer`` lists the layers.
        layer: Number of the first layer of the upper part.
    """
    base = module.base_model
    layers = _layers(base, stack)
    lower = _with(base, **{stack: _with(getattr(base, stack), layer=layers[:layer])}, pooler=None)
    upper = _with(base, **{stack: _with(getattr(base, stack), layer=layers[layer:])}, embeddings=_AsGiven())
    upper._modules.pop("embeddings_project", None)  # ELECTRA's, between embeddings and layers
    return lower, upper if base is module else _with(module, **{module.base_model_prefix: upper})


def _layers(base: Any, stack: str) -> Any:  # noqa: ANN401
    return getattr(base, stack).layer


def _with(module: nn.Module, **parts: nn.Module | None) -> Any:  # noqa: ANN401
    """Returns a module with the same submodules but for those given, of which it must have all but absent ones."""
    made = copy.copy(module)
    made._modules = dict(module._modules)
    made._modules.update({name: part for name, part in parts.items() if name in made._modules})
    return made


class _AsGiven(nn.Module):
    """Stands where embeddings were: what comes in has been through them already."""

    def forward(self, input_ids: None = None, inputs_embeds: torch.Tensor | None = None, *_: object,
                **__: object) -> torch.Tensor | None:
        """Returns ``inputs_embeds``, which BERT's kin give by name and DistilBERT in the second place."""
        return inputs_embeds
