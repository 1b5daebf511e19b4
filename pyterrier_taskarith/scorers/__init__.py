"""How weights score text: bi-encoders and monoT5-like models, in length-sorted batches."""

from pyterrier_taskarith.scorers._bi_encoder import BiEncoder
from pyterrier_taskarith.scorers._detect import SCORERS, detect, make_scorer
from pyterrier_taskarith.scorers._errors import ScorerError
from pyterrier_taskarith.scorers._memo import Memo, digest
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions
from pyterrier_taskarith.scorers._seq2seq import TRUNCATIONS, Seq2Seq

__all__ = ["BiEncoder", "Memo", "SCORERS", "Scorer", "ScorerError", "ScorerOptions", "Seq2Seq", "TRUNCATIONS", "detect",
           "digest", "make_scorer"]
