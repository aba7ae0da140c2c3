"""Teachers: what they give, what is compared with it, what is refused, and students that learn from them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch

from configs import bert, distilbert, electra, finetune, gpt2, tinybert
from ssl_jax import files, objectives, predict, source, tasks, train
from ssl_jax.checkpoints import Checkpoints
from ssl_jax.config import base
from ssl_jax.data import tokens
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.models import heads
from ssl_jax.models.model import build_model
from ssl_jax.step import make_terms
from tests.parity.test_five_steps import make_batch, make_config, make_params

pytestmark = pytest.mark.slow  # compiles programs, or trains

TAUGHT = {name: row.teacher for name, row in objectives.OBJECTIVES.items() if row.teacher}
LOSSES = sorted(TAUGHT)


def random_outputs(rows=3, length=6, size=11, width=8, layers=2, seed=0):
    """What a student and its teacher made, and a batch with padding on the right and a row of nothing else."""
    random = np.random.default_rng(seed)
    shapes = {
        "token_logits": (rows, length, size), "encoded": (rows, length, width), "class_logits": (rows, 5),
        "states": (layers + 1, rows, length, width), "scores": (layers, rows, 4, length, length),
        "span_logits": (rows, length, 2),
    }  # fmt: skip
    ours, theirs = (
        {name: (3 * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()} for _ in range(2)
    )
    mask = np.arange(length) < np.array([[length], [4], [0]])
    out = ours | {"fitted": ours["states"], "layers": {"scores": ours["scores"]}, "teacher": theirs}
    return out, {"tokens": mask, "mask": mask, "label": random.integers(0, 5, rows)}


def term(name, out, batch, temperature=2.0, **teacher):
    config = base()
    config.teacher.update(temperature=temperature, **teacher)
    return objectives.OBJECTIVES[name].bind(config)[0](out, batch)


def test_terms_are_those_of_the_originals_in_torch():
    """distiller.py at all tokens but padding; general_distill.py and task_distill.py where nothing is padding."""
    out, batch = random_outputs()
    mask = torch.tensor(batch["mask"])
    ours, theirs = (
        {name: torch.tensor(made[name]) for name in ("token_logits", "encoded", "states", "scores", "class_logits")}
        for made in (out, out["teacher"])
    )
    mean = lambda name, **options: (lambda t: float(t.sum / t.weight))(term(name, out, batch, **options))  # noqa: E731

    s, t = (made["token_logits"][mask] / 2 for made in (ours, theirs))
    divergence = torch.nn.KLDivLoss(reduction="batchmean")(s.log_softmax(-1), t.softmax(-1)) * 2**2
    assert mean("soft_targets") == pytest.approx(float(divergence), rel=1e-5)
    agreement = term("soft_targets", out, batch).metrics["agreement"]
    assert agreement[0] == (s.argmax(-1) == t.argmax(-1)).sum() and agreement[1] == mask.sum() == 10

    # At the tokens that are predicted alone (--restrict_ce_to_mask).
    few, weights = {"mlm_logits": out["token_logits"][:, :4]}, np.arange(12).reshape(3, 4) % 5 < 3
    few["teacher"] = {"predicted_logits": out["teacher"]["token_logits"][:, :4]}
    s, t = (made["token_logits"][:, :4][torch.tensor(weights)] / 2 for made in (ours, theirs))
    divergence = torch.nn.KLDivLoss(reduction="sum")(s.log_softmax(-1), t.softmax(-1)) * 2**2
    predicted = term("soft_predictions", few, {"weights": weights})
    assert (float(predicted.sum), float(predicted.weight)) == (pytest.approx(float(divergence), rel=1e-5), len(s))

    s, t = (made["encoded"][mask] for made in (ours, theirs))
    apart = torch.nn.CosineEmbeddingLoss()(s, t, torch.ones(len(s)))
    assert mean("cosine") == pytest.approx(float(apart), rel=1e-5)

    batch["mask"] = np.ones_like(batch["mask"])
    squared = torch.nn.MSELoss()
    first, *layers = (squared(s, t) for s, t in zip(ours["states"], theirs["states"]))
    assert mean("embedding") == pytest.approx(float(first), rel=1e-5)
    assert mean("hidden") == pytest.approx(float(sum(layers)), rel=1e-5)
    kept = [[torch.where(x <= -1e2, torch.zeros_like(x), x) for x in made["scores"]] for made in (ours, theirs)]
    assert mean("attention") == pytest.approx(float(sum(squared(s, t) for s, t in zip(*kept))), rel=1e-5)

    s, t = (made["class_logits"] for made in (ours, theirs))
    entropy = -(t.softmax(-1) * s.log_softmax(-1)).mean()  # over the classes, too
    assert mean("soft_labels", temperature=1.0) == pytest.approx(5 * float(entropy), rel=1e-5)
    released = term("soft_labels", out, batch, temperature=1.0, mean_over_classes=True)
    assert float(released.sum / released.weight) == pytest.approx(float(entropy), rel=1e-5)
    metrics = term("soft_labels", out, batch, temperature=1.0).metrics
    assert float(metrics["agreement"][0]) == (s.argmax(-1) == t.argmax(-1)).sum()
    assert float(metrics["accuracy"][0]) == (s.argmax(-1).numpy() == batch["label"]).sum()


def test_with_padding_counted_the_means_are_the_originals_over_everything():
    """general_distill.py: MSELoss over all positions, of scores those above -100 after padding's -10000."""
    out, batch = random_outputs()
    squared, full = torch.nn.MSELoss(), slice(0, 2)  # the last row pads an evaluation's batch
    hides = (torch.tensor(batch["mask"][full]) == 0)[:, None, None] * -1e4
    ours, theirs = (
        {name: torch.tensor(made[name][:, full]) for name in ("states", "scores")} for made in (out, out["teacher"])
    )
    first, *layers = (squared(s, t) for s, t in zip(ours["states"], theirs["states"], strict=True))
    kept = [torch.where(x + hides <= -1e2, 0.0, x + hides) for x in (ours["scores"], theirs["scores"])]
    expected = dict(embedding=first, hidden=sum(layers), attention=sum(map(squared, *kept)))
    for name, value in expected.items():
        made = term(name, out, batch, count_padding=True)
        assert float(made.sum / made.weight) == pytest.approx(float(value), rel=1e-5), name
        config = base()
        config.teacher.count_padding = True
        assert objectives.OBJECTIVES[name].bind(config)[1](batch) == made.weight == (72 if name == "attention" else 12)
        assert made.weight > term(name, out, batch).weight


