"""Per-query bars and the α × weight heat map: what is drawn, what is written, what is refused."""

import importlib.metadata
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pyterrier_taskarith.evaluation import compare, plot_grid
from pyterrier_taskarith.evaluation.plots import EXTRA

matplotlib.use("Agg")
ALPHAS, WEIGHTS = [0.0, 0.25, 1.0], [0.0, 0.1, 0.5, 1.0]


@pytest.fixture
def comparison(runs, qrels, baselines):
    return compare(runs, qrels, ["ndcg_cut_10", "map"], baselines=baselines)


@pytest.fixture
def evidence():
    random = np.random.default_rng(0)
    rows = [(alpha, weight, measure, float(random.random())) for alpha in ALPHAS for weight in WEIGHTS
            for measure in ("nDCG@10", "AP")]
    return pd.DataFrame(rows, columns=["alpha", "weight", "measure", "value"])


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_bars_are_the_sorted_differences_with_their_mean_and_interval(comparison):
    axes = comparison.plot_differences("Θ' (α=1)", "map").axes[0]
    test = comparison.tests.set_index(["system", "measure"]).loc["Θ' (α=1)", "map"]
    expected = comparison.queries("Θ' (α=1)", "map")["difference"].to_numpy()
    gains, losses, band = axes.patches
    drawn = gains.get_data().values + losses.get_data().values
    assert drawn == pytest.approx(expected, abs=0)
    assert (gains.get_data().values >= 0).all() and (losses.get_data().values <= 0).all()
    assert axes.lines[1].get_ydata() == pytest.approx([test.difference] * 2)
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((test.ci_low, test.ci_high))
    assert legend(axes)[:2] == [f"{test.wins} better", f"{test.losses} worse"]
    assert legend(axes)[3] == "its 99.5 % interval"
    assert axes.get_title() == (f"Θ' (α=1) against {test.baseline}: {test.difference:+.3f}".replace("0.", ".")
                                + f" map, wins/ties/losses {test.wins}/{test.ties}/{test.losses}")
    assert axes.get_xlabel() == f"queries, by difference ({test.ties} of 60 tie)"
    assert axes.get_ylabel() == "difference in map"


def test_a_pair_that_was_not_tested_has_no_interval(comparison):
    axes = comparison.plot_differences("Θ_T", baseline="BM25", title="mine").axes[0]
    assert len(axes.patches) == 2 and len(legend(axes)) == 3
    assert axes.get_title() == "mine"


def test_cells_are_the_means_and_the_best_has_a_frame(evidence):
    axes = plot_grid(evidence, measure="AP").axes[0]
    rows = evidence[evidence["measure"] == "AP"].set_index(["weight", "alpha"])["value"]
    values = axes.images[0].get_array()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.25", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "0.1", "0.5", "1"]
    for place, weight in enumerate(WEIGHTS):
        assert values[place].tolist() == [rows[weight, alpha] for alpha in ALPHAS]
    weight, alpha = rows.idxmax()
    frame, = axes.patches
    assert (frame.get_x() + .5, frame.get_y() + .5) == (ALPHAS.index(alpha), WEIGHTS.index(weight))
    assert axes.get_title() == f"best: α = {alpha:g}, weight = {weight:g}: AP {rows.max():.4f}"
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[ALPHAS.index(.25), 2] == f"{rows[.5, .25]:.3f}".removeprefix("0")
    assert len(written) == 12


def test_values_by_query_are_averaged_and_the_order_of_rows_does_not_matter(evidence):
    queries = pd.concat([evidence.assign(qid="a", value=evidence["value"] + .125),
                         evidence.assign(qid="b", value=evidence["value"] - .125)]).sample(frac=1, random_state=1)
    drawn = [plot_grid(frame, measure="AP").axes[0].images[0].get_array() for frame in (evidence, queries)]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-12)


