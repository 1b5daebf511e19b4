"""Builds the module that scores, from a checkpoint's own files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.scorers._errors import ScorerError


def build_module(checkpoint: Checkpoint, auto_class: Any, *, dtype: torch.dtype,  # noqa: ANN401
                 device: torch.device, optional: tuple[str, ...] = ()) -> torch.nn.Module:
    """Returns the module of a checkpoint in evaluation mode, its own weights in it.

    Args:
        checkpoint: Θ_T.
        auto_class: transformers' ``AutoModel`` or one of its kin.
        dtype: Of its parameters.
        device: Where it goes.
        optional: First parts of names that the checkpoint may lack; the caller does not use them.

    Raises:
        ScorerError: If the checkpoint lacks any other parameter of the module.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint.folder)
    try:
        module_class = auto_class._model_mapping[type(config)]
    except KeyError as error:
        raise ScorerError(f"{checkpoint.source}: transformers has no {auto_class.__name__} for the model type "
                          f"{config.model_type!r}") from error
    module_class = module_class[0] if isinstance(module_class, tuple) else module_class
    state = {name: checkpoint.tensor(name) for name in checkpoint.shapes}
    prefix = f"{module_class.base_model_prefix}."
    with _quiet():
        module, info = module_class.from_pretrained(None, config=config, state_dict=state, dtype=dtype,
                                                    output_loading_info=True)
    missing = sorted(name for name in info["missing_keys"] if not name.removeprefix(prefix).startswith(optional))
    if missing:
        raise ScorerError(f"{checkpoint.source} lacks {len(missing)} parameters of {module_class.__name__}: "
                          f"{', '.join(missing[:5])}. Is it the right kind of model for this scorer?")
    checkpoint.close()
    return module.to(device).eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' loading report: what it would say is checked here and by the merge plan."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