def test_patience_is_the_originals_in_torch():
    """KD_loss.py of PKD: F.mse_loss of normalised [CLS] states, of all layers but the last."""
    out, batch = random_outputs(layers=4)
    ours, theirs = (torch.tensor(made["states"][1:-1, :2, 0]) for made in (out, out["teacher"]))
    ours.requires_grad = True
    normal = lambda x: torch.nn.functional.normalize(x.transpose(0, 1), p=2, dim=2)  # noqa: E731
    loss = torch.nn.functional.mse_loss(normal(theirs), normal(ours))
    loss.backward()

    def mean(fitted):
        made = term("patience", out | {"fitted": fitted}, batch)
        return made.sum / made.weight

    value, gradient = jax.value_and_grad(mean)(out["fitted"])
    assert float(value) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(gradient[1:-1, :2, 0], ours.grad.numpy(), rtol=1e-4, atol=1e-7)
    # Nothing else is read: not the embeddings, the last layer, other tokens, rows of padding.
    assert np.count_nonzero(gradient) == 3 * 2 * 8


def test_soft_spans_are_the_originals_in_torch_on_what_is_real():
    """run_squad_w_distillation.py: where nothing is padding, and else each row cut to its real tokens."""
    out, batch = random_outputs()
    softmax = torch.nn.functional.log_softmax

    def original(rows, lengths, temperature):
        ours, theirs = (torch.tensor(x["span_logits"]) / temperature for x in (out, out["teacher"]))
        both = [
            torch.nn.functional.kl_div(softmax(s, -1), softmax(t, -1), log_target=True, reduction="sum")
            for row, length in zip(rows, lengths, strict=True)
            for s, t in zip(ours[row, :length].T, theirs[row, :length].T, strict=True)
        ]
        return temperature**2 * float(sum(both)) / len(both)

    for lengths in ([6, 4, 0], [6, 6, 6]):
        batch["mask"] = np.arange(6) < np.array(lengths)[:, None]
        rows = [row for row, length in enumerate(lengths) if length]
        for temperature in (1.0, 2.0):
            made = term("soft_span", out, batch, temperature)
            expected = original(rows, [lengths[row] for row in rows], temperature)
            assert float(made.sum / made.weight) == pytest.approx(expected, rel=1e-5) and made.weight == 2 * len(rows)
    s, t = (made["span_logits"].argmax(1) for made in (out, out["teacher"]))
    assert made.metrics["agreement"][0] == (s == t).sum() and made.metrics["agreement"][1] == 6

    def mean(logits):
        made = term("soft_span", out | {"span_logits": logits}, batch)
        return made.sum / made.weight

    batch["mask"] = np.arange(6) < np.array([[6], [4], [0]])
    gradient = np.asarray(jax.grad(mean)(out["span_logits"]))
    assert gradient[batch["mask"]].all() and not gradient[~batch["mask"]].any()


