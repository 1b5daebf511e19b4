"""How weights score text: bi-encoders, cross-encoders, monoT5 and query likelihood, in length-sorted batches."""

from pyterrier_taskarith._score_cache import CachedScores, ScoreCache
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._bi_encoder import BiEncoder, distinct
from pyterrier_taskarith.scorers._causal import Causal
from pyterrier_taskarith.scorers._cross_encoder import CrossEncoder
from pyterrier_taskarith.scorers._detect import SCORERS, detect, make_scorer
from pyterrier_taskarith.scorers._explain import explain
from pyterrier_taskarith.scorers._loaded import LoadedModel, shared_model
from pyterrier_taskarith.scorers._module import quiet
from pyterrier_taskarith.scorers._residence import Residence
from pyterrier_taskarith.scorers._scorer import SCORE_TOLERANCE, TRUNCATIONS, Memo, Scorer, ScorerOptions, digest
from pyterrier_taskarith.scorers._seq2seq import Seq2Seq

__all__ = ["BiEncoder", "CachedScores", "Causal", "CrossEncoder", "LoadedModel", "Memo", "Residence", "SCORERS",
           "SCORE_TOLERANCE", "ScoreCache", "Scorer", "ScorerError", "ScorerOptions", "Seq2Seq", "TRUNCATIONS",
           "detect", "digest", "distinct", "explain", "make_scorer", "quiet", "shared_model"]
