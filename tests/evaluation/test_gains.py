"""nDCG with gains of its own is what it is on labels that were changed by hand, whatever is computed beside it."""

import itertools

import pytest
from ir_measures import AP, nDCG

from pyterrier_taskarith.evaluation import compare
from pyterrier_taskarith.evaluation._evaluate import parse_measures

GAINS = {0: 0, 1: 1, 2: 9}


def mean(runs, qrels, measures):
    return compare({name: runs[name] for name in ("BM25", "Θ_T")}, qrels, measures).means


MEASURES = [nDCG @ 10, nDCG @ 5, nDCG(gains=GAINS) @ 10, AP(rel=2)]


@pytest.mark.parametrize("order", list(itertools.permutations(MEASURES)))
def test_measures_beside_one_with_gains_keep_their_own(runs, qrels, order):
    together = mean(runs, qrels, order)
    changed = mean(runs, qrels.assign(label=qrels["label"].map(GAINS)), nDCG @ 10)
    assert together["nDCG(gains={2:9})@10"].tolist() == pytest.approx(changed["nDCG@10"].tolist(), abs=1e-12)
    for measure in (nDCG @ 10, nDCG @ 5, AP(rel=2)):
        alone = mean(runs, qrels, measure)[str(measure)]
        assert together[str(measure)].tolist() == pytest.approx(alone.tolist(), abs=1e-12)
    assert not together["nDCG@10"].equals(together["nDCG(gains={2:9})@10"])


@pytest.mark.parametrize("given", ["nDCG(gains={0:0,1:1})@10", nDCG(gains={0: 0, 1: 1}) @ 10, nDCG(gains={}) @ 10])
def test_gains_that_change_no_label_are_plain_ndcg(runs, qrels, given):
    """ir_measures leaves them out where it writes the measure, and reads what it writes."""
    (label,) = parse_measures(given).values()
    assert label == (given if isinstance(given, str) else "nDCG(gains={})@10")
    plain = mean(runs, qrels, [given, nDCG @ 10])
    assert plain[label].tolist() == pytest.approx(plain["nDCG@10"].tolist(), abs=1e-12)
