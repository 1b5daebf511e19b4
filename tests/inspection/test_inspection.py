"""An inspection prints, draws and hands over what `diagnose` measured, and says in words what looks wrong."""

import numpy as np
import pandas as pd
import pytest
import torch

from pyterrier_taskarith import Checkpoint, Merge, MergeError, TaskArithReranker, TaskVector
from pyterrier_taskarith.demo import demo_models
from pyterrier_taskarith.inspection import Inspection, inspect_merge
from pyterrier_taskarith.inspection._diagnostics import diagnose
from testing import Triple, bert_triple, t5_triple
from tests.arithmetic.folders import changed, copy_of, filled, reorder_tokens, tokens_of, without
from tests.checkpoints.by_hand import rewrite

EMBEDDING = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def triple(tmp_path_factory) -> Triple:
    return bert_triple(tmp_path_factory.mktemp("bert"), position_ids=True)


@pytest.fixture(scope="module")
def further(tmp_path_factory) -> Triple:
    return bert_triple(tmp_path_factory.mktemp("further"), seed=5)


@pytest.fixture
def copied(triple, tmp_path) -> Triple:
    """A copy of `triple` that a test may change."""
    return copy_of(triple, tmp_path / "triple")


def vector_of(triple: Triple) -> TaskVector:
    return TaskVector(triple.domain, triple.base)


def inspected(triple: Triple, alpha: float = 0.5, **options) -> Inspection:
    merge = Merge(Checkpoint(triple.ranker), {"domain": vector_of(triple)}, {"domain": alpha})
    return inspect_merge(merge, verbose=False, **options)


def said(inspection: Inspection, start: str) -> str:
    """The one warning that begins so."""
    (found,) = [said for said in (*inspection.notes, *inspection.warnings) if said.startswith(start)]
    return found


# What it holds


def test_its_figures_are_those_of_diagnose(triple):
    inspection = inspected(triple, dtype="bfloat16")
    by_parameter, by_layer = diagnose(Checkpoint(triple.ranker) + vector_of(triple) * 1, dtype=torch.bfloat16)
    columns = ["weights", "tau", "theta", "ratio", "learnt", "cosine", "conflicts", "zeros"]
    merged = inspection.parameters[inspection.parameters["vector"] == "domain"].reset_index(drop=True)
    pd.testing.assert_frame_equal(merged[["parameter", "layer", *columns]],
                                  by_parameter[["parameter", "layer", *columns]])
    pd.testing.assert_frame_equal(inspection.layers[["layer", *columns]], by_layer[["layer", *columns]])


