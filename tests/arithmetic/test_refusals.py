"""What cannot be merged gets an error that names the tensor, the checkpoint and the remedy."""

import shutil

import pytest
import torch

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.arithmetic import LoadedWeights, Merge, MergeError, TaskVector, WeightSetting, make_plan
from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple, t5_triple
from tests.arithmetic.folders import changed, copy_of, filled, without
from tests.arithmetic.modules import module_of
from tests.checkpoints.by_hand import rewrite, rewrite_config

NAME = "encoder.layer.1.output.dense.weight"


@pytest.fixture
def triple(bert, tmp_path):
    """A copy of `bert` to damage."""
    return copy_of(bert.triple, tmp_path / "triple")


def plan_of(triple, **options):
    vector = TaskVector(triple.domain, triple.base)
    for layers in options.values():
        vector = vector.layers(layers)
    return make_plan(Checkpoint(triple.ranker), {"v": vector})


@pytest.mark.parametrize(("lacking", "named"), [(["domain"], "Θ_D '{domain}'"), (["base"], "Θ_0 '{base}'"),
                                                (["domain", "base"], "Θ_D '{domain}' and Θ_0 '{base}'")])
def test_a_backbone_parameter_without_partner_names_it_and_who_lacks_it(triple, lacking, named):
    for role in lacking:
        without(getattr(triple, role), NAME)
    with pytest.raises(MergeError) as error:
        plan_of(triple)
    said = named.format(domain=triple.domain, base=triple.base)
    assert f"{NAME!r} is absent from {said}" in str(error.value)
    assert "covers 36 of 37 backbone parameters of Θ_T" in str(error.value)


def test_a_parameter_that_the_layers_leave_out_may_be_missing(triple):
    without(triple.base, NAME)
    assert plan_of(triple, layers="0").merged