def test_all_of_a_teachers_tokens_in_any_order_are_its_whole_distribution():
    out, batch = random_outputs()
    whole, teacher = term("soft_targets", out, batch), out["teacher"]
    order = np.argsort(np.random.default_rng(1).random(teacher["token_logits"].shape), axis=-1)
    teacher |= {"token_logits": np.take_along_axis(teacher["token_logits"], order, -1), "token_ids": order}
    teacher["token_rest"] = np.full(order.shape[:-1], -1e4, np.float32)  # of none
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), term("soft_targets", out, batch), whole)
    # Fewer: all others are one outcome.
    ours, theirs = (torch.tensor(x["token_logits"] / 2).softmax(-1) for x in (out, teacher))
    teacher["token_rest"] = torch.logsumexp(torch.tensor(teacher["token_logits"][..., 3:] / 2), -1).numpy()
    teacher |= {name: teacher[name][..., :3] for name in ("token_logits", "token_ids")}
    ours, theirs = ours.gather(-1, torch.tensor(order[..., :3])), theirs[..., :3]
    ours, theirs = (torch.cat([p, 1 - p.sum(-1, keepdim=True)], -1) for p in (ours, theirs))
    expected = 4 * (theirs * (theirs / ours).log()).sum(-1)[torch.tensor(batch["mask"])].sum()
    assert float(term("soft_targets", out, batch).sum) == pytest.approx(float(expected), rel=1e-4)


EVERYTHING = {
    **{f"losses.{name}": 1.0 for name in LOSSES}, "data.examples": "task", "task.classes": 3,
    "teacher.projection": "none", "teacher.temperature": 2.0,
}  # fmt: skip


def everything(**changes):
    """A student that reads all that a teacher can give."""
    config = make_config(tinybert, "4-312,smoke", EVERYTHING | changes)
    return config, build_model(config)


def asked(batch):
    """The batch, some of its tokens to be predicted."""
    positions = np.tile(np.arange(6), (len(batch["tokens"]), 1))
    return batch | {"positions": positions, "weights": (positions < 5).astype(np.float32)}


def as_run(model, **more):
    return SimpleNamespace(model=model, **more)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_and_padding_nothing_to_say():
    config, model = everything()
    params, batch = make_params(config, model), asked(make_batch(0, 4))

    def padded(x):
        return np.pad(x, [(0, 2), (0, 8)][: x.ndim], constant_values=x.dtype.type(x.dtype != bool) * 7)

    wider = jax.tree.map(padded, batch) | {"segments": np.pad(batch["segments"], [(0, 2), (0, 8)])}
    wider["weights"] = np.pad(batch["weights"], [(0, 2), (0, 8)])
    assert wider["tokens"].shape == (6, 40) and wider["mask"].sum() == batch["mask"].sum()
    for teach in (distill.own_outputs, distill.make_teach(config, [model])):
        terms = jax.jit(make_terms(config, model, teach))
        made = terms(params, batch, {}, [params])
        assert sorted(made) == LOSSES
        entropy = made.pop("soft_labels")
        for name, term in made.items():
            assert abs(term.sum) < 1e-5 * term.weight, name
        assert entropy.sum > 0 and entropy.metrics["agreement"] == (4, 4)

    # A teacher of another opinion.
    other = make_params(config, model, 1)
    made, same = (terms(params, rows, {}, [other]) for rows in (batch, wider))
    assert all(float(term.sum) > 0.01 for term in made.values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), made, same)
    tokens = batch["mask"].sum(1).astype(float)
    weights = {name: tokens.sum() for name in LOSSES} | {"attention": (tokens**2).sum(), "soft_labels": 4}
    weights |= {"soft_predictions": 20, "soft_span": 8, "patience": 4}
    assert {name: float(term.weight) for name, term in made.items()} == weights


