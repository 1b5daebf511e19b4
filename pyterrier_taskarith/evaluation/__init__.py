"""Systems side by side: the best baseline of each measure, paired tests, corrected p values, the paper's table.

Nothing is re-scored: runs are evaluated as they are, transformers are run once.

>>> import pandas as pd
>>> from pyterrier_taskarith.evaluation import compare
>>> queries = [str(number) for number in range(8)]
>>> qrels = pd.DataFrame({"qid": queries, "docno": "d1", "label": 1})
>>> weak = pd.DataFrame({"qid": queries * 2, "docno": ["d1"] * 8 + ["d2"] * 8, "score": [1.0] * 8 + [2.0] * 8})
>>> strong = weak.assign(score=[3.0] * 7 + [1.0] + [2.0] * 8)
>>> print(compare({"BM25": weak, "Θ'": strong}, qrels, ["recip_rank"]))
      recip_rank
BM25        .500
Θ'          .938*
* significantly better than BM25: two-sided paired Student's t-test, Bonferroni over 1 comparison in each measure, \
99 % confidence, 8 queries.
"""

from pyterrier_taskarith.evaluation._compare import compare, from_experiment
from pyterrier_taskarith.evaluation._comparison import Comparison
from pyterrier_taskarith.evaluation._evaluate import make_evaluator, parse_measures
from pyterrier_taskarith.evaluation._significance import INTERVALS, MEAN_TOLERANCE, highest, mean_interval
from pyterrier_taskarith.evaluation.plots import plot_grid

__all__ = ["Comparison", "INTERVALS", "MEAN_TOLERANCE", "compare", "from_experiment", "highest", "make_evaluator",
           "mean_interval", "parse_measures", "plot_grid"]
