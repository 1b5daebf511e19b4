"""What our own lazy reading of an adapter does not know, such as DoRA or adapted embeddings, is merged by PEFT."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from pyterrier_taskarith.checkpoints._adapter_config import AdapterConfig
from pyterrier_taskarith.checkpoints._config import adapted_config
from pyterrier_taskarith.checkpoints._readers import WeightFile
from pyterrier_taskarith.errors import CheckpointError, MissingPackageError
from pyterrier_taskarith.families import canonical, family_of, ties_embeddings

#: PEFT's name of a task -> the class that it is trained with.
_CLASSES = {"FEATURE_EXTRACTION": "AutoModel", "SEQ_CLS": "AutoModelForSequenceClassification",
            "CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}


def merge_with_peft(base: list[WeightFile], adapter: WeightFile, about: AdapterConfig, config: Mapping[str, Any],
                    modules: set[str], wanted: set[str], shapes: Mapping[str, tuple[int, ...]]
                    ) -> dict[str, torch.Tensor]:
    """Returns parameter -> its value in float32 as PEFT merges it; the whole model is in memory meanwhile.

    Args:
        base: Weight files of the base model.
        adapter: The adapter's weight file.
        about: The adapter's configuration.
        config: The base model's configuration.
        modules: The adapter's names of the modules that it changes.
        wanted: Canonical names of the parameters that are returned.
        shapes: Canonical name -> shape in the adapted model.

    Raises:
        CheckpointError: If PEFT cannot read the adapter or would leave out a part of it.
        MissingPackageError: If PEFT is not installed.
    """
    try:
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingPackageError(f"{adapter.path} is an adapter that only PEFT can merge (more than LoRA of linear "
                                  "layers). Install it: pip install peft") from error
    rank = max([about.rank, *about.rank_pattern.values()])
    if rank > max(max(shape, default=0) for shape in shapes.values()):
        raise CheckpointError(f"{about.path}: the rank {rank} is larger than every matrix of the base model")
    family, tied = family_of(str(config["model_type"])), ties_embeddings(config)
    model = _built(dict(config) | adapted_config(config, about, shapes), about, modules)
    held = {canonical(name, family, tied): (file, name) for file in base for name in file.shapes()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice to those who train
        for name, parameter in model.named_parameters():
            file, stored = held.get(canonical(name, family, tied), (None, ""))
            if file is not None and file.shapes()[stored] == tuple(parameter.shape):
                parameter.copy_(file.tensor(stored))
        try:
            adapted = get_peft_model(model, PeftConfig.from_pretrained(str(about.path.parent)))
            read: Any = set_peft_model_state_dict(adapted, {name: adapter.tensor(name) for name in adapter.shapes()})
            lost = [*read.unexpected_keys, *(name for name in read.missing_keys if "lora_" in name)]
            if lost:
                raise ValueError(f"{len(lost)} entries are missing or unknown: {', '.join(lost[:5])}")
            merged = adapted.merge_and_unload().state_dict()
        except Exception as error:  # PEFT has no error of its own
            raise CheckpointError(f"{adapter.path}: PEFT cannot merge it with {about.path.name} into the base model "
                                  f"{about.base!r} ({' '.join(str(error).split())[:300]})") from error
    found = {canonical(name, family, tied): value for name, value in merged.items()}
    if wanted - found.keys():
        raise CheckpointError(f"{adapter.path}: PEFT merges it into a {type(model).__name__}, which has no "
                              f"{', '.join(sorted(wanted - found.keys())[:5])}")
    return {name: found[name] for name in wanted}


def _built(config: dict[str, Any], about: AdapterConfig, modules: set[str]) -> torch.nn.Module:
    """Returns a model of the class that has all modules that the adapter changes, on the CPU in float32."""
    import transformers

    known = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    names = [_CLASSES[about.task_type]] if about.task_type in _CLASSES else [
        "AutoModel", "AutoModelForMaskedLM", *list(_CLASSES.values())[1:]]
    for name in names:
        auto = getattr(transformers, name)
        if type(known) not in auto._model_mapping:
            continue
        with torch.device("meta"):
            found = {module for module, _ in auto.from_config(known).named_modules()}
        if modules <= found:
            model: torch.nn.Module = auto.from_config(known, dtype=torch.float32)
            return model
    raise CheckpointError(f"{about.path}: transformers has no class for {config['model_type']!r} models that has "
                          f"{', '.join(sorted(modules)[:5])}; name its task_type there, or merge it with PEFT's "
                          "merge_and_unload and name the result")
