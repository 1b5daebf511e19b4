"""The plan accounts for every parameter of Θ_T once, says why one is kept, and lists what is not used."""

from collections import Counter

import pytest

from pyterrier_taskarith.arithmetic import Merge, TaskVector, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple, t5_triple
from tests.arithmetic.folders import changed, copy_of
from tests.arithmetic.reference import Case
from tests.checkpoints.by_hand import STRAY, raw


def plan_of(case):
    return make_plan(Checkpoint(case.triple.ranker), {"v": TaskVector(case.triple.domain, case.triple.base)})


def test_every_parameter_and_buffer_of_the_ranker_stands_in_it_exactly_once(case):
    plan = plan_of(case)
    stored = raw(case.triple.ranker)
    others = [name for name in stored if name.endswith("position_ids") or name == STRAY]
    assert Counter(entry.name for entry in plan.entries) == Counter([*case.ranker, *others])
    shapes = {**{name: tensor.shape for name, tensor in case.ranker.items()},
              **{name: stored[name].shape for name in others}}
    assert all(entry.shape == tuple(shapes[entry.name]) for entry in plan.entries)


def test_merged_is_what_the_vector_has_and_kept_is_the_rest_with_its_reason(case):
    plan = plan_of(case)
    assert plan.merged == set(case.ranker) & set(case.tau)
    reasons = {entry.name: entry.why for entry in plan.entries}
    for entry in plan.entries:
        assert entry.merged == (entry.name in plan.merged) == (reasons[entry.name] == "merged")
    for name, why in reasons.items():
        if name.endswith("position_ids"):
            assert why == "no parameter"
        elif name == STRAY:
            assert why == "ignored by the model"
        elif name not in plan.merged:
            assert why == "absent from the task vector"
    assert plan.unused == tuple(name for name in plan.vectors["v"].terms[0].difference.shapes
                                if name not in case.ranker)
    assert set(plan.unused) == set(case.tau) - set(case.ranker)


def test_the_rankers_pooler_is_kept_and_the_vectors_head_is_unused(bert):
    plan = plan_of(bert)
    frame = plan.to_frame().set_index("name")
    assert list(frame.columns) == ["shape", "merged", "why"]
    assert (frame.loc[["pooler.dense.weight", "pooler.dense.bias"], "why"] == "absent from the task vector").all()
    assert set(plan.unused) == {"cls.predictions.bias", "cls.predictions.transform.dense.weight",
                                "cls.predictions.transform.dense.bias", "cls.predictions.transform.LayerNorm.weight",
                                "cls.predictions.transform.LayerNorm.bias"}


def test_a_pooler_that_all_three_have_is_merged(tmp_path):
    case = Case(bert_triple(tmp_path, pooler_in=("base", "domain", "ranker")), "bert.")
    assert {"pooler.dense.weight", "pooler.dense.bias"} <= plan_of(case).merged


def test_a_pooler_that_only_the_domain_has_is_kept(tmp_path):
    case = Case(bert_triple(tmp_path, pooler_in=("domain", "ranker")), "bert.")
    why = plan_of(case).to_frame().set_index("name")["why"]
    assert why["pooler.dense.weight"] == "absent from the task vector"


def test_an_untied_output_matrix_is_merged_and_a_tied_one_is_the_embedding(tmp_path):
    assert "lm_head.weight" in plan_of(Case(t5_triple(tmp_path / "mt5", kind="mt5"), tied_output=False)).merged
    tied = plan_of(Case(t5_triple(tmp_path / "t5", duplicated=True)))
    names = [entry.name for entry in tied.entries]
    assert "lm_head.weight" not in names and "encoder.embed_tokens.weight" not in names and "shared.weight" in names


def test_a_parameter_that_is_no_float_is_kept(tmp_path, bert):
    triple = copy_of(bert.triple, tmp_path)
    changed(triple.ranker, "pooler.dense.bias", lambda tensor: (tensor * 100).int())
    merge = Checkpoint(triple.ranker) + TaskVector(triple.domain, triple.base)
    assert merge.plan.to_frame().set_index("name")["why"]["pooler.dense.bias"] == "not floating-point"
    assert (merge.tensor("pooler.dense.bias") == raw(triple.ranker)["pooler.dense.bias"]).all()


def test_parameters_outside_the_layers_are_excluded(bert):
    plan = (Checkpoint(bert.triple.ranker) + TaskVector(bert.triple.domain, bert.triple.base).layers("1")).plan
    assert plan.merged == {name for name in bert.ranker if name.startswith("encoder.layer.1.")}
    kept = {entry.why for entry in plan.entries if not entry.merged}
    assert kept == {"excluded: outside the layers asked for", "no parameter"}


def test_it_prints_as_a_list_to_read(bert):
    plan = plan_of(bert)
    lines = str(plan).splitlines()
    assert len(lines) == len(plan.entries) + len(plan.unused) + 1
    assert sum(line.endswith(" merged") for line in lines[:-1]) == len(plan.merged)
    assert any("pooler.dense.weight" in line and "32×32" in line and "kept: absent from the task vector" in line
               for line in lines)
    assert any(line.startswith("cls.predictions.bias ") and line.endswith("unused: absent from Θ_T") for line in lines)
    assert lines[-1] == plan.summary() == (
        f"{len(plan.merged)} of {len(plan.entries)} parameters merged; 2 kept (absent from the task vector); "
        "1 kept (no parameter); 5 of the task vector unused (absent from Θ_T)")


def test_it_is_made_without_reading_weights(bert, monkeypatch):
    def reading(*_):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(Checkpoint, "tensor", reading)
    assert plan_of(bert).merged


@pytest.mark.parametrize("alphas", [(1.0, 1.0), (0.0, 0.5)])
def test_several_vectors_make_one_plan(bert, toxic, alphas):
    vectors = {"bio": TaskVector(bert.triple.domain, bert.triple.base),
               "toxic": TaskVector(toxic.triple.domain, toxic.triple.base)}
    plan = Merge(Checkpoint(bert.triple.ranker), vectors, dict(zip(vectors, alphas, strict=True))).plan
    assert plan.merged == plan_of(bert).merged
    assert [name for name, _ in plan.terms("embeddings.LayerNorm.bias")] == ["bio", "toxic"]
    assert plan.terms("pooler.dense.bias") == []
