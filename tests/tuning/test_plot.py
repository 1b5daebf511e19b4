"""The band of the α curve, against SciPy's intervals."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyterrier_taskarith.tuning import plot_alpha

ALPHAS = [0.0, 0.5, 1.0]


@pytest.fixture
def queries():
    """Values of 30 queries at three α and two weights."""
    random = np.random.default_rng(0)
    rows = [(alpha, weight, "AP", f"q{query}", float(random.random() + alpha * (1 - alpha)))
            for alpha in ALPHAS for weight in (0.5, 1.0) for query in range(30)]
    return pd.DataFrame(rows, columns=["alpha", "weight", "measure", "qid", "value"])


def band_of(axes) -> dict[float, tuple[float, float]]:
    """α -> the ends of the band, read from its outline."""
    corners = axes.collections[0].get_paths()[0].vertices
    return {alpha: (corners[corners[:, 0] == alpha][:, 1].min(), corners[corners[:, 0] == alpha][:, 1].max())
            for alpha in ALPHAS}


def test_the_band_is_students_interval_of_each_mean(queries):
    figure = plot_alpha(queries.sample(frac=1, random_state=1), weights=(1.0, 0.5), confidence=.9)
    for axes, weight in zip(figure.axes, (1.0, 0.5), strict=True):
        groups = queries[queries["weight"] == weight].groupby("alpha")["value"]
        assert axes.lines[0].get_xdata().tolist() == ALPHAS
        assert axes.lines[0].get_ydata() == pytest.approx(groups.mean().to_numpy())
        for alpha, (low, high) in band_of(axes).items():
            expected = stats.ttest_1samp(groups.get_group(alpha), 0).confidence_interval(.9)
            assert (low, high) == pytest.approx((expected.low, expected.high))
        assert axes.get_legend().get_texts()[0].get_text() == "90 % interval of the mean, 30 queries"


def test_the_band_may_be_the_bootstraps(queries):
    student, drawn = (band_of(plot_alpha(queries, weights=(1.0,), interval=kind).axes[0])
                      for kind in ("t", "bootstrap"))
    values = queries[(queries["weight"] == 1) & (queries["alpha"] == .5)]["value"].to_numpy()
    expected = stats.bootstrap((values,), np.mean, confidence_level=.95, n_resamples=10_000,
                               rng=np.random.default_rng(42)).confidence_interval
    assert drawn[.5] == pytest.approx((expected.low, expected.high), abs=.005)
    assert drawn[.5] != pytest.approx(student[.5], abs=1e-4)


def test_means_alone_have_the_same_curve_and_no_band(queries):
    means = queries.groupby(["alpha", "weight", "measure"], as_index=False)["value"].mean()
    plain, banded = plot_alpha(means).axes, plot_alpha(queries).axes
    assert [axes.get_title() for axes in plain] == [axes.get_title() for axes in banded] == [
        "re-ranker alone", "mixed, weight 0.5"]
    for one, other in zip(plain, banded, strict=True):
        assert not one.collections and len(other.collections) == 1
        assert one.lines[0].get_ydata() == pytest.approx(other.lines[0].get_ydata())


def test_one_query_has_a_curve_but_no_band(queries):
    axes = plot_alpha(queries[queries["qid"] == "q1"], weights=(1.0,)).axes[0]
    assert len(axes.lines[0].get_xdata()) == 3 and not axes.collections


@pytest.mark.parametrize(("change", "options", "message"), [
    (lambda frame: frame, {"weights": (0.3,)}, r"no 'AP' for weights \(0.3,\); it has weights \[0.5, 1.0\]"),
    (lambda frame: frame, {"weights": ()}, "no 'AP' for weights"),
    (lambda frame: frame, {"interval": "z"}, "interval='z'.*choose interval from"),
    (lambda frame: frame, {"confidence": 95}, "confidence=95.*between 0 and 1"),
    (lambda frame: pd.concat([frame, frame[:1]]), {}, "two values of AP for alpha 0.0, weight 0.5, qid q0"),
    (lambda frame: frame.drop(columns="qid"), {}, "two values of AP for alpha 0.0, weight 0.5:"),
    (lambda frame: frame.drop(columns="alpha"), {}, "evidence lacks column 'alpha'"),
])
def test_bad_frames_and_options_are_refused(queries, change, options, message):
    with pytest.raises(ValueError, match=message):
        plot_alpha(change(queries), **options)
    assert not plt.get_fignums()


def test_without_matplotlib_the_error_names_what_to_install(queries, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "pyterrier_taskarith\['):
        plot_alpha(queries)
