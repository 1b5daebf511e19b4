"""Where weights come from: hub ids, folders and files as lazy tensors under canonical names."""

from pyterrier_taskarith.checkpoints._checkpoint import Checkpoint
from pyterrier_taskarith.checkpoints._config import RECORD, check_layers
from pyterrier_taskarith.checkpoints._header import DTYPES, TensorLocation
from pyterrier_taskarith.checkpoints._readers import WEIGHT_FILES, BinFile, SafetensorsFile, WeightFile, open_weights
from pyterrier_taskarith.checkpoints._vocabulary import RowMatch, match_rows

__all__ = ["BinFile", "Checkpoint", "DTYPES", "RECORD", "RowMatch", "SafetensorsFile", "TensorLocation", "WEIGHT_FILES",
           "WeightFile", "check_layers", "match_rows", "open_weights"]
