"""What differs between model families, declared once: prompts, prediction tokens, names and their canonical form."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

#: First parts of names that belong to a head, not to the bare backbone, whatever the family.
HEADS = ("lm_head", "cls", "classifier", "pooler", "qa_outputs", "score", "vocab_transform", "vocab_layer_norm",
         "vocab_projector", "pre_classifier", "generator_predictions", "generator_lm_head", "discriminator_predictions",
         "classification_head")


@dataclass(frozen=True)
class Family:
    """The facts of one ``model_type``.

    Attributes:
        prefix: What head models put before the backbone's names, with its dot; empty where they put nothing.
        embedding: Canonical name of the token embedding; one row per token.
        token_rows: Other canonical names with one row per token.
        tied: Name -> the canonical name it always equals.
        output: Name of the output matrix, which equals ``embedding`` when ``tie_word_embeddings`` holds.
        ties: Value of ``tie_word_embeddings`` where the configuration does not say.
        own_output: Whether an output matrix in the files is the model's own, whatever the configuration says.
        ignored: Pattern of stray names that published files hold and the model does not use.
        scorer: How a plain folder of this type scores; empty where both bi-encoders and cross-encoders are published.
        prompt: What a re-ranker of this type reads, where it reads query and text as one prompt. A causal model goes on
            with the query.
        prediction_tokens: The tokens for not relevant and relevant, of a ranker that is not in PUBLISHED_RANKERS.
        first_token_from: Of a cross-encoder, the part of its last layer from which on only the first token matters, as
            the head reads that alone; empty where it is not known.
        sentinels: The class of tokenizer that puts ``<extra_id_…>`` after its model's pieces; empty: none does.
    """

    prefix: str = ""
    embedding: str = "embeddings.word_embeddings.weight"
    token_rows: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    output: str = ""
    ties: bool = True
    own_output: bool = False
    ignored: str = ""
    scorer: str = ""
    prompt: str = ""
    prediction_tokens: tuple[str, str] | None = None
    first_token_from: str = ""
    sentinels: str = ""


#: Of encoders in BERT's naming.
_ATTENTION = "encoder.layer.{}.attention.output"


def _masked(prefix: str) -> Family:
    """BERT and similar encoders with the ``cls.predictions`` head."""
    return Family(prefix, token_rows=("cls.predictions.bias",), output="cls.predictions.decoder.weight",
                  tied={"cls.predictions.decoder.bias": "cls.predictions.bias"}, first_token_from=_ATTENTION)


def _roberta() -> Family:
    return Family("roberta.", token_rows=("lm_head.bias",), output="lm_head.decoder.weight",
                  tied={"lm_head.decoder.bias": "lm_head.bias"}, first_token_from=_ATTENTION)


def _t5(ties: bool, tokenizer: str, tokens: tuple[str, str]) -> Family:
    """monoT5 (Nogueira et al., 2020) and, with English prompts too, mMARCO's mT5 (Bonifacio et al., 2021)."""
    return Family("transformer.", "shared.weight", output="lm_head.weight", ties=ties, own_output=not ties,
                  token_rows=("lm_head.weight",),
                  tied={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
                  ignored=r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
                  scorer="seq2seq", prompt="Query: {query} Document: {text} Relevant:", prediction_tokens=tokens,
                  sentinels=tokenizer)


def _causal() -> Family:
    """RankingGPT (Zhang et al., 2023).

    The scorer relies on this: logits are the output matrix times the last hidden state, and positions are rotary.
    """
    return Family("model.", embedding="embed_tokens.weight", output="lm_head.weight", ties=False,
                  token_rows=("lm_head.weight",), scorer="causal", prompt="Document: {text} Query:")


#: model_type -> its facts. A new family is one line here.
FAMILIES: dict[str, Family] = {
    "bert": _masked("bert."),
    "distilbert": Family("distilbert.", token_rows=("vocab_projector.bias",), output="vocab_projector.weight",
                         first_token_from="transformer.layer.{}.ffn"),
    "roberta": _roberta(),
    "xlm-roberta": _roberta(),
    "camembert": _roberta(),
    "mpnet": Family("mpnet.", token_rows=("lm_head.bias",), output="lm_head.decoder.weight",
                    tied={"lm_head.decoder.bias": "lm_head.bias"}),
    "electra": Family("electra.", token_rows=("generator_lm_head.bias",), output="generator_lm_head.weight",
                      first_token_from=_ATTENTION),
    "t5": _t5(True, "T5Tokenizer", ("▁false", "▁true")),
    "mt5": _t5(False, "MT5Tokenizer", ("▁no", "▁yes")),
    "llama": _causal(),
    "mistral": _causal(),
    "qwen2": _causal(),
}


@dataclass(frozen=True)
class PublishedRanker:
    """Prompt and prediction tokens of a published T5 ranker.

    Attributes:
        tokens: The prediction tokens that mean not relevant and relevant.
        prompt: Its prompt where that is not its family's; empty: the family's.
    """

    tokens: tuple[str, str]
    prompt: str = ""


_ENGLISH, _MULTILINGUAL = PublishedRanker(("▁false", "▁true")), PublishedRanker(("▁no", "▁yes"))
#: Hub ids (as patterns) of published T5 rankers: the tables of pygaggle and rerankers, the code of TWOLAR and InPars. A
#: new one is one line here.
PUBLISHED_RANKERS: dict[str, PublishedRanker] = {
    "castorini/monot5-*": _ENGLISH,
    "unicamp-dl/InRanker-*": _ENGLISH,
    "Dundalia/TWOLAR-*": _ENGLISH,
    "zeta-alpha-ai/monot5-*": _ENGLISH,
    "inpars/monot5-*": _ENGLISH,
    "unicamp-dl/mt5-base-*msmarco*": _MULTILINGUAL,
    "unicamp-dl/mt5-base-mmarco-*": _MULTILINGUAL,
    "unicamp-dl/mt5-13b-mmarco-100k": PublishedRanker(("▁", "▁true")),
    "unicamp-dl/mt5-3B-mmarco-en-pt": PublishedRanker(("▁", "▁true")),
    "unicamp-dl/ptt5-base-*msmarco*": PublishedRanker(("▁não", "▁sim")),
    "unicamp-dl/monoptt5-*": PublishedRanker(("▁Não", "▁Sim"), "Pergunta: {query} Documento: {text} Relevante:"),
}


def family_of(model_type: str) -> Family:
    """Returns the facts of a ``model_type``; of an undeclared one, what transformers' classes state.

    Raises:
        KeyError, ValueError: If transformers does not know the type either.
    """
    return FAMILIES[model_type] if model_type in FAMILIES else _asked(model_type)


@cache
def _asked(model_type: str) -> Family:
    """Builds the bare model and one with an output matrix, without values, ties them, and looks which names are one."""
    import torch
    from transformers import MODEL_MAPPING, AutoConfig
    from transformers.models.auto import modeling_auto

    config: Any = AutoConfig.for_model(model_type)
    ties, config.tie_word_embeddings = bool(getattr(config, "tie_word_embeddings", True)), True
    found: Any = MODEL_MAPPING[type(config)]
    bare = found[0] if isinstance(found, tuple) else found
    prefix = f"{bare.base_model_prefix}." if bare.base_model_prefix else ""
    heads = (modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING,
             modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING)
    embedding, output, rows = "", "", list[str]()
    tied: dict[str, str] = {}
    for model_class in (bare, *[mapping[type(config)] for mapping in heads if type(config) in mapping][:1]):
        with torch.device("meta"):
            model: Any = model_class(config)
        model.tie_weights()
        try:
            matrix = model.get_input_embeddings().weight
        except (NotImplementedError, AttributeError):  # a model that reads no tokens
            return Family(prefix, embedding="", ties=ties)
        last = model.get_output_embeddings()
        same: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            same.setdefault(id(parameter), []).append(name.removeprefix(prefix))
        embedding = embedding or same[id(matrix)][0]
        weight = same.get(id(last.weight), []) if last is not None else []
        output = weight[-1] if embedding in weight and len(weight) > 1 else ""
        rows = [name for part in (last.parameters() if last is not None else ()) for name in same[id(part)]
                if name not in same[id(matrix)] or name == output]
        tied |= {name: names[0] for names in same.values() for name in names[1:] if name != output}
    return Family(prefix, embedding, tuple(name for name in rows if name not in tied), tied, output, ties)


def ties_embeddings(config: Mapping[str, Any]) -> bool:
    """Returns whether the output matrix is the token embedding, by the configuration or the family's default."""
    return bool(config.get("tie_word_embeddings", family_of(str(config["model_type"])).ties))


def own_output(config: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Returns whether the files hold an output matrix that is the model's own though the configuration ties it.

    transformers 5 writes ``tie_word_embeddings: true`` into every mT5 and T5 configuration. mT5 and T5 1.1, which it
    then marks by ``scale_decoder_outputs: false``, have an output matrix of their own wherever their files hold one,
    and so transformers 5 loads them; 4.x would tie it. Elsewhere the configuration is believed.

    Args:
        config: The checkpoint's ``config.json``.
        names: Every tensor name in the files.
    """
    family = family_of(str(config["model_type"]))
    untied = family.own_output or config.get("scale_decoder_outputs") is False
    return untied and any(canonical(name, family, tied=False) == family.output for name in names)


def published_ranker(source: str) -> PublishedRanker | None:
    """Returns the facts of a published T5 ranker by its hub id, with or without a revision; None where not known."""
    hub_id = source.split("@")[0]
    return next((ranker for pattern, ranker in PUBLISHED_RANKERS.items() if fnmatchcase(hub_id, pattern)), None)


def types_scored_by(scorer: str) -> list[str]:
    """Returns the declared model types whose plain folders are scored by a scorer."""
    return [model_type for model_type, family in FAMILIES.items() if family.scorer == scorer]


#: What wrappers of a model put before its names.
_WRAPPERS = re.compile(r"^(?:module\.|0\.auto_model\.|auto_model\.|0\.model\.)+")
#: Endings of names in old files -> those of today.
_LEGACY = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))


def canonical(name: str, family: Family, tied: bool) -> str:
    """Returns the bare backbone's name for a name as a file has it.

    Args:
        name: Such as ``bert.encoder.layer.0.output.LayerNorm.gamma``.
        family: The facts of its model type.
        tied: Whether the output matrix is the token embedding.
    """
    name = _WRAPPERS.sub("", name)
    if family.prefix:
        name = name.removeprefix(family.prefix)
    for old, new in _LEGACY:
        if name.endswith(old) or name == old[1:]:
            name = name.removesuffix(old[1:]) + new[1:]
    if tied and name == family.output:
        return family.embedding
    return family.tied.get(name, name)


def is_head(name: str) -> bool:
    """Returns whether a canonical name belongs to a head rather than to the bare backbone."""
    return name.split(".")[0] in HEADS


#: Side and number of the layer in a canonical name; only an encoder-decoder has sides.
_LAYER = re.compile(r"^(?:(encoder|decoder)\.)?(?:transformer\.)?(?:layers?|block|h)\.(\d+)\.")


def layer_of(name: str) -> tuple[str, int | None]:
    """Returns the side and the number of the layer that a canonical name belongs to: ``(side, number)``.

    The side is ``"encoder"`` or ``"decoder"`` in an encoder-decoder (and ``"encoder"`` in BERT's own naming), ``""``
    in a plain stack. Outside the layers the number is None and the side is ``"embeddings"``, ``"head"`` or ``"other"``.
    """
    match = _LAYER.match(name)
    if match:
        return match[1] or "", int(match[2])
    if name.startswith(("embeddings.", "shared.", "embed_tokens.", "wte.", "wpe.")):
        return "embeddings", None
    return ("head" if is_head(name) else "other"), None