def test_every_parameter_of_the_ranker_has_its_row_and_its_reason(triple):
    inspection = inspected(triple)
    frame = inspection.parameters
    assert frame[["parameter", "shape", "why"]].to_numpy().tolist() == [
        [entry.name, entry.shape, entry.why] for entry in inspection.plan.entries]
    kept = frame[frame["vector"] == ""].set_index("parameter")
    assert set(kept.index) == {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
    assert (kept["weights"] == 0).all() and kept[["alpha", "tau", "cosine"]].isna().all(axis=None)
    assert frame["weights"].dtype == frame["overflow"].dtype == np.int64


def test_a_re_ranker_is_inspected_as_the_merge_it_scores_with(triple):
    models = {role: str(getattr(triple, role)) for role in ("ranker", "domain", "base")}
    alpha = {"default": 0.25, "embeddings": 0}
    reranker = TaskArithReranker(**models, alpha=alpha, layers="0,embeddings")
    ours = inspect_merge(reranker, dtype="float16", verbose=False)
    vector = vector_of(triple).layers("0,embeddings")
    merge = Merge(Checkpoint(triple.ranker), {"domain": vector}, {"domain": alpha})
    assert str(ours) == str(inspect_merge(merge, dtype="float16", verbose=False))
    pd.testing.assert_frame_equal(ours.parameters, inspect_merge(merge, dtype="float16", verbose=False).parameters)


def test_what_is_no_merge_is_refused(triple):
    with pytest.raises(TypeError, match="takes a merge, such as .* not a TaskVector"):
        inspect_merge(vector_of(triple))
    models = {role: str(getattr(triple, role)) for role in ("ranker", "domain", "base")}
    with pytest.raises(MergeError, match="variant='domain' is a published model"):
        inspect_merge(TaskArithReranker(**models, variant="domain"))
    with pytest.raises(MergeError, match="nothing is added to .*ranker, so there is nothing to inspect"):
        inspect_merge(Merge(Checkpoint(triple.ranker), {}, {}))
    with pytest.raises(MergeError, match="dtype='int8': choose one of float32, float16, bfloat16"):
        inspected(triple, dtype="int8")


def test_nothing_is_written(triple, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    inspected(triple)
    assert list(tmp_path.iterdir()) == []


# How it shows


def table(text: str, first: str) -> dict[str, list[str]]:
    """First word of a line -> its other words, of the lines from the one that begins with `first` to a blank one."""
    lines = iter(text.splitlines())
    header = next(line for line in lines if line.startswith(first))
    rows = {header.split()[0]: header.split()[1:]}
    for line in lines:
        if not line.strip():
            break
        rows[line.split()[0]] = line.replace(" %", "%").split()[1:]
    return rows


def test_it_prints_recipe_plan_and_a_line_for_each_layer(triple):
    inspection = inspected(triple, dtype="bfloat16")
    text = str(inspection)
    assert text.splitlines()[0] == f"Θ' = {triple.ranker} + 0.5·({triple.domain} − {triple.base})"
    assert f"{inspection.plan.summary()}." in text.splitlines()
    rows = table(text, "layer")
    assert rows["layer"] == ["weights", "‖τ‖", "‖Θ_T‖", "‖τ‖/‖Θ_T‖", "‖Θ_T−Θ_0‖", "cosine", "conflicts", "zeros",
                             "lost"]
    assert list(rows) == ["layer", *inspection.layers["layer"]]
    figures = inspection.layers.set_index("layer").loc["encoder.1"]
    assert rows["encoder.1"] == [
        f"{figures['weights']:,}", f"{figures['tau']:.4g}", f"{figures['theta']:.4g}", f"{figures['ratio']:.4f}",
        f"{figures['learnt']:.4g}", f"{figures['cosine']:+.3f}", f"{100 * figures['conflicts']:.1f}%",
        f"{100 * figures['zeros']:.1f}%", f"{100 * figures['lost']:.1f}%"]
    assert "rounding to bfloat16 takes back" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_columns_without_a_number_are_left_out_and_so_is_what_explains_them(triple, tmp_path):
    saved = TaskVector.load(vector_of(triple).save(tmp_path / "v.safetensors"))
    text = str(inspect_merge(Checkpoint(triple.ranker) + saved, verbose=False))
    assert table(text, "layer")["layer"] == ["weights", "‖τ‖", "‖Θ_T‖", "‖τ‖/‖Θ_T‖", "zeros"]
    assert "cosine" not in text and "conflicts" not in text and "lost" not in text


def test_by_parameter_every_parameter_has_a_line(triple):
    inspection = inspected(triple)
    rows = table(inspection.to_text(parameters=True), "parameter")
    assert list(rows)[1:] == [entry.name for entry in inspection.plan.entries]
    assert " ".join(rows["pooler.dense.weight"]) == "absent from the task vector 0"
    assert "parameter " not in inspection.to_text()


def test_several_vectors_have_a_table_each_with_the_others_beside(triple, further):
    merge = Merge(Checkpoint(triple.ranker), {"bio": vector_of(triple), "toxic": vector_of(further)},
                  {"bio": {"default": 0.5, "embeddings": 0}, "toxic": -0.25})
    text = str(inspect_merge(merge, verbose=False))
    first, second = (text[text.index(f"\n{name}: τ = "):] for name in ("bio", "toxic"))
    assert first.splitlines()[1].endswith("α = {default: 0.5, embeddings: 0.0}")
    assert second.splitlines()[1] == f"toxic: τ = ({further.domain} − {further.base}), α = -0.25"
    assert table(first, "layer")["layer"][:2] == ["α", "weights"]
    assert table(first, "layer")["embeddings"][0] == "0" and table(first, "layer")["encoder.0"][0] == "0.5"
    assert "conflicts toxic" in first.splitlines()[2] and "conflicts bio" in second.splitlines()[2]
    assert " α " not in second.splitlines()[2]


def test_a_notebook_gets_the_same_figures_escaped(triple, tmp_path):
    ranker = tmp_path / "a<b>"
    copy = copy_of(triple, ranker)
    inspection = inspected(copy)
    shown = inspection._repr_html_()
    assert "a&lt;b&gt;" in shown and "a<b>" not in shown
    for figure in table(str(inspection), "layer")["encoder.0"][:5]:
        assert f">{figure}</td>" in shown


def test_the_plot_shows_the_frame(triple, further, tmp_path):
    pytest.importorskip("matplotlib")
    merge = Merge(Checkpoint(triple.ranker), {"a": vector_of(triple), "b": vector_of(further)}, {"a": 1, "b": 1})
    inspection = inspect_merge(merge, verbose=False)
    figure = inspection.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    sizes, cosines, conflicts = figure.axes
    rows = inspection.layers[inspection.layers["layer"] != "all"]
    assert [patch.get_height() for patch in sizes.patches] == [*rows.loc[rows["vector"] == "a", "ratio"],
                                                               *rows.loc[rows["vector"] == "b", "ratio"]]
    assert [text.get_text() for text in conflicts.get_xticklabels()] == ["embeddings", "encoder.0", "encoder.1"]
    lines = {line.get_label(): list(line.get_ydata()) for line in cosines.lines}
    assert lines["a and b"] == list(rows.loc[rows["vector"] == "a", "cosine.b"])
    assert lines["b and Θ_T − Θ_0"] == list(rows.loc[rows["vector"] == "b", "cosine"])


def test_a_plot_without_cosines_has_one_panel(triple, tmp_path):
    pytest.importorskip("matplotlib")
    saved = TaskVector.load(vector_of(triple).save(tmp_path / "v.safetensors"))
    assert len(inspect_merge(Checkpoint(triple.ranker) + saved, verbose=False).plot().axes) == 1


# What looks wrong


def test_an_ordinary_triple_gets_no_more_than_the_plans_remarks(triple):
    assert not inspected(triple).warnings
    assert [note.split(":")[0] for note in inspected(triple).notes] == [
        "kept as in Θ_T, absent from the task vector", "not used, as Θ_T has no such parameter"]
    assert {"pooler.dense.weight", "pooler.dense.bias"} == set(
        said(inspected(triple), "kept").removesuffix(".").split(": ")[1].split(", "))


def test_a_layer_without_change_is_named(copied, triple):
    names = [name for name in Checkpoint(triple.base).shapes if name.startswith("encoder.layer.1.")]
    for name in names:
        for folder in (copied.domain, copied.base):
            changed(folder, f"bert.{name}", lambda tensor: torch.ones_like(tensor))
    assert said(inspected(copied), "τ is zero") == ("τ is zero in encoder.1: Θ_D left them as they are in Θ_0.")


def test_a_domain_equal_to_its_base_is_said_to_do_nothing(copied):
    for path in copied.base.glob("*.safetensors"):
        (copied.domain / path.name).write_bytes(path.read_bytes())
    assert said(inspected(copied), "τ is zero everywhere").endswith("α does nothing.")


def test_the_base_of_neither_is_noticed(copied):
    """A Θ_0 far away leaves τ and Θ_T − Θ_0 long, and both mostly minus that Θ_0."""
    for name in Checkpoint(copied.base).shapes:
        changed(copied.base, f"{name}" if name.startswith("cls.") else f"bert.{name}",
                lambda tensor: torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())) * 3)
    inspection = inspected(copied)
    assert "domain training changes less. Is Θ_0 the model that Θ_D was made from?" in said(inspection, "τ is longer")
    assert "is Θ_0 the base of neither?" in said(inspection, "Θ_T lies nearer to Θ_D than to Θ_0 (τ has cosine +0.9")


