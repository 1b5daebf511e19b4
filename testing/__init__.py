"""Small random model folders in the layouts of the public checkpoints, the same for the same seed."""

from testing._adapter import lora_adapter
from testing._bert import bert_triple
from testing._cross_encoder import SAVED_BY, cross_encoder_triple
from testing._folders import Triple
from testing._layouts import write_weights
from testing._llama import llama_triple
from testing._sentence_transformers import write_modules
from testing._t5 import t5_triple
from testing._text import passages, questions, sentences
from testing._tokenizers import byte_level_bpe, sentencepiece_unigram, wordpiece
from testing._weights import LazyTensor

__all__ = ["LazyTensor", "SAVED_BY", "Triple", "bert_triple", "byte_level_bpe", "cross_encoder_triple", "llama_triple",
           "lora_adapter", "passages", "questions", "sentencepiece_unigram", "sentences", "t5_triple", "wordpiece",
           "write_modules", "write_weights"]
