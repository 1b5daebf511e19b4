"""How weights score text: bi-encoders, cross-encoders, monoT5 and query likelihood, in length-sorted batches."""

from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._bi_encoder import BiEncoder, distinct
from pyterrier_taskarith.scorers._cache import FILE, Entry, ScoreCache
from pyterrier_taskarith.scorers._causal import Causal
from pyterrier_taskarith.scorers._cross_encoder import CrossEncoder
from pyterrier_taskarith.scorers._detect import SCORERS, detect, make_scorer
from pyterrier_taskarith.scorers._kept import Kept
from pyterrier_taskarith.scorers._loaded import LiveModel, LiveOptions, companions, shared_model
from pyterrier_taskarith.scorers._memo import Memo, digest
from pyterrier_taskarith.scorers._module import quiet
from pyterrier_taskarith.scorers._residence import Residence
from pyterrier_taskarith.scorers._scorer import SCORE_TOLERANCE, TRUNCATIONS, Scorer, ScorerOptions
from pyterrier_taskarith.scorers._seq2seq import Seq2Seq

__all__ = ["BiEncoder", "Causal", "CrossEncoder", "Entry", "FILE", "Kept", "LiveModel", "LiveOptions", "Memo",
           "Residence", "SCORERS", "SCORE_TOLERANCE", "ScoreCache", "Scorer", "ScorerError", "ScorerOptions",
           "Seq2Seq", "TRUNCATIONS", "companions", "detect", "digest", "distinct", "make_scorer", "quiet",
           "shared_model"]