@pytest.mark.parametrize("models", ["demo", "factory"])
def test_a_swapped_domain_and_base_are_noticed(models, triple):
    if models == "demo":
        triple = Triple(**demo_models())
    assert not [warning for warning in inspected(triple).warnings if "swapped" in warning]
    swapped = Triple(triple.ranker, domain=triple.base, base=triple.domain)
    assert "are Θ_D and Θ_0 swapped" in said(inspected(swapped), "Θ_T lies nearer to Θ_D than to Θ_0")


def test_a_ranker_on_the_way_to_the_domain_is_noticed(copied):
    base, domain = Checkpoint(copied.base), Checkpoint(copied.domain)
    for name in base.shapes:
        if not name.startswith("cls."):
            part = torch.lerp(base.tensor(name), domain.tensor(name), 0.3)
            changed(copied.ranker, name, lambda tensor, part=part: part)
    assert said(inspected(copied), "τ points where Θ_T − Θ_0 does (cosine +1.000)")


def test_a_domain_that_undoes_the_ranker_is_noticed(triple):
    back = -1 * TaskVector(triple.ranker, triple.base)
    assert said(inspect_merge(Checkpoint(triple.ranker) + back, verbose=False), "τ undoes what Θ_T learnt").endswith(
        "(cosine -1.000 with Θ_T − Θ_0).")