@pytest.mark.parametrize("dropout", [False, True])
def test_no_gradient_reaches_a_teacher_and_dropout_only_where_asked(dropout):
    dropped = {"model.dropout": 0.5, "model.attention_dropout": 0.5}
    config, model = everything(**dropped, **{"teacher.dropout": dropout})
    params, theirs, batch = make_params(config, model), make_params(config, model, 1), asked(make_batch(0, 4))
    teach = distill.make_teach(config, [model])

    @jax.jit
    def learn(params, theirs, key):
        kept = {}

        def watched(out, batch, theirs, rngs):
            made = teach(out, batch, theirs, rngs)
            # Of a decoding, what it decodes; its tables are parameters.
            kept.update(ours=out["encoded"], theirs=made | {"token_decoding": made["token_decoding"].x})
            return made

        def value(params, theirs):
            terms = make_terms(config, model, watched)(params, batch, {"dropout": key}, [theirs])
            return sum(term.sum for term in terms.values()), kept

        return jax.grad(value, (0, 1), has_aux=True)(params, theirs)

    ((ours, none), first), (_, second) = (learn(params, theirs, jax.random.key(n)) for n in range(2))
    assert not any(np.any(g) for g in jax.tree.leaves(none))
    assert all(np.any(g) for g in jax.tree.leaves(ours))
    assert (first["ours"] != second["ours"]).mean() > 0.5
    if not dropout:
        jax.tree.map(np.testing.assert_array_equal, first["theirs"], second["theirs"])
        return
    assert all((a != b).any() for a, b in zip(*(jax.tree.leaves(made["theirs"]) for made in (first, second))))
    # With the student's parameters it still has masks of its own, and none where the student has none.
    _, same = learn(params, params, jax.random.key(0))
    assert (same["ours"] != same["theirs"]["encoded"]).mean() > 0.5
    terms = make_terms(config, model, teach)(params, batch, {}, [params])
    assert abs(terms["cosine"].sum) < 1e-4


