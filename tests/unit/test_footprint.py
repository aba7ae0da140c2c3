"""What plan.py says of a run: bytes and traffic beside the compiled step, 175B by hand, cuts that fit."""

import dataclasses
import importlib
import json

import jax
import pytest

from configs import bert, gpt2, gpt3
from ssl_jax import checks, devices, footprint, program, source
from ssl_jax.errors import UserError
from ssl_jax.footprint import Cut
from ssl_jax.models.model import build_model
from ssl_jax.step import initial_state

pytestmark = pytest.mark.slow

FAMILIES = {
    "gpt1": "tiny,smoke", "bert": "tiny,smoke", "gpt2": "tiny,smoke", "gpt3": "tiny,smoke", "albert": "tiny,smoke",
    "electra": "tiny,smoke", "distilbert": "tiny,smoke,alone", "tinybert": "4-312,smoke",
}  # fmt: skip
MESH = {"parallel.mode": "mesh", "parallel.fsdp": 2, "parallel.tensor": 2}


def settled(paper, variant, changes=None, teacher=None):
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    config.update_from_flattened_dict(changes or {})
    if teacher is not None:
        config.teacher.runs = (str(teacher),)
        config = source.resolve_teacher(config)
        config.init.run = ""
    return checks.settle(config, (changes or {}).keys())


def estimated(config, cut):
    model = build_model(config)
    shapes, teachers = footprint.state_shapes(config, model), footprint.teacher_models(config)
    return footprint.estimate(config, model, cut, footprint.largest(config), shapes, teachers)


@pytest.fixture
def teacher(tmp_path):
    """A folder with all that a plan reads of a teacher: its config."""
    config = settled("bert", "tiny,smoke", {"model.layers": 4})
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": json.loads(config.to_json())}))
    return folder


@pytest.mark.parametrize(
    "paper, changes", [*((paper, MESH) for paper in FAMILIES), ("bert", {}), ("tinybert", {})], ids=str
)
def test_the_state_is_exact_and_the_rest_within_half_as_much_again(paper, changes, teacher):
    if paper == "tinybert":
        changes = changes | {"model.heads": 2, "model.hidden_size": 32}  # as the teacher
    config = settled(paper, FAMILIES[paper], changes, teacher if paper == "tinybert" else None)
    cut, phase = footprint.cut_of(config, 4), footprint.largest(config)
    own, made = estimated(config, cut), program.compile_step(config, phase)
    state = jax.eval_shape(lambda: initial_state(config, build_model(config), program.vocabulary(config)))
    counters = {name: x for name, x in state.items() if name not in ("params", "optimizer")}
    # All of the state, and nothing else, is given away to the step that returns the next one.
    assert own.parameters + own.optimizer + footprint.bytes_of(counters, cut) == made.alias
    # The batch, and what teachers know; XLA drops what a step does not read, as a teacher's pooler.
    teachers = sum(footprint.bytes_of(footprint.parameter_shapes(one), cut) for one in footprint.teacher_models(config))
    assert 0.8 * teachers < made.argument - made.alias <= own.batch + teachers
    rest = own.total - own.parameters - own.optimizer - own.batch - teachers
    assert 1 / 1.5 < rest / made.temp < 1.5


SMALL = {
    "model.layers": 4, "model.hidden_size": 128, "model.heads": 4, "data.tokenizer.vocab_size": 1024, "batch_size": 16,
    "phases.lengths": (256,), "phases.shares": (1.0,), "steps": 100, "ramp.start": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"model.scan": True}, {"model.scan": True, "model.remat": True}, {"run.accumulate": 4}, MESH | {"model.scan": True}],
    ids=["scan", "remat", "micro-batches", "mesh"],
)  # fmt: skip
def test_activations_are_within_half_as_much_again_of_the_compiled_step(changes):
    config = settled("gpt2", "small", SMALL | changes)
    own, made = estimated(config, footprint.cut_of(config, 4)), program.compile_step(config, footprint.largest(config))
    rest = own.total - own.parameters - own.optimizer - own.batch
    assert 1 / 1.5 < rest / made.temp < 1.5


def test_examples_are_cut_on_a_mesh_as_under_pmap():
    """XLA would cut activations by width, as the parameters they meet: then each device has those of all examples."""
    changes = SMALL | {"batch_size": 64, "model.scan": True}
    mesh, replicated = (
        program.compile_step(config, footprint.largest(config))
        for config in (
            settled("gpt2", "small", changes | cut) for cut in ({"parallel.mode": "mesh", "parallel.fsdp": 4}, {})
        )
    )
    assert mesh.temp < 1.2 * replicated.temp