def test_interpolation_towards_the_domain_is_not_taken_for_a_wrong_base(copied):
    filled(copied.domain, EMBEDDING, 30.0, 2000)
    inspection = inspect_merge(Checkpoint(copied.ranker) + TaskVector(copied.domain, copied.ranker), verbose=False)
    assert inspection.layers["ratio"].max() > 0.5
    assert not [warning for warning in inspection.warnings if "longer" in warning]


@pytest.mark.parametrize("sign, effect", [(1, "add up"), (-1, "cancel")])
def test_vectors_of_one_direction_are_noticed(triple, sign, effect):
    merge = Merge(Checkpoint(triple.ranker), {"a": vector_of(triple), "b": sign * 0.5 * vector_of(triple)},
                  {"a": 1, "b": 1})
    warning = said(inspect_merge(merge, verbose=False), "'a' and 'b' are nearly one direction")
    assert warning.endswith(f"(cosine {sign:+.3f}): their α {effect}.")


def test_rows_without_a_partner_are_counted(copied):
    reorder_tokens(copied.ranker, [*tokens_of(copied.ranker), "<new>", "<newer>"])
    count = len(tokens_of(copied.ranker))
    assert said(inspected(copied), EMBEDDING) == (
        f"{EMBEDDING}: 2 of {count} rows are kept as in Θ_T, as their tokens have no row in τ.")


@pytest.mark.parametrize("role, symbol", [("ranker", "Θ_T"), ("domain", "Θ_D"), ("base", "Θ_0")])
def test_a_model_without_tokenizer_is_named(copied, role, symbol):
    folder = getattr(copied, role)
    for name in ("vocab.txt", "tokenizer.json"):
        (folder / name).unlink(missing_ok=True)
    assert said(inspected(copied), "no tokenizer").startswith(f"no tokenizer in {symbol} {str(folder)!r}: ")


def test_heavy_rounding_is_said_and_light_is_not(triple):
    warning = said(inspected(triple, 0.001, dtype="bfloat16"), "rounding to bfloat16")
    lost = inspected(triple, 0.001, dtype="bfloat16").layers["lost"].iloc[-1]
    assert f"takes back {lost:.0%} of the changed weights" in warning and lost > 0.1
    assert not [warning for warning in inspected(triple, 1.0, dtype="bfloat16").warnings if "rounding" in warning]


def test_weights_that_float16_cannot_hold_are_said(copied):
    filled(copied.ranker, "encoder.layer.0.output.dense.weight", 1e5, 4)
    assert said(inspected(copied, dtype="float16"), "4 weights in encoder.0 are too large for float16")


def test_a_head_that_the_domain_lacks_is_kept_and_said(tmp_path):
    triple = t5_triple(tmp_path, kind="mt5")
    without(triple.domain, "lm_head.weight")
    assert said(inspected(triple), "kept") == "kept as in Θ_T, absent from the task vector: lm_head.weight."


def test_a_long_list_is_cut(copied):
    for folder in (copied.domain, copied.base):
        more = {f"classifier.{number}.weight": torch.rand(2) for number in range(7)}
        rewrite(folder, lambda tensors, more=more: {**tensors, **more})
    warning = said(inspected(copied), "not used")
    assert warning.count(", ") == 4 + 1 and warning.endswith(" and 7 more.")