def test_equal_cells_are_all_framed_cells_not_swept_are_blank_and_the_choice_has_a_star(evidence):
    flat = evidence[evidence["measure"] == "AP"].assign(value=.5).iloc[1:]  # without α = 0 at weight 0
    axes = plot_grid(flat, chosen=(1.0, .5), title="mine").axes[0]
    assert len(axes.patches) == 11 == len(axes.texts)
    assert np.ma.masked_invalid(axes.images[0].get_array()).mask.sum() == 1
    assert axes.lines[0].get_xdata()[0] == 2 and round(axes.lines[0].get_ydata()[0]) == 2
    assert axes.get_title() == "mine"
    assert plot_grid(flat, chosen=(1.0, .5)).axes[0].get_title().endswith("★ chosen: α = 1, weight = 0.5")
    assert " and 10 more: AP 0.5000" in plot_grid(flat).axes[0].get_title()


def test_a_grid_too_fine_for_numbers_has_none():
    fine = pd.DataFrame([(alpha / 20, weight, "AP", alpha * weight) for alpha in range(21) for weight in (0.0, 1.0)],
                        columns=["alpha", "weight", "measure", "value"])
    assert not plot_grid(fine).axes[0].texts


@pytest.mark.parametrize("draw", [
    lambda comparison, evidence, path: comparison.plot_differences(path=path),
    lambda comparison, evidence, path: plot_grid(evidence, path=path)])
def test_pictures_are_written_whole_and_a_notebook_shows_them_once(comparison, evidence, tmp_path, draw):
    figure = draw(comparison, evidence, tmp_path / "new" / "plot.png")
    draw(comparison, evidence, tmp_path / "new" / "plot.svg")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"plot.png", "plot.svg"}
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "plot.svg").read_bytes().startswith(b"<?xml")
    assert isinstance(figure, matplotlib.figure.Figure) and not plt.get_fignums()
    with pytest.raises(ValueError, match="Format 'doc' is not supported"):
        draw(comparison, evidence, tmp_path / "plot.doc")
    assert [path.name for path in tmp_path.iterdir()] == ["new"] and not plt.get_fignums()


@pytest.mark.parametrize("draw", [lambda comparison, evidence: comparison.plot_differences(),
                                  lambda comparison, evidence: plot_grid(evidence)])
def test_without_matplotlib_the_error_names_what_to_install(comparison, evidence, monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=rf'needs matplotlib.*pip install "pyterrier_taskarith\[{EXTRA}\]"'):
        draw(comparison, evidence)


def test_the_extra_that_is_named_brings_matplotlib():
    wanted = importlib.metadata.requires("pyterrier_taskarith")
    assert any(line.startswith("matplotlib") and f'extra == "{EXTRA}"' in line for line in wanted)


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda frame: frame.drop(columns="weight"), ValueError, r"evidence lacks column 'weight': it has \['alpha', "),
    (lambda frame: frame[:0], ValueError, "evidence has no rows"),
    (lambda frame: frame.assign(measure="P@5"), ValueError, r"the sweep has no 'AP'; it has \['P@5'\]"),
    (lambda frame: pd.concat([frame, frame]), ValueError, "two values of AP for alpha 0.0, weight 0.0: if it is of"),
    (lambda frame: frame.assign(alpha="bio"), ValueError, "column 'alpha' that are not numbers, such as 'bio'"),
    (lambda frame: frame.assign(value=np.nan), ValueError, "column 'value' that are not numbers, such as nan"),
    (lambda frame: frame.to_dict(), TypeError, "evidence is a dict: give the DataFrame that sweep returns"),
])
def test_frames_that_are_no_sweep_are_refused(evidence, change, error, message):
    with pytest.raises(error, match=message):
        plot_grid(change(evidence), measure="AP")
    assert not plt.get_fignums()


def test_a_choice_that_was_not_swept_is_refused(evidence):
    with pytest.raises(ValueError, match=r"chosen=\(0.3, 0.5\) was not swept: α is one of \[0.0, 0.25, 1.0\]"):
        plot_grid(evidence, chosen=(.3, .5))
    assert not plt.get_fignums()


def test_a_comparison_refuses_names_it_does_not_have(comparison):
    with pytest.raises(ValueError, match="no system 'Θ_X'"):
        comparison.plot_differences("Θ_X")
