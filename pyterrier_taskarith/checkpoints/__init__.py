"""Where weights come from: hub ids, folders and files as lazy tensors under canonical names."""

from pyterrier_taskarith.checkpoints._checkpoint import Checkpoint
from pyterrier_taskarith.checkpoints._config import RECORD
from pyterrier_taskarith.checkpoints._fingerprint import combined, file_sha256, known_sha256, remember_sha256
from pyterrier_taskarith.checkpoints._header import DTYPES, TensorLocation
from pyterrier_taskarith.checkpoints._names import canonical, is_head, ties_embeddings
from pyterrier_taskarith.checkpoints._readers import WEIGHT_FILES, BinFile, SafetensorsFile, WeightFile, open_weights
from pyterrier_taskarith.checkpoints._vocabulary import RowMatch, match_rows
from pyterrier_taskarith.errors import CheckpointError
from pyterrier_taskarith.families import STRUCTURE, family_of, layer_of

__all__ = ["BinFile", "Checkpoint", "CheckpointError", "DTYPES", "RECORD", "RowMatch", "STRUCTURE", "SafetensorsFile",
           "TensorLocation", "WEIGHT_FILES", "WeightFile", "canonical", "combined", "family_of", "file_sha256",
           "is_head", "known_sha256", "layer_of", "match_rows", "open_weights", "remember_sha256", "ties_embeddings"]