def test_of_several_teachers_of_any_depth_the_outputs_are_averaged():
    config, model = everything()
    models = [model, build_model(make_config(tinybert, "4-312,smoke", EVERYTHING | {"model.layers": 4}))]
    params = [make_params(config, each, seed) for seed, each in enumerate(models)]
    teach, batch = distill.make_teach(config, models), make_batch(0, 4)

    @jax.jit
    def both(params):
        return teach({}, batch, params), [m.apply({"params": p}, batch) for m, p in zip(models, params, strict=True)]

    mean, made = jax.tree.map(np.asarray, both(params))
    assert set(mean) == set(TAUGHT.values())
    for name in ("token_logits", "encoded", "class_logits"):
        np.testing.assert_allclose(mean[name], (made[0][name] + made[1][name]) / 2, rtol=1e-5, atol=1e-5)
    for m, (first, second) in enumerate([(1, 2), (2, 4)], 1):  # g(m), from 1
        layers = [out["layers"] for out in made]
        for name, at in (("hidden", mean["states"][m]), ("scores", mean["scores"][m - 1])):
            np.testing.assert_allclose(at, (layers[0][name][first - 1] + layers[1][name][second - 1]) / 2, atol=1e-4)
    np.testing.assert_allclose(mean["states"][0], (made[0]["embedded"] + made[1]["embedded"]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    "name, ours, theirs, expected",
    [
        # Section 4.2, g(m) = 3m; Table 4.
        ("uniform", 4, 12, [3, 6, 9, 12]),
        ("uniform", 6, 12, [2, 4, 6, 8, 10, 12]),
        ("uniform", 2, 2, [1, 2]),
        ("top", 4, 12, [9, 10, 11, 12]),
        ("bottom", 4, 12, [1, 2, 3, 4]),
        ("12, 1,1", 3, 12, [12, 1, 1]),
        ("2", 1, 2, [2]),
    ],
)
def test_layers_are_mapped_as_the_paper_maps_them(name, ours, theirs, expected):
    assert distill.map_layers(name, ours, theirs) == expected


@pytest.mark.parametrize(
    "name, ours, theirs, message",
    [
        ("uniform", 5, 12, "5 layers learn from 12, which does not divide"),
        ("top", 4, 2, "4 layers learn from 2"),
        ("bottom", 4, 2, "4 layers learn from 2"),
        ("1,2", 4, 12, "it needs 4 numbers from 1 to 12"),
        ("0,1,2,3", 4, 12, "it needs 4 numbers from 1 to 12"),
        ("1,2,3,13", 4, 12, "it needs 4 numbers from 1 to 12"),
        ("unifrom", 4, 12, "unknown teacher.layer_map 'unifrom'; did you mean 'uniform'"),
    ],
)
def test_maps_that_do_not_fit_are_refused(name, ours, theirs, message):
    with pytest.raises(UserError, match=message):
        distill.map_layers(name, ours, theirs)


@pytest.mark.parametrize(
    "kind, sets, bias", [("one", 1, True), ("two", 2, False), ("each", 3, True), ("none", 0, False)]
)
def test_projections_have_as_many_sets_as_they_say(kind, sets, bias):
    config, _ = everything()
    random, width = np.random.default_rng(0), 5
    states = random.normal(size=(3, 2, 4, 32)).astype(np.float32)
    module = heads.Projection(build_model(config).config, kind, width)
    seen = heads.Seen({}, {"embedded": states[0], "layers": {"hidden": states[1:]}})
    shapes = jax.eval_shape(module.init, jax.random.key(0), seen).get("params", {})
    assert sum(x.size for x in jax.tree.leaves(shapes)) == sets * (32 * width + bias * width)
    params = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)
    made = jax.jit(module.apply)({"params": params}, seen)["fitted"]
    for number, state in enumerate(states):
        if sets:
            state = state @ params["kernel"][min(number, sets - 1)]
            state = state + params["bias"][min(number, sets - 1)] if bias else state
        np.testing.assert_allclose(made[number], state, rtol=1e-5, atol=1e-5)