def test_traffic_on_paper_is_that_of_the_compiled_step():
    """Where the two count the same: XLA's CPU compiler writes a reduce-scatter as an all-reduce of twice the traffic."""
    config = settled("gpt2", "small", SMALL | MESH | {"run.accumulate": 2, "model.scan": True, "model.remat": True})
    model, cut = build_model(config), footprint.cut_of(config, 4)
    phase = footprint.largest(config)
    paper = footprint.traffic(config, model, cut, phase, footprint.state_shapes(config, model))
    assert [(one.axis, one.count) for one in paper] == [("fsdp", 6), ("fsdp", 2), ("tensor", 48)]
    made = program.compile_step(config, phase)
    assert made.known
    sent = sum(one.sent for one in made.collectives.values())
    doubled = sum(one.sent * (2 if "scatter" in one.name else 1) for one in paper)
    assert 1 / 1.5 < doubled / sent < 1.5


def test_gpt3_175b_by_hand():
    """On 256 devices, 32 x 8: heads, inner width and hidden size are cut; 50,257 tokens are odd, and cut by width alone."""
    h, inner, layers, vocabulary, positions = 12288, 4 * 12288, 96, 50257, 2048
    kernels = layers * (4 * h * h + 2 * h * inner) / 256
    biases = layers * (3 * h + inner) / 8  # of query, key, value and the inner layer, cut over tensor alone
    whole = layers * (2 * h + 4 * h) + 2 * h  # output biases and norms
    tables = vocabulary * h / 32 + positions * h / 256
    parameters = 4 * (kernels + biases + whole + tables)
    config = settled("gpt3", "175b", {"parallel.mode": "mesh", "parallel.fsdp": 32, "parallel.tensor": 8})
    own = estimated(config, footprint.cut_of(config, 256)._replace(accumulate=49))
    assert own.parameters == pytest.approx(parameters, rel=0.01)
    assert own.optimizer == pytest.approx(2 * parameters, rel=0.01)
    # With remat each layer keeps its input of one sequence a device, in float32.
    assert own.activations > 96 * 2048 * h * 4
    plan = footprint.plan(settled("gpt3", "175b"), 256, devices.by_name("h100"), 0.4)
    assert plan["parameters"] == 174_604_259_328
    assert plan["seconds"] == pytest.approx(plan["flops"] / (256 * 494.7e12 * 0.4))
    assert plan["device_hours"] == pytest.approx(plan["seconds"] * 256 / 3600)


@pytest.mark.parametrize(
    "paper, variant, count, device",
    [
        ("gpt3", "175b", 256, "h100"),
        ("gpt3", "175b", 1024, "tpu-v5p"),
        ("gpt2", "xl", 8, "a100"),
        ("bert", "large", 4, "tpu-v5e"),
    ],
)
def test_what_is_proposed_fits_keeps_the_batch_and_is_accepted(paper, variant, count, device):
    config, device = settled(paper, variant), devices.by_name(device)
    plan = footprint.plan(config, count, device, 0.4)
    proposal = plan["proposal"]
    assert not plan["fits"] and proposal["bytes"]["total"] <= 0.9 * device.memory
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(proposal["flags"])
    assert changed.batch_size == config.batch_size
    again = footprint.plan(checks.settle(changed), count, device, 0.4)
    assert again["fits"] and not again["refused"] and again["bytes"] == proposal["bytes"]
    assert again["tokens"] == pytest.approx(plan["tokens"], rel=1e-3)
    assert count % (changed.parallel.fsdp * changed.parallel.tensor) == 0
    assert config.model.heads % changed.parallel.tensor == 0


def test_the_cheapest_cut_comes_first():
    """Without memory to spare: micro-batches before rematerialisation, and both before tensor pieces within a server."""
    config = settled("gpt2", "small")
    model, shapes = build_model(config), footprint.state_shapes(config, build_model(config))

    def proposed(gigabytes):
        device = devices.by_name("h100")._replace(memory=gigabytes * 1e9)
        return footprint.propose(config, model, 8, device, shapes)

    most, less = proposed(500), proposed(20)
    assert most.cut == Cut("pmap", 8) and most.flags == {}
    assert less.cut.tensor == 1 and less.cut.accumulate > 1 and not less.flags.get("model.remat")
    assert less.flags == {"run.accumulate": less.cut.accumulate}
    assert proposed(0.001) is None


