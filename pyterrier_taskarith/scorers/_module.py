"""Builds the module that scores, from a checkpoint's own files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import __version__ as transformers_version
from transformers.utils import logging as transformers_logging

from pyterrier_taskarith.arithmetic import stream
from pyterrier_taskarith.checkpoints import Checkpoint, check_layers
from pyterrier_taskarith.errors import ScorerError, library_errors
from pyterrier_taskarith.families import canonical, family_of, ties_embeddings
from pyterrier_taskarith.scorers._scorer import ScorerOptions


def build_module(checkpoint: Checkpoint, auto_class: Any, options: ScorerOptions,
                 optional: tuple[str, ...] = ()) -> torch.nn.Module:
    """Returns the module of a checkpoint in evaluation mode.

    Args:
        checkpoint: Θ_T.
        auto_class: transformers' ``AutoModel`` or a similar class.
        options: Its parameters' dtype, its device, and whether it gets the checkpoint's weights at once.
        optional: First parts of names that the checkpoint may lack; the caller does not use them.

    Raises:
        ScorerError: If the checkpoint lacks any other parameter of the module, or has one in another shape, or
            transformers cannot build the module from its configuration.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    with library_errors(f"{checkpoint.config_file}: transformers cannot build the configuration from it", ScorerError):
        config = AutoConfig.from_pretrained(checkpoint.config_file.parent)
        if checkpoint.base:  # an adapter may change the labels and the size of the vocabulary
            config.update({key: value for key, value in checkpoint.config.items()
                           if value != checkpoint.base.config.get(key)})
    config.chunk_size_feed_forward = 0  # chunks save memory alone, and take texts of certain lengths alone
    if auto_class is AutoModel and type(config) in AutoModelForTextEncoding._model_mapping:
        auto_class = AutoModelForTextEncoding  # of T5, the encoder alone
    try:
        module_class = auto_class._model_mapping[type(config)]
    except KeyError as error:
        raise ScorerError(f"{checkpoint.source}: transformers has no {auto_class.__name__} for the model type "
                          f"{config.model_type!r}") from error
    module_class = module_class[0] if isinstance(module_class, tuple) else module_class
    if int(transformers_version.split(".")[0]) < 5 and not ties_embeddings(checkpoint.config):
        config.tie_word_embeddings = False  # transformers 4 ties an mT5 that transformers 5 has written
    check_layers(checkpoint.config_file, config.to_dict(), len(checkpoint.shapes))
    names = _names(module_class, config, checkpoint)
    missing = sorted(held for name, held in names.items()
                     if name not in checkpoint.shapes and not name.startswith(optional))
    if missing:
        why = ("Its config.json names code of its own (auto_map), which is never run: it has another class"
               if checkpoint.config.get("auto_map") else "Is it the right kind of model for this scorer?")
        raise ScorerError(f"{checkpoint.source} lacks {len(missing)} parameter{'s' * (len(missing) > 1)} of "
                          f"{module_class.__name__}: {', '.join(missing[:5])}. {why}")
    with quiet():
        module: torch.nn.Module = module_class.from_pretrained(
            None, config=config, dtype=options.dtype, state_dict=_placeholders(checkpoint, names, options.dtype))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.data = torch.empty(parameter.shape, dtype=parameter.dtype, device=options.device)
    module.to(options.device).eval()
    if options.filled:
        parameters = {name: module.get_parameter(held) for name, held in names.items() if name in checkpoint.shapes}
        for name in stream(checkpoint, parameters):
            parameters[name].copy_(checkpoint.tensor(name))
        checkpoint.close()
    return module


def _names(module_class: Any, config: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """Returns canonical name -> name in the class, for all its parameters.

    They are read from the class: transformers 4 does not load a head beside the names of a bare body, and
    transformers 5 does not report a missing output matrix that it can tie.
    """
    family, tied = family_of(str(checkpoint.config["model_type"])), ties_embeddings(checkpoint.config)
    names: dict[str, str] = {}
    words = f"{checkpoint.config_file}: transformers cannot build the {module_class.__name__} from it"
    with library_errors(words, ScorerError), torch.device("meta"):
        module = module_class(config)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        held = canonical(name, family, tied)
        names.setdefault(held, name)
        stated = tuple(parameter.shape)
        found = tuple(checkpoint.shapes.get(held, stated))
        if found != stated:
            raise ScorerError(f"{checkpoint.source}: {held} is {found} in the files, but {stated} by "
                              f"{checkpoint.config_file}; one of the two is of another model")
    return names


def _placeholders(checkpoint: Checkpoint, names: Mapping[str, str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns a state dict that takes no memory: each tensor is one number, expanded to its shape.

    With it, transformers makes buffers, ties matrices and casts as with real weights, and there is never a second copy
    of the model in memory. The numbers differ, because equal matrices would be tied.

    Args:
        checkpoint: What the module is built for.
        names: Canonical name -> name in the class.
        dtype: Of the module.
    """
    state = {}
    for number, (name, shape) in enumerate(checkpoint.shapes.items(), start=1):
        if name not in names:
            continue
        floating = checkpoint.dtype(name).is_floating_point
        # The bits count from 1, so that all are different finite numbers, also in a 16-bit type.
        bits = torch.int16 if dtype.itemsize == 2 else torch.int32
        value = torch.tensor([number], dtype=bits).view(dtype) if floating else torch.tensor(
            [number], dtype=checkpoint.dtype(name))
        state[names[name]] = value.expand(shape) if shape else value[0]
    return state


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' loading report; what it reports is checked here and by the merge plan."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
