"""Where weights come from: hub ids, folders and files as lazy tensors under canonical names."""

from pyterrier_taskarith.checkpoints._checkpoint import Checkpoint
from pyterrier_taskarith.checkpoints._errors import CheckpointError
from pyterrier_taskarith.checkpoints._header import Place
from pyterrier_taskarith.checkpoints._names import canonical, is_head, ties_embeddings
from pyterrier_taskarith.checkpoints._vocabulary import RowMatch, match_rows
from pyterrier_taskarith.families import STRUCTURE, family_of, layer_of

__all__ = ["Checkpoint", "CheckpointError", "Place", "RowMatch", "STRUCTURE", "canonical", "family_of", "is_head",
           "layer_of", "match_rows", "ties_embeddings"]
