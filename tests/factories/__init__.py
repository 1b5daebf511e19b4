"""Small random model folders in the layouts of the public checkpoints, the same for the same seed."""

from tests.factories._bert import bert_triple
from tests.factories._cross_encoder import cross_encoder_triple
from tests.factories._folders import Triple
from tests.factories._llama import llama_triple
from tests.factories._t5 import t5_triple
from tests.factories._text import passages, questions, sentences

__all__ = ["Triple", "bert_triple", "cross_encoder_triple", "llama_triple", "passages", "questions", "sentences",
           "t5_triple"]