DISTIL, TINY, TASK = (distilbert, "base,smoke"), (tinybert, "4-312,smoke"), (tinybert, "4-312,prediction,smoke")
TEACHER = (bert, "tiny,smoke")
TOPICS = {"losses.mlm": 0.0, "losses.nsp": 0.0, "losses.classify": 1.0, "data.examples": "task", "task.classes": 12}
MISFITS = {
    "no teacher": (DISTIL, {"teacher.runs": ()}, TEACHER, {}, "losses.cosine compares with a teacher"),
    "no loss": ((bert, "tiny,smoke"), {}, TEACHER, {}, "teacher.runs is read by no loss"),
    "vocabulary": (DISTIL, {}, TEACHER, {"hash": "another"}, "a has another vocabulary: set .*json"),
    "temperature": (DISTIL, {"teacher.temperature": 0.0}, TEACHER, {}, "teacher.temperature=0.0: above 0"),
    "causal": (DISTIL, {}, (gpt2, "small,smoke"), {}, "has model.causal=True and the student False"),
    "positions": (DISTIL, {"phases.lengths": (64,)}, TEACHER, {"model.max_positions": 63}, "63 positions, phases"),
    "depth": (TINY, {}, TEACHER, {"model.layers": 3}, "2 layers learn from 3, which does not divide"),
    "heads": (TINY, {}, TEACHER, {"model.heads": 4}, "head by head: .* 4 heads and a band of 0, the student 2 and 0"),
    "width": (TINY, {"teacher.projection": "none"}, TEACHER, {"model.hidden_size": 40}, "'none' needs equal"),
    "width of vectors": (DISTIL, {}, TEACHER, {"model.hidden_size": 40}, "compares vectors: .* 40, .* 32"),
    "no head": (DISTIL, {}, TEACHER, TOPICS, "has no head for token_logits"),
    "generator's head": (DISTIL, {}, (electra, "small,smoke"), {}, "has no head for token_logits"),
    "no classes": (TASK, {"task.classes": 12}, TEACHER, {}, "has no head for class_logits"),
    "no spans": ((distilbert, "base,squad,smoke"), {}, TEACHER, TOPICS, "has no head for span_logits"),
    "joint spans": (
        (distilbert, "base,squad,smoke"),
        {},
        (finetune, "electra-small,squad,smoke"),
        {},
        "has no head for span_logits",
    ),
    "classes": (TASK, {"task.classes": 4}, TEACHER, TOPICS, "knows the 12 classes of topics, .* topics has 4"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_teachers_that_do_not_fit_are_refused_with_one_line(misfit, monkeypatch):
    student, changes, teacher, theirs, message = MISFITS[misfit]
    theirs = dict(theirs)
    digest = theirs.pop("hash", "the same")
    other = make_config(*teacher, theirs)
    run = as_run(build_model(other), workdir=Path("a"), config=other, tokenizer_hash=digest)
    monkeypatch.setattr(distill, "load_run", lambda folder, parallel: run)
    config = make_config(*student, {"teacher.runs": ("a",), "init.run": "", "init.layers": ()} | changes)
    with pytest.raises(UserError, match=message) as error:
        distill.load_teachers(config, "the same", None)
    assert "\n" not in str(error.value)


def test_teachers_of_unequal_width_have_no_mean(monkeypatch):
    configs = {name: make_config(*TEACHER, {"model.hidden_size": width}) for name, width in (("a", 32), ("b", 40))}
    same = dict(workdir=Path("a"), tokenizer_hash="")
    made = {name: as_run(build_model(config), config=config, **same) for name, config in configs.items()}
    monkeypatch.setattr(distill, "load_run", lambda folder, parallel: made[folder])
    config = make_config(*TINY, {"teacher.runs": ("a", "b")})
    with pytest.raises(UserError, match=r"hidden sizes \[32, 40\]: states of equal width alone can be averaged"):
        distill.load_teachers(config, "", None)
    config.losses.update(hidden=0.0, embedding=0.0)
    assert len(distill.load_teachers(config, "", None)) == 2


def assert_equal(made, expected):
    jax.tree.map(np.testing.assert_array_equal, made, expected)


def test_a_start_from_a_teacher_needs_one():
    config = distilbert.get_config("base,smoke")
    with pytest.raises(UserError, match="init.run='teacher' needs a teacher: set teacher.runs"):
        source.resolve_teacher(config)
    config.teacher.runs = ("nowhere",)
    with pytest.raises(UserError, match="nowhere holds no run: there is no config.json"):
        source.resolve_teacher(config)


def shrink(config, data_root, **changes):
    small = {"data.root": data_root, "steps": 2, "run.log_every": 1, "evals.heldout.max_batches": 1, "model.layers": 1,
             "model.dropout": 0.0, "model.attention_dropout": 0.0, "optimizer.warmup": 0.5}  # fmt: skip
    config.update_from_flattened_dict(small | changes)
    return config


def leave_run(config, workdir):
    """What training leaves in a folder, with parameters that nothing has trained."""
    config = tasks.resolve(config)
    workdir.mkdir(exist_ok=True)
    files.write_json(workdir / "config.json", {"config": json.loads(config.to_json())})
    shutil.copy(Path(tokens.prepare(config.data)) / "tokenizer.json", workdir)
    checkpoints = Checkpoints(workdir, {}, 1)
    checkpoints.save(1, {"params": make_params(config, build_model(config), 1), "step": np.int32(1)})
    checkpoints.wait()
    checkpoints.close()
    return str(workdir)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """What a config says of a task of eight pairs of texts."""
    folder = tmp_path_factory.mktemp("task")
    texts = [(f"it is {word} .", label) for label in ("a", "b", "c") for word in ("one", "two", "six")]
    lines = [json.dumps({"text": text, "text2": "is it ?", "label": label}) for text, label in texts]
    for split in ("train", "heldout"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines[:8]))
    return {"task.name": "jsonl", "task.folder": str(folder), "task.epochs": 0.0}


@pytest.fixture(scope="module")
def teachers(task, data_root, tmp_path_factory):
    """Folders of runs by paper, and 'classes', BERT's with those of the task."""
    configs = {
        "bert": bert.get_config("tiny,smoke"), "electra": electra.get_config("small,smoke"),
        "gpt2": gpt2.get_config("small,smoke"), "classes": finetune.get_config("bert-tiny,jsonl,smoke"),
    }  # fmt: skip
    two = task | {"model.layers": 2}
    configs = {name: shrink(config, data_root, **two) for name, config in configs.items()}
    return {name: leave_run(config, tmp_path_factory.mktemp(name)) for name, config in configs.items()}


def params_of(workdir):
    return jax.tree.map(np.asarray, load_run(workdir).params)


def test_distilbert_starts_from_its_teacher_and_resumes_bit_for_bit(teachers, data_root, tmp_path):
    changes = {"teacher.runs": (teachers["bert"],), "steps": 3, "run.checkpoint_every": 1, "init.layers": (1,),
               "evals.heldout.max_batches": 0}  # fmt: skip
    config = shrink(distilbert.get_config("base,smoke"), data_root, **changes)
    result = train.train(config, tmp_path)
    parts = 5 * result["soft_targets_loss"], 2 * result["mlm_loss"], result["cosine_loss"]
    assert result["loss"] == pytest.approx(sum(parts))
    quiet, lines = params_of(tmp_path), (tmp_path / "metrics.jsonl").read_text()

    shutil.rmtree(tmp_path / "checkpoints/3")
    moved = (tmp_path / "checkpoints/2").rename(tmp_path / "2")
    # The first step of a warm-up has a rate of 0, and nothing decays.
    begun, teacher = params_of(tmp_path), params_of(teachers["bert"])
    assert_equal(begun["encoder"]["layers"], jax.tree.map(lambda x: x[1:], teacher["encoder"]["layers"]))
    assert_equal([begun["mlm"], begun["embeddings"]["token"]], [teacher["mlm"], teacher["embeddings"]["token"]])
    moved.rename(tmp_path / "checkpoints/2")
    assert train.train(config, tmp_path) == result  # and not from the teacher again
    assert_equal(params_of(tmp_path), quiet)
    assert (tmp_path / "metrics.jsonl").read_text() == lines

    # Beside its teacher: both read what the student's config hides, whatever they were trained with.
    (student, read), (teacher, _) = (predict.read_heldout(load_run(at), config) for at in (tmp_path, teachers["bert"]))
    assert student["mlm_loss"] == pytest.approx(result["mlm_loss"]) != teacher["mlm_loss"]
    assert read() == config.batch_size * config.phases.lengths[0]


def test_tinybert_learns_from_two_teachers_over_a_mesh_and_then_the_prediction_layer(
    teachers, task, data_root, tmp_path
):
    mesh = {"parallel.mode": "mesh", "parallel.fsdp": 2, "parallel.tensor": 2}
    later = task | {"init.run": str(tmp_path / "general")}
    stages = {
        "general": ("4-312,smoke", ("bert", "electra"), {"attention", "hidden", "embedding"}, mesh),
        "prediction": ("4-312,prediction,smoke", ("classes",), {"soft_labels"}, later),
    }
    for stage, (variant, names, losses, changes) in stages.items():
        changes = changes | {"teacher.runs": tuple(teachers[name] for name in names)}
        result = train.train(shrink(tinybert.get_config(variant), data_root, **changes), tmp_path / stage)
        assert {name for name in result if name.endswith("_loss")} == {f"{name}_loss" for name in losses}
        assert result["loss"] == pytest.approx(sum(result[f"{name}_loss"] for name in losses)) and result["loss"] > 0
    assert {"soft_labels_agreement", "soft_labels_accuracy"} <= set(result)
    assert set(params_of(tmp_path / "prediction")) == {"embeddings", "encoder", "pooler", "classifier"}


def test_distilgpt2_learns_from_gpt2(teachers, data_root, tmp_path):
    changes = {"teacher.runs": (teachers["gpt2"],), "steps": 1, "init.layers": (0,), "optimizer.warmup": 1.0}
    result = train.train(shrink(distilbert.get_config("gpt2,smoke"), data_root, **changes), tmp_path)
    parts = 5 * result["soft_targets_loss"], 2 * result["clm_loss"], result["cosine_loss"]
    assert result["loss"] == pytest.approx(sum(parts))
    made, teacher = params_of(tmp_path), params_of(teachers["gpt2"])
    assert_equal(made["encoder"]["final_norm"], teacher["encoder"]["final_norm"])


def test_pkd_learns_a_task_from_the_first_layers_of_bert(teachers, task, data_root, tmp_path):
    """From a pre-trained BERT, its pooler included, with a fine-tuned one as the teacher."""
    start = {"init.run": teachers["bert"], "init.layers": (0, 1), "model.layers": 2, "optimizer.warmup": 1.0}
    start |= {"teacher.runs": (teachers["classes"],), "steps": 1}
    config = shrink(finetune.get_config("bert-tiny,jsonl,pkd3,smoke"), data_root, **task | start)
    result = train.train(config, tmp_path)
    weights = {"classify": 0.3, "soft_labels": 0.7, "patience": 500.0}
    assert result["loss"] == pytest.approx(sum(weight * result[f"{name}_loss"] for name, weight in weights.items()))
    assert 0 < result["patience_loss"] < 4 / 32 and {"classify_accuracy", "accuracy"} <= set(result)
    # The first step of a warm-up has a rate of 0, and nothing decays.
    begun, source = params_of(tmp_path), params_of(teachers["bert"])
    assert set(begun) == {"embeddings", "encoder", "pooler", "classifier"}
    for part in ("embeddings", "encoder", "pooler"):
        assert_equal(begun[part], source[part])


def write_task(name, folder):
    """A made-up set in the published form."""
    folder.mkdir()
    context = "the city of london lies on the river ."
    answers = {word: [{"text": word, "answer_start": context.index(word)}] for word in ("city", "london", "river")}
    questions = [{"id": word, "question": "what is it ?", "answers": answer} for word, answer in answers.items()]
    squad = {"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": questions}]}]}
    rows = [
        "sentence1\tsentence2\tscore",
        *(f"it is {word} .\tis it {word} ?\t{n}.5" for n, word in enumerate(answers)),
    ]
    for split in ("train", "dev"):
        if name == "squad":
            (folder / f"{split}-v1.1.json").write_text(json.dumps(squad))
        else:
            (folder / f"{split}.tsv").write_text("\n".join(rows))