def test_what_pmap_alone_computes_is_not_cut_over_a_mesh():
    config = settled("bert", "base", {"loss_average": "device"})
    model = build_model(config)
    assert {cut.mode for cut in footprint._cuts(config, model, 8)} == {"pmap"}


def test_more_of_anything_takes_more_and_more_pieces_less():
    base = settled("bert", "base")
    cut = Cut("mesh", 8, 2, 2)
    own = estimated(base, cut)

    def changed(**changes):
        return estimated(settled("bert", "base", {key.replace("__", "."): x for key, x in changes.items()}), cut)

    assert changed(batch_size=512).activations == 2 * own.activations
    assert changed(model__layers=24).parameters > own.parameters
    assert changed(model__remat=True).activations < own.activations / 3
    assert changed(model__dtype="bfloat16").activations < 0.7 * own.activations
    assert estimated(base, cut._replace(accumulate=4)).activations == own.activations / 4
    assert estimated(base, Cut("mesh", 8, 4, 2)).optimizer < own.optimizer
    assert estimated(base, Cut("pmap", 8)).optimizer > own.optimizer
    assert changed(seeds=3).optimizer == 3 * own.optimizer


@pytest.mark.parametrize(
    "count, changes, message",
    [
        (0, {}, "--devices=0: at least 1"),
        (6, MESH, "6 devices are not divisible by parallel.fsdp=2 x parallel.tensor=2"),
        (4, {"parallel.fsdp": 2}, "need parallel.mode='mesh'"),
    ],
)
def test_devices_that_cannot_be_cut_are_refused(count, changes, message):
    with pytest.raises(UserError, match=message):
        footprint.plan(settled("bert", "tiny,smoke", changes), count, devices.by_name("h100"), 0.4)


def test_a_batch_that_pieces_do_not_divide_is_said_to_be_refused():
    plan = footprint.plan(settled("bert", "tiny,smoke"), 3, devices.by_name("h100"), 0.4)
    assert "batch_size=8 is not divisible by 3 devices" in plan["refused"] and not plan["fits"]


def test_devices_have_names_memory_and_peaks():
    assert devices.by_name("h100").memory == 80e9
    assert devices.peak(devices.by_name("h100"), "bfloat16") == 989.4e12
    assert devices.peak(devices.by_name("cpu"), "float32") is None
    names = [device.name for device in devices.DEVICES]
    assert len(set(names)) == len(names)
    with pytest.raises(UserError, match="unknown device 'h10'; did you mean 'h100'"):
        devices.by_name("h10")


# What compilers write: two all-gathers of four devices in a loop of 96, an all-reduce of all outside it.
HLO = """
HloModule m

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %r = f32[] add(%x, %y)
}

%body.1 (p: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %g = bf16[32,16]{1,0} all-gather(%a), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  %h = (f32[8]{0}, /*index=1*/f32[2,4]{1,0}) all-gather(%b, %c), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
}

%cond (p: (s32[], bf16[8,16])) -> pred[] {
  ROOT %l = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (p0: f32[10]) -> f32[10] {
  %w = (s32[], bf16[8,16]{1,0}) while(%t), condition=%cond, body=%body.1, backend_config={"known_trip_count":{"n":"96"}}
  ROOT %s = f32[10]{0} all-reduce(%p0), replica_groups={}, to_apply=%add
}
"""


def test_collectives_are_counted_as_often_as_their_loops_run():
    found, known = program.collectives(HLO, 8)
    assert known
    assert found["all-gather", 4] == (2 * 96, 96 * (32 * 16 * 2 + 64), 96 * (32 * 16 * 2 + 64) * 3 / 4)
    assert found["all-reduce", 8] == (1, 40, 40 * 2 * 7 / 8)
    found, known = program.collectives(HLO.replace("known_trip_count", "x"), 8)
    assert not known and found["all-gather", 4].count == 2


def test_every_family_with_a_largest_config_fits_somewhere():
    """A sanity check of the whole table of docs/scaling.md."""
    for paper, variant in ((bert, "large"), (gpt2, "xl"), (gpt3, "13b")):
        config = checks.settle(paper.get_config(variant))
        plan = footprint.plan(config, 64, devices.by_name("h200"), 0.4)
        assert plan["fits"] or plan["proposal"], variant
        assert plan["bytes"]["total"] == pytest.approx(sum(x for name, x in plan["bytes"].items() if name != "total"))


def test_remat_of_a_generator_follows_the_trunk():
    model = build_model(settled("electra", "tiny,smoke"))
    changed = footprint._with_remat(model, True)
    assert changed.config.remat and changed.generator.trunk.remat
    assert dataclasses.replace(changed.config, remat=False) == model.config