def test_a_ranker_without_a_backbone_parameter_is_refused(triple, tmp_path):
    without(triple.ranker, NAME)
    said = (f"Θ_T {str(triple.ranker)!r} lacks 1 backbone parameter that {triple.domain} − {triple.base} has: {NAME}. "
            "Is Θ_T's download complete?")
    for part in ({}, {"layers": "0"}):
        with pytest.raises(MergeError) as error:
            plan_of(triple, **part)
        assert str(error.value) == said
    without(triple.ranker, "embeddings.LayerNorm.weight")
    merge = Checkpoint(triple.ranker) + 0.5 * TaskVector(triple.domain, triple.base)
    with pytest.raises(MergeError, match=r"lacks 2 backbone parameters .*: embeddings\.LayerNorm\.weight, encoder\."):
        merge.save(tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("name", ["final_layer_norm.weight", "block.0.layer.2.DenseReluDense.wo.weight"])
def test_a_t5_without_a_part_is_refused_but_an_encoder_alone_is_a_model(tmp_path, name):
    triple = t5_triple(tmp_path)
    rewrite(triple.ranker, lambda tensors: {known: t for known, t in tensors.items() if known != f"decoder.{name}"})
    with pytest.raises(MergeError, match=f"lacks 1 backbone parameter .*: decoder.{name}"):
        plan_of(triple)
    rewrite(triple.ranker, lambda tensors: {known: t for known, t in tensors.items() if not known.startswith("dec")})
    with pytest.raises(MergeError, match=r"lacks \d+ backbone parameters"):
        plan_of(triple)
    rewrite_config(triple.ranker, architectures=["T5EncoderModel"])
    assert any(unused.startswith("decoder.block.0.") for unused in plan_of(triple).unused)


def test_what_only_the_vector_has_is_no_backbone_where_the_family_is_not_declared(tmp_path):
    triple = bert_triple(tmp_path)
    for folder in (triple.ranker, triple.domain, triple.base):
        rewrite_config(folder, model_type="albert")
    for folder in (triple.domain, triple.base):
        rewrite(folder, lambda tensors: {"predictions.dense.weight": torch.ones(2, 2), **{
            name.replace("bert.", "albert."): tensor for name, tensor in tensors.items()}})
    assert "predictions.dense.weight" in plan_of(triple).unused
    without(triple.ranker, NAME)
    with pytest.raises(MergeError, match="lacks 1 backbone parameter"):
        plan_of(triple)


def test_models_with_nothing_in_common_say_so(triple):
    for role in ("domain", "base"):
        rewrite(getattr(triple, role), lambda tensors: {f"other.{name}": t for name, t in tensors.items()})
    with pytest.raises(MergeError, match=r"have no parameter in common\. Are they of the same architecture"):
        plan_of(triple)


def test_without_a_vector_everything_is_kept_and_says_so(bert):
    plan = make_plan(Checkpoint(bert.triple.ranker), {})
    assert not plan.merged and {entry.why for entry in plan.entries} <= {"no task vector", "no parameter"}
    assert "kept (no task vector)" in plan.summary()


def test_layers_that_select_nothing_say_so(bert):
    with pytest.raises(MergeError, match="layers='2-9' selects no parameter of Θ_T .*, whose layers are 0-1"):
        plan_of(bert.triple, layers="2-9")


@pytest.mark.parametrize("role", ["domain", "base"])
def test_domain_and_base_of_other_shapes_are_named_with_both_shapes(triple, role):
    changed(getattr(triple, role), NAME, lambda tensor: tensor[:, :-1])
    shapes = "[32, 127] and [32, 128]" if role == "domain" else "[32, 128] and [32, 127]"
    with pytest.raises(MergeError) as error:
        plan_of(triple)
    assert f"Θ_D '{triple.domain}' and Θ_0 '{triple.base}' differ in shape: {NAME} {shapes}" in str(error.value)


def test_a_ranker_of_another_shape_is_named_with_both_shapes(triple):
    changed(triple.ranker, NAME, lambda tensor: tensor[:, :-1])
    with pytest.raises(MergeError, match=rf"'{NAME}' has shape \[32, 127\] in Θ_T and \[32, 128\] in .*domain −"):
        plan_of(triple)


def test_shapes_that_all_differ_are_not_called_nothing_in_common(triple):
    rewrite(triple.ranker, lambda tensors: {name: t[..., :-1] for name, t in tensors.items()})
    with pytest.raises(MergeError, match="has shape"):
        plan_of(triple, layers="encoder.0")


@pytest.mark.parametrize(("key", "value"), [("hidden_size", 64), ("num_hidden_layers", 3), ("num_attention_heads", 4),
                                            ("intermediate_size", 64), ("tie_word_embeddings", False),
                                            ("model_type", "roberta")])
@pytest.mark.parametrize("role", ["ranker", "domain", "base"])
def test_another_architecture_is_named_by_what_differs(triple, role, key, value):
    rewrite_config(getattr(triple, role), **{key: value})
    with pytest.raises(MergeError, match=rf"Θ_T .* and Θ_[D0] .* are different architectures: .*{key}.*{value}|"
                                         rf"different architectures: {key} {value!r} and "):
        plan_of(triple)


def test_what_a_config_does_not_state_is_what_its_class_has(triple):
    rewrite_config(triple.ranker, hidden_act=None, position_embedding_type=None)
    assert plan_of(triple).merged
    rewrite_config(triple.ranker, num_attention_heads=None)
    with pytest.raises(MergeError, match="different architectures: num_attention_heads 12 and 2"):
        plan_of(triple)


@pytest.mark.parametrize("other", [
    lambda folder: bert_triple(folder, layers=3), lambda folder: bert_triple(folder, hidden=64),
    lambda folder: bert_triple(folder, family="roberta"), t5_triple], ids=["layers", "hidden", "roberta", "t5"])
def test_a_vector_of_another_model_is_refused(bert, tmp_path, other):
    made = other(tmp_path / "other")
    with pytest.raises(MergeError, match="are different architectures"):
        make_plan(Checkpoint(bert.triple.ranker), {"v": TaskVector(made.domain, made.base)})
    path = TaskVector(made.domain, made.base).save(tmp_path / "v.safetensors")
    with pytest.raises(MergeError, match="are different architectures"):
        make_plan(Checkpoint(bert.triple.ranker), {"v": TaskVector.load(path)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("role", "symbol"), [("ranker", "Θ_T"), ("domain", "Θ_D"), ("base", "Θ_0")])
def test_nan_and_infinity_name_the_tensor_and_the_checkpoint(triple, tmp_path, role, symbol, value):
    filled(getattr(triple, role), NAME, value, 2)
    message = rf"{symbol} '{getattr(triple, role)}': {NAME} holds 2 values that are NaN or infinite"
    with pytest.raises(MergeError, match=message):
        (Checkpoint(triple.ranker) + TaskVector(triple.domain, triple.base)).save(tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    for where in ("memory", "disk"):
        with pytest.raises(MergeError, match=message):
            LoadedWeights(module_of(triple.ranker), plan_of(triple), where).set(WeightSetting("merged", (("v", 0.5),)))
    if role != "ranker":
        weights = LoadedWeights(module_of(triple.ranker), plan_of(triple), "disk")
        weights.set(WeightSetting("ranker"))
        with pytest.raises(MergeError, match=message):
            weights.set(WeightSetting(role))


def test_infinity_in_both_is_found_though_it_is_the_same(triple):
    for role in ("domain", "base"):
        filled(getattr(triple, role), NAME, float("inf"), 128)
    with pytest.raises(MergeError, match=rf"Θ_D '{triple.domain}': {NAME} holds 128 values"):
        TaskVector(triple.domain, triple.base).terms[0].difference.tensor(NAME)


def test_a_difference_too_large_for_float32_is_found(triple):
    for role, value in (("domain", 3e38), ("base", -3e38)):
        filled(getattr(triple, role), NAME, value, 128)
    with pytest.raises(MergeError, match=rf"{triple.domain} − {triple.base}: {NAME} holds 128 values"):
        TaskVector(triple.domain, triple.base).terms[0].difference.tensor(NAME)


def test_large_finite_values_are_no_damage(triple):
    for role in ("ranker", "domain", "base"):
        filled(getattr(triple, role), NAME, 3e38, 4096)
    merge = Checkpoint(triple.ranker) + TaskVector(triple.domain, triple.base)
    assert torch.isfinite(merge.tensor(NAME)).all()


def test_nan_in_what_is_only_kept_is_found_too(triple, tmp_path):
    filled(triple.ranker, "pooler.dense.bias", float("nan"), 32)
    with pytest.raises(MergeError, match=r"pooler\.dense\.bias holds 32 values"):
        (Checkpoint(triple.ranker) + TaskVector(triple.domain, triple.base)).save(tmp_path / "merged")


def test_a_vector_of_a_checkpoint_with_itself_is_refused(tmp_path):
    triple = bert_triple(tmp_path)
    with pytest.raises(MergeError, match="Θ_D and Θ_0 are both .*base"):
        make_plan(Checkpoint(triple.ranker), {"v": TaskVector(triple.base, triple.base)})


ZERO = {
    "equal weights under two names": lambda bio, same: same,
    "changed elsewhere alone": lambda bio, same: same.layers("0"),
    "nothing is kept": lambda bio, same: bio.breadcrumbs(1e-9, outliers=0.1),
    "two that cancel": lambda bio, same: bio - bio,
    "ties of nothing": lambda bio, same: TaskVector.ties(same, 2 * same, density=0.5),
    "one of two": lambda bio, same: {"bio": bio, "none": same},
}


@pytest.mark.parametrize("kind", ZERO)
@pytest.mark.parametrize("how", ["memory", "disk", "save"])
def test_a_vector_that_is_zero_wherever_it_is_added_is_refused(bert, bio, tmp_path, kind, how):
    shutil.copytree(bert.triple.base, tmp_path / "copy")
    if kind == "changed elsewhere alone":
        changed(tmp_path / "copy", NAME, lambda tensor: tensor + 1)
    made = ZERO[kind](bio, TaskVector(tmp_path / "copy", bert.triple.base))
    vectors = made if isinstance(made, dict) else {"v": made}
    name = "'none' " if len(vectors) > 1 else ""
    with pytest.raises(MergeError, match=rf"the task vector {name}\(.*\).* is zero in all \d+ parameters"):
        if how == "save":
            Merge(Checkpoint(bert.triple.ranker), vectors, dict.fromkeys(vectors, 0.5)).save(tmp_path / "merged")
        else:
            plan = make_plan(Checkpoint(bert.triple.ranker), vectors)
            LoadedWeights(module_of(bert.triple.ranker), plan, how).set(
                WeightSetting("merged", tuple((vector, 0.5) for vector in vectors)))
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_one_number_that_differs_is_a_vector(bert, tmp_path, where):
    shutil.copytree(bert.triple.base, tmp_path / "copy")
    filled(tmp_path / "copy", NAME, 5.0, 1)
    plan = make_plan(Checkpoint(bert.triple.ranker), {"v": TaskVector(tmp_path / "copy", bert.triple.base)})
    LoadedWeights(module_of(bert.triple.ranker), plan, where).set(WeightSetting("merged", (("v", 0.5),)))


def test_a_zero_vector_is_refused_by_a_re_ranker_wherever_its_weights_are(bert, tmp_path):
    shutil.copytree(bert.triple.base, tmp_path / "copy")
    for where in ("memory", "stream"):
        reranker = TaskArithReranker(bert.triple.ranker, tmp_path / "copy", bert.triple.base, resident=where,
                                     verbose=False)
        with pytest.raises(MergeError, match="zero in all"):
            reranker.model  # noqa: B018