# A task and a student, whose losses teach it, and what its result says.
STUDENTS = {
    "squad": (tinybert, "4-312,prediction,squad,smoke", {"soft_span": 1.0}, {"soft_span_agreement", "exact", "f1"}),
    "squad, DistilBERT": (
        distilbert, "base,squad,smoke", {"soft_span": 0.5, "span": 0.5}, {"soft_span_agreement", "span_accuracy", "f1"},
    ),
    "stsb": (tinybert, "4-312,prediction,stsb,smoke", {"regress": 1.0}, {"pearson", "spearman", "score"}),
}  # fmt: skip


@pytest.mark.parametrize("case", STUDENTS)
def test_students_learn_tasks_of_other_kinds(case, data_root, tmp_path):
    """From a finished first stage; of spans from a teacher that was fine-tuned on them."""
    paper, variant, losses, metrics = STUDENTS[case]
    task = case.split(",")[0]
    write_task(task, tmp_path / task)
    small = {"task.folder": str(tmp_path / task), "task.epochs": 0.0, "phases.lengths": (32,), "parallel.devices": 1,
             "run.log_every": 2, "batch_size": 4}  # fmt: skip
    general = shrink(paper.get_config(variant.split(",")[0] + ",smoke"), data_root)
    if paper is tinybert:
        general.teacher.hidden_size = 32
    changes = {"init.run": leave_run(general, tmp_path / "before")}
    if "soft_span" in losses:
        teacher = shrink(finetune.get_config("bert-tiny,squad,smoke"), data_root, **small | {"model.layers": 2})
        changes["teacher.runs"] = (leave_run(teacher, tmp_path / "teacher"),)
    train.train(shrink(paper.get_config(variant), data_root, **small | changes), tmp_path / "student")
    result = json.loads((tmp_path / "student/result.json").read_text())
    assert {name for name in result if name.endswith("_loss")} == {f"{name}_loss" for name in losses}
    assert result["loss"] == pytest.approx(sum(weight * result[f"{name}_loss"] for name, weight in losses.items()))
    assert result["loss"] > 0 and metrics <= set(result)
    begun, made = (params_of(tmp_path / name) for name in ("before", "student"))
    head = "classifier" if task == "stsb" else "span"
    assert set(made) == {"embeddings", "encoder", head} | ({"pooler"} if task == "stsb" else set())
    # It began where the stage before had ended: two steps at a small rate are not far.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02), made["encoder"], begun["encoder"])
