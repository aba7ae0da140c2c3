"""Optimizers and schedules against NumPy statements of the originals, and parameters chosen by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from ml_collections import ConfigDict

from configs import albert as albert_config
from configs import bert, finetune, gpt2
from ssl_jax.errors import UserError
from ssl_jax.models.model import build_model
from ssl_jax.optimizers import (
    Clock,
    build_optimizer,
    clip_by_tensor_norm,
    decayed,
    factors,
    levels,
    path_name,
    scale_by_bert_adam,
    schedule,
    step_clock,
)
from ssl_jax.step import initial_params
from tests.reference import albert, distilbert, electra, gpt1, mqan
from tests.reference import bert as reference

STEPS = 20
CLOCK = step_clock(STEPS)


def options(**changes):
    return ConfigDict(
        dict(
            name="bert_adam", learning_rate=0.3, schedule="linear", warmup=0.2, end_lr_ratio=0.0, decay_until=1.0,
            b1=0.9, b2=0.999, epsilon=1e-6, weight_decay=0.01, no_decay="norm|bias", grad_clip_norm=1.0, grad_clip_by="global",
            layer_decay=1.0, layer_decay_gap=0, lr_multipliers=(), frozen="", unfreeze=0.0,
        )
        | changes
    )  # fmt: skip


def test_ten_steps_equal_the_originals_adam_clip_decay_and_schedule():
    random = np.random.default_rng(0)
    shapes = {"dense/kernel": (3, 4), "dense/bias": (4,), "norm/scale": (4,), "token": (5, 3)}
    params = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    m = {name: np.zeros(shape) for name, shape in shapes.items()}
    v = {name: np.zeros(shape) for name, shape in shapes.items()}
    ours = {name: jnp.asarray(value) for name, value in params.items()}
    optimizer = build_optimizer(options(), CLOCK)
    state = optimizer.init(ours)
    for step in range(10):
        # Every other gradient is longer than 1 and is clipped.
        scale = 3.0 if step % 2 else 0.05
        gradients = {name: (scale * random.normal(size=s)).astype(np.float32) for name, s in shapes.items()}
        updates, state = optimizer.update(gradients, state, ours)
        ours = optax.apply_updates(ours, updates)
        params = reference.adam_weight_decay_step(
            params,
            reference.clip_by_global_norm(gradients, 1.0),
            m,
            v,
            reference.learning_rate(step, 0.3, STEPS, warmup_steps=4),
            decayed={"dense/kernel", "token"},
        )
        for name in shapes:
            np.testing.assert_allclose(ours[name], params[name], rtol=2e-5, atol=1e-6)


SHAPES = {
    "encoder/layers/ffn/kernel": (2, 3, 4),  # two layers, stacked
    "encoder/layers/ffn/bias": (2, 4),
    "encoder/layers/norm/scale": (2, 3),
    "encoder/token": (5, 3),
    "head/layers_of_it/kernel": (2, 3),  # plain: no part of its name is just `layers`
    "head/bias": (5,),
}
DECAYED = {"encoder/layers/ffn/kernel", "encoder/token", "head/layers_of_it/kernel"}


def five_steps(config, clock, gradient_scales=(0.05, 3.0, 0.05, 3.0, 0.05)):
    """Parameters and gradients in NumPy, and the parameters after each of five steps of ours."""
    random = np.random.default_rng(0)
    start = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    gradients = [
        {name: (scale * random.normal(size=shape)).astype(np.float32) for name, shape in SHAPES.items()}
        for scale in gradient_scales
    ]
    optimizer = build_optimizer(config, clock)

    @jax.jit
    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, start)
    state, made = optimizer.init(params), []
    for gradient in gradients:
        params, state = step(params, state, gradient)
        made.append(params)
    return start, gradients, made


def zeros(params):
    return {name: np.zeros(value.shape) for name, value in params.items()}


def assert_same(made, expected):
    for name in expected:
        np.testing.assert_allclose(made[name], expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_five_steps_equal_gpt1s_adam():
    # Epsilon is large, so that it shows whether the correction reaches it; 4 of 20 steps are warm-up.
    config = options(name="gpt1_adam", schedule="cosine", epsilon=0.1, weight_decay=0.5)
    params, gradients, made = five_steps(config, CLOCK)
    m, v = zeros(params), zeros(params)
    for done, gradient in enumerate(gradients):
        rate = 0.3 * gpt1.warmup_cosine(done / STEPS, 0.2)
        clipped = reference.clip_by_global_norm(gradient, 1.0)
        params = gpt1.adam_step(params, clipped, m, v, done, rate, DECAYED, epsilon=0.1, decay=0.5)
        assert_same(made[done], params)


def test_five_steps_equal_optax_adamw_and_a_statement_of_it():
    config = options(name="adamw", schedule="constant", b2=0.95, epsilon=1e-3, weight_decay=0.1, warmup=0.0)
    params, gradients, made = five_steps(config, CLOCK)
    m, v = zeros(params), zeros(params)
    theirs = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(0.3, 0.9, 0.95, 1e-3, weight_decay=0.1, mask={name: name in DECAYED for name in SHAPES}),
    )
    ours = jax.tree.map(jnp.asarray, params)
    state = theirs.init(ours)
    for done, gradient in enumerate(gradients):
        updates, state = theirs.update(gradient, state, ours)
        ours = optax.apply_updates(ours, updates)
        assert_same(made[done], ours)
        # Kingma and Ba's algorithm 1 with the decay of Loshchilov and Hutter's algorithm 2.
        g = reference.clip_by_global_norm(gradient, 1.0)
        m = {name: 0.9 * m[name] + 0.1 * g[name] for name in g}
        v = {name: 0.95 * v[name] + 0.05 * g[name] ** 2 for name in g}
        for name, p in params.items():
            step = m[name] / (1 - 0.9 ** (done + 1)) / (np.sqrt(v[name] / (1 - 0.95 ** (done + 1))) + 1e-3)
            params[name] = p - 0.3 * (step + 0.1 * p * (name in DECAYED))
        assert_same(made[done], params)


def unstacked(tree):
    """The layers of stacked parameters as tensors of their own, as the originals have them."""
    made = {}
    for name, value in tree.items():
        if "/layers/" in name:
            made |= {name.replace("layers", f"layer_{i}"): layer for i, layer in enumerate(value)}
        else:
            made[name] = value
    return made


def test_clipping_tensor_by_tensor_is_torchs():
    """TinyBERT's optimization.py; each layer of a stack is a tensor."""
    random = np.random.default_rng(0)
    gradients = {name: (9 * random.normal(size=shape)).astype(np.float32) for name, shape in SHAPES.items()}
    gradients["encoder/layers/ffn/kernel"][1] *= 0.001  # of two layers one is short enough
    gradients["head/bias"][:] = 0
    made, _ = clip_by_tensor_norm(1.0).update(gradients, None)
    for name, gradient in unstacked(gradients).items():
        tensor = torch.zeros(gradient.shape, requires_grad=True)
        tensor.grad = torch.tensor(gradient)
        length = torch.nn.utils.clip_grad_norm_(tensor, 1.0)
        assert name.endswith(("layer_1/ffn/kernel", "head/bias")) == (length < 1)
        np.testing.assert_allclose(unstacked(made)[name], tensor.grad, rtol=1e-6, err_msg=name)
    with pytest.raises(UserError, match="unknown optimizer.grad_clip_by 'tensors'; did you mean 'tensor'"):
        build_optimizer(options(grad_clip_by="tensors"), CLOCK)


def test_five_steps_equal_alberts_lamb_with_a_ratio_per_layer():
    config = options(name="lamb", weight_decay=0.5)
    params, gradients, made = five_steps(config, CLOCK)
    # Layers of different size: one ratio for the stack would be another one.
    params = unstacked(params)
    m, v = zeros(params), zeros(params)
    excluded = {name for name in params if "norm" in name or "bias" in name}
    for done, gradient in enumerate(gradients):
        clipped = unstacked(reference.clip_by_global_norm(gradient, 1.0))
        rate = reference.learning_rate(done, 0.3, STEPS, 4)
        params = albert.lamb_step(params, clipped, m, v, rate, excluded, decay=0.5)
        assert_same(unstacked(made[done]), params)


def test_lambs_ratio_is_1_where_a_norm_is_0():
    config = options(name="lamb", schedule="constant", warmup=0.0, weight_decay=0.0, epsilon=1e-8)
    params = {"layers": {"kernel": jnp.asarray([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])}}
    gradients = {"layers": {"kernel": jnp.asarray([[0.1, -0.1], [0.1, -0.1], [0.0, 0.0]])}}
    optimizer = build_optimizer(config, CLOCK)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    r = 0.1 / np.sqrt(0.001)  # m / sqrt(v) of the first step
    expected = [[-0.3 * r, 0.3 * r], [-0.3 * 5 / np.sqrt(2), 0.3 * 5 / np.sqrt(2)], [0, 0]]
    np.testing.assert_allclose(updates["layers"]["kernel"], expected, rtol=1e-4)


def test_optax_lamb_is_another_one():
    # The ratio takes any factor out of r again, so a missing bias correction only shows against decay: a
    # share of 3.16 at the first step. What optax.lamb has besides is a ratio for biases and one for a stack.
    config = options(name="lamb", schedule="constant", warmup=0.0, weight_decay=0.5, grad_clip_norm=1e9)
    start, gradients, made = five_steps(config, CLOCK)
    mask = {name: name in DECAYED for name in SHAPES}
    lamb = optax.lamb(0.3, 0.9, 0.999, 1e-6, weight_decay=0.5, mask=mask)
    updates, _ = lamb.update(gradients[0], lamb.init(start), start)
    theirs = optax.apply_updates(start, updates)
    for name in SHAPES:
        assert np.abs(theirs[name] - made[0][name]).max() > 0.01, name


def test_an_unknown_optimizer_is_refused_with_the_choices():
    with pytest.raises(UserError, match="unknown optimizer.name 'lam'; did you mean 'lamb'"):
        build_optimizer(options(name="lam"), CLOCK)


@pytest.mark.parametrize(
    "name, first", [("bert_adam", 0.1 / np.sqrt(0.001)), ("gpt1_adam", 1.0), ("adamw", 1.0), ("lamb", 10.0)]
)
def test_the_first_steps(name, first):
    # One number, 10, with a gradient of .5 and no decay: r is (1 - b1) g / sqrt((1 - b2) g^2) = 3.16 without
    # bias correction and 1 with it, and LAMB scales it to the parameter's own size.
    config = options(name=name, schedule="constant", warmup=0.0, weight_decay=0.0, epsilon=1e-8)
    optimizer = build_optimizer(config, CLOCK)
    params = {"kernel": jnp.asarray([10.0])}
    updates, _ = optimizer.update({"kernel": jnp.asarray([0.5])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.3 * first], rtol=1e-4)


def test_the_first_step_is_one_over_0_316_of_optax_adam():
    # m / sqrt(v) = (1 - b1) / sqrt(1 - b2) = 3.162 without bias correction, 1 with it.
    gradient = jnp.asarray([0.5, -2.0])
    ours, _ = (adam := scale_by_bert_adam(0.9, 0.999, 1e-6)).update(gradient, adam.init(gradient))
    theirs, _ = (adam := optax.scale_by_adam(0.9, 0.999, 1e-8)).update(gradient, adam.init(gradient))
    np.testing.assert_allclose(ours / theirs, 0.1 / np.sqrt(0.001), rtol=1e-4)


def test_schedule_starts_at_zero_drops_at_the_end_of_the_warm_up_and_ends_at_zero():
    rate = schedule(options(), CLOCK)
    expected = [reference.learning_rate(step, 0.3, STEPS, 4) for step in range(STEPS + 1)]
    np.testing.assert_allclose([rate(step) for step in range(STEPS + 1)], expected, rtol=1e-6, atol=1e-9)
    assert rate(0) == 0 and rate(STEPS) == 0
    assert float(rate(4)) == pytest.approx(0.3 * (1 - 4 / 20))  # not the peak: decay counts from step 0


ORIGINALS = {
    "linear": lambda step: reference.learning_rate(step, 0.3, STEPS, 4),
    "linear_warmed": lambda step: electra.learning_rate(step, 0.3, STEPS, 4),
    "linear_peaked": lambda step: distilbert.learning_rate(step, 0.3, STEPS, 4),
    "cosine": lambda step: 0.3 * gpt1.warmup_cosine(step / STEPS, 0.2),
    "constant": lambda step: 0.3 * gpt1.warmup_constant(step / STEPS, 0.2),
    # Whose peak is 1 / sqrt(width * warmup).
    "inverse_sqrt": lambda step: mqan.learning_rate(step, 1 / (4 * 0.3**2), 4),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_schedules_are_the_originals_at_every_step(name):
    rate = jax.jit(schedule(options(schedule=name), CLOCK))
    made = [rate(step) for step in range(STEPS + 1)]
    np.testing.assert_allclose(made, [ORIGINALS[name](s) for s in range(STEPS + 1)], rtol=1e-6, atol=1e-8)


# In tenths of the peak of .3: steps 0, w - 1, w, w + 1, 10 (the middle) and 20 (the end), by hand.
@pytest.mark.parametrize(
    "name, expected",
    [
        ("linear", (0, 7.5, 8, 7.5, 5, 0)),
        ("linear_warmed", (0, 7.5 * 0.85, 8, 7.5, 5, 0)),
        ("linear_peaked", (0, 7.5, 10, 9.375, 6.25, 0)),
        ("cosine", (0, 7.5, 10, 5 * (1 + np.sqrt(0.5)), 5, 0)),
        ("constant", (0, 7.5, 10, 10, 10, 10)),
        ("inverse_sqrt", (2.5, 10, np.sqrt(80), np.sqrt(400 / 6), np.sqrt(400 / 11), np.sqrt(400 / 21))),
    ],
)
def test_schedules_at_the_ends_of_their_parts(name, expected):
    rate = schedule(options(schedule=name), CLOCK)
    np.testing.assert_allclose([rate(s) for s in (0, 3, 4, 5, 10, 20)], 0.03 * np.array(expected), atol=1e-7)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("linear", (0, 7.5, 1 + 9 * 0.75, 1 + 9 * 0.5, 1, 1)),
        ("linear_warmed", (0, 7.5 * (0.1 + 0.9 * 13 / 16), 1 + 9 * 0.75, 1 + 9 * 0.5, 1, 1)),
        ("linear_peaked", (0, 7.5, 10, 1 + 9 * 2 / 3, 1, 1)),
        ("cosine", (0, 7.5, 10, 1 + 9 * 0.5, 1, 1)),
        ("constant", (0, 7.5, 10, 10, 10, 10)),
    ],
)
def test_decays_end_early_and_above_zero_where_they_are_told_to(name, expected):
    # Down to a tenth at step 16, then level. Tenths of the peak at steps 0, w - 1, w, 8, 16, 20.
    rate = schedule(options(schedule=name, end_lr_ratio=0.1, decay_until=0.8), CLOCK)
    np.testing.assert_allclose([rate(s) for s in (0, 3, 4, 8, 16, 20)], 0.03 * np.array(expected), atol=1e-7)


def test_gpt3s_schedule_counts_tokens():
    # Appendix B: 375 million tokens of warm-up, a cosine to 10 % at 260 billion, 300 billion in all.
    step_tokens = 524_288.0
    clock = Clock(300e9, lambda step: step * step_tokens)
    config = options(
        schedule="cosine", learning_rate=6e-4, warmup=375e6 / 300e9, end_lr_ratio=0.1, decay_until=260 / 300
    )
    rate = jax.jit(schedule(config, clock))

    def expected(step):
        tokens = step * step_tokens
        if tokens <= 375e6:
            return 6e-4 * tokens / 375e6
        return 6e-4 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * min(tokens / 260e9, 1))))

    # The warm-up ends inside step 716: 375e6 / 524288 = 715.26.
    for step in (0, 1, 715, 716, 1000, 250_000, 495_000, 496_000, 572_204):
        assert float(rate(step)) == pytest.approx(expected(step), rel=2e-6)
    assert float(rate(496_000)) == pytest.approx(6e-5) and float(rate(715)) > 0.9996 * 6e-4
    # Nor does a number of tokens that no int32 holds make a difference.
    whole = schedule(config, Clock(300_000_000_000, lambda step: step * step_tokens))
    assert float(whole(1000)) == float(rate(1000))


def test_bert_truncates_a_share_to_steps_and_a_clock_of_tokens_does_not():
    # run_classifier.py: int(num_train_steps * warmup_proportion). .29 * 100 is 28.999999999999996 in float64.
    config = options(schedule="linear", learning_rate=1.0, warmup=0.29)
    steps, tokens = schedule(config, step_clock(100)), schedule(config, Clock(10.0, lambda step: step * 0.5))
    assert float(steps(27)) == pytest.approx(27 / 28) and float(steps(28)) == pytest.approx(0.72)
    # 2.9 of 10: 2.5 is before its end.
    assert float(tokens(5)) == pytest.approx(2.5 / 2.9) and float(tokens(6)) == pytest.approx(0.7)


@pytest.mark.parametrize("name", ["linear_warmed", "linear_peaked", "cosine", "constant"])
def test_a_share_of_less_than_a_step_still_starts_at_zero(name):
    """GPT-1's 0.2 % of a short fine-tuning (opt.py): x / w is 0 at step 0, whatever w."""
    rate = schedule(options(schedule=name, warmup=0.002), CLOCK)
    assert float(rate(0)) == 0 and float(rate(1)) >= 0.3 * (1 - 1 / STEPS) - 1e-6


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_warm_up_in_steps_does_not_move_with_the_length_of_the_run(name):
    share, steps = (schedule(options(schedule=name, warmup=warmup), CLOCK) for warmup in (0.2, 4))
    assert [float(share(s)) for s in range(STEPS)] == [float(steps(s)) for s in range(STEPS)]
    longer = schedule(options(schedule=name, warmup=4), step_clock(10 * STEPS))
    decay = {"linear_warmed": 1 - 2 / (10 * STEPS), "inverse_sqrt": 1.5}.get(name, 1)
    assert float(longer(2)) == pytest.approx(0.15 * decay)


@pytest.mark.parametrize("name", ORIGINALS)
def test_without_warm_up_the_first_step_has_the_peak(name):
    assert float(schedule(options(schedule=name, warmup=0.0), CLOCK)(0)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"end_lr_ratio": 1.5}, "optimizer.end_lr_ratio=1.5: a share lies between 0 and 1"),
        ({"decay_until": 0.0}, "optimizer.decay_until=0.0: a share lies between 0 and 1 and is above 0"),
    ],
)
def test_a_floor_or_an_end_out_of_bounds_is_refused(changes, line):
    with pytest.raises(UserError, match=line):
        schedule(options(**changes), CLOCK)


def test_an_unknown_schedule_is_refused_with_the_choices():
    with pytest.raises(UserError, match="unknown optimizer.schedule 'linaer'; did you mean 'linear'"):
        schedule(options(schedule="linaer"), CLOCK)


def test_decay_reaches_matrices_and_tables_and_neither_norms_nor_biases():
    config = bert.get_config("tiny")
    params = jax.eval_shape(lambda: initial_params(build_model(config), config.seed))
    chosen = {}
    jax.tree_util.tree_map_with_path(
        lambda path, flag: chosen.__setitem__(path_name(path), flag), decayed(params, config.optimizer.no_decay)
    )
    assert {name for name, flag in chosen.items() if flag} == {
        *(f"embeddings/{name}" for name in ("token", "position", "segment")),
        *(f"encoder/layers/attention/{name}/kernel" for name in ("query", "key", "value", "output")),
        *(f"encoder/layers/ffn/{name}/kernel" for name in ("inner", "output")),
        *(f"{name}/dense/kernel" for name in ("pooler", "mlm", "pair")),
    }


def shapes_of(module, variant, **changes):
    """The parameters' names and shapes of a config's model."""
    config = module.get_config(variant)
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return jax.eval_shape(lambda: initial_params(build_model(config), config.seed))


def by_part(values):
    """Values by parameter, as one for each distinct place: {'layers': [3, 2, 1], 'embeddings': 4, ...}."""
    made = {}
    for name, value in values.items():
        part = "layers" if "/layers/" in name else "/".join(name.split("/")[: 1 + name.startswith("encoder/")])
        value = value.reshape(-1).tolist()
        made.setdefault(part, set()).add(tuple(value))
    return {part: list(*values) if len(values) == 1 else sorted(values) for part, values in made.items()}


LEVELS = {
    "BERT": ((bert, "tiny,smoke", dict(model__layers=3)),
             {"embeddings": [4], "layers": [3, 2, 1], "pooler": [1], "mlm": [0], "pair": [0]}),
    "GPT-2": ((gpt2, "small,smoke", {}), {"embeddings": [3], "layers": [2, 1], "encoder/final_norm": [1]}),
    "ELECTRA": ((finetune, "electra-small,topics,smoke", dict(task__classes=2)),
                {"embeddings": [3], "encoder/projection": [3], "layers": [2, 1], "classifier": [0]}),
    "ALBERT": ((albert_config, "base,smoke", dict(model__layers=4, losses__mlm=0.0, losses__sop=0.0)),
               {"embeddings": [2], "encoder/projection": [2], "layers": [1], "pooler": [1]}),
    "two groups": ((albert_config, "base,smoke", dict(model__layers=5, model__share_groups=2, losses__mlm=0.0)),
                   {"embeddings": [3], "encoder/projection": [3], "layers": [2, 1], "pooler": [1], "pair": [0]}),
    # Attention is in two sets, of layers 0 to 2 and 3 to 4; the feed-forward networks are five.
    "shared attention": (
        (bert, "tiny,smoke", dict(model__layers=5, model__share="attention", model__share_groups=2, losses__nsp=0.0)),
        {"embeddings": [6], "layers": [(3, 1), (5, 4, 3, 2, 1)], "pooler": [1], "mlm": [0]}),
}  # fmt: skip


@pytest.mark.parametrize("model", LEVELS)
def test_levels_are_counted_from_the_head_down(model):
    (module, variant, changes), expected = LEVELS[model]
    params = shapes_of(module, variant, **changes)
    made = levels(params)
    assert by_part(made) == expected
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        assert np.broadcast_shapes(made[path_name(path)].shape, x.shape) == x.shape


@pytest.mark.parametrize("size, suffix, gap", [("small", "", 0), ("large", "", 0), ("base", ",release", 1)])
def test_layer_decay_is_electras(size, suffix, gap):
    """Table 7 and model/optimization.py, name by name."""
    config = finetune.get_config(f"electra-{size},topics{suffix}")
    config.task.classes = 2
    params = jax.eval_shape(lambda: initial_params(build_model(config), config.seed))
    n, decay = config.model.layers, {"small": 0.8, "base": 0.8, "large": 0.9}[size]
    depths = {"embeddings/": 0, "encoder/projection/": 0, "classifier/": n + 1 + gap}
    depths |= {f"encoder/layers/{layer}/": layer + 1 for layer in range(n)}
    made = factors(config.optimizer, params)
    assert {part for name in made for part in depths if name.startswith(part)} <= set(depths)
    for name, factor in made.items():
        numbered = [name]
        if "/layers/" in name:
            numbered = [name.replace("layers", f"layers/{layer}") for layer in range(n)]
        for tensor, value in zip(numbered, factor.reshape(-1), strict=True):
            (depth,) = (depth for part, depth in depths.items() if tensor.startswith(part))
            assert value == pytest.approx(decay ** (n + 1 + gap - depth), rel=1e-12), tensor
    # The top layer, as the paper has it and as the release does.
    assert made["encoder/layers/ffn/inner/kernel"].reshape(-1)[-1] == pytest.approx(decay ** (1 + gap))


TREE = {
    "embeddings/token": (5, 3),
    "encoder/layers/ffn/kernel": (3, 3, 4),
    "encoder/layers/ffn/bias": (3, 4),
    "pooler/dense/kernel": (3, 3),
    "classifier/dense/kernel": (3, 2),
    "classifier/dense/bias": (2,),
}


def mapped(mapping):
    """A function under vmap or pmap, on two copies of everything; the second one's results."""

    def run(function):
        both = mapping(function)
        return lambda *x: jax.tree.map(lambda x: np.asarray(x)[1], both(*jax.tree.map(lambda x: np.stack([x, x]), x)))

    return run


def walk(config, steps=1, names=tuple(TREE), clock=CLOCK, transform=jax.jit):
    """The updates of TREE's parameters in each of so many steps, of the same gradients whatever the config."""
    random = np.random.default_rng(0)
    draw = lambda: {name: random.normal(size=shape).astype(np.float32) for name, shape in TREE.items()}  # noqa: E731
    params, *gradients = ({name: tree[name] for name in names} for tree in [draw() for _ in range(steps + 1)])
    optimizer = build_optimizer(config, clock)
    step = transform(lambda gradients, state, params: optimizer.update(gradients, state, params))
    state, made = optimizer.init(params), []
    for gradient in gradients:
        updates, state = step(gradient, state, params)
        params = optax.apply_updates(params, updates)
        made.append(updates)
    return made


# What is between the names of TREE's parameters, in its order, and the schedule's rate; of layers from the lowest.
FACTORS = {
    "layer-decay": (dict(layer_decay=0.5), [1 / 16, [1 / 8, 1 / 4, 1 / 2], [1 / 8, 1 / 4, 1 / 2], 1 / 2, 1, 1]),
    "gap": (dict(layer_decay=0.5, layer_decay_gap=1),
            [1 / 32, [1 / 16, 1 / 8, 1 / 4], [1 / 16, 1 / 8, 1 / 4], 1 / 4, 1, 1]),
    "head": (dict(lr_multipliers=("^classifier=10",)), [1, [1, 1, 1], [1, 1, 1], 1, 10, 10]),
    "first-match": (dict(lr_multipliers=("bias=3", "^classifier|layers=2")), [1, [2, 2, 2], [3, 3, 3], 1, 2, 3]),
    "several": (dict(lr_multipliers=("token=0.5", "ffn/kern{1,2}el=2")), [0.5, [2, 2, 2], [1, 1, 1], 1, 1, 1]),
    "equals-sign": (dict(lr_multipliers=("(?=emb)=0.5",)), [0.5, [1, 1, 1], [1, 1, 1], 1, 1, 1]),
    "one-layer": (dict(lr_multipliers=("layers/1/ffn/kernel=4",)), [1, [1, 4, 1], [1, 1, 1], 1, 1, 1]),
    "both": (dict(lr_multipliers=("layers=4",), layer_decay=0.5), [1 / 16, [1 / 2, 1, 2], [1 / 2, 1, 2], 1 / 2, 1, 1]),
    "rate-0": (dict(lr_multipliers=("^emb=0",)), [0, [1, 1, 1], [1, 1, 1], 1, 1, 1]),
    "frozen": (dict(frozen="^emb"), [0, [1, 1, 1], [1, 1, 1], 1, 1, 1]),
    "frozen-layers": (dict(frozen="^emb|layers/[01]/"), [0, [0, 0, 1], [0, 0, 1], 1, 1, 1]),
    "frozen-first": (dict(frozen="token", lr_multipliers=("^emb=9",)), [0, [1, 1, 1], [1, 1, 1], 1, 1, 1]),
}  # fmt: skip
PLAIN = dict(schedule="constant", warmup=0.0)


@pytest.mark.parametrize("name", ["bert_adam", "gpt1_adam", "adamw", "lamb"])
def test_a_step_is_the_named_multiple_of_what_it_was(name):
    # Without a clip, in whose norm frozen gradients do not count; decay is a good part of a step.
    usual = PLAIN | dict(name=name, grad_clip_norm=1e9, weight_decay=5.0)
    (plain,) = walk(options(**usual))
    for what, (changes, expected) in FACTORS.items():
        (made,) = walk(options(**usual, **changes), transform=lambda function: function)
        for (tensor, shape), factor in zip(TREE.items(), expected, strict=True):
            factor = np.array(factor)
            factor = factor.reshape(factor.shape + (1,) * (len(shape) - 1) * factor.ndim)
            np.testing.assert_allclose(
                made[tensor], factor * plain[tensor], rtol=1e-5, atol=1e-7 * np.all(factor), err_msg=f"{what}: {tensor}"
            )


def test_what_is_frozen_has_no_part_in_the_norm():
    # Epsilon is large, so that Adam does not take the clip's factor out again.
    usual = PLAIN | dict(epsilon=0.1)
    made = walk(options(**usual, frozen="^embeddings|^encoder"), steps=3)
    alone = walk(options(**usual), steps=3, names=[name for name in TREE if not name.startswith("e")])
    for ours, theirs in zip(made, alone, strict=True):
        for name, update in theirs.items():
            np.testing.assert_allclose(ours[name], update, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "transform, clock",
    [
        (jax.jit, CLOCK),
        (jax.jit, Clock(10.0, lambda step: step * 0.5)),
        (mapped(lambda function: jax.jit(jax.vmap(function))), CLOCK),
        (mapped(jax.pmap), CLOCK),
    ],
    ids=["steps", "tokens", "vmap", "pmap"],
)
def test_levels_are_unfrozen_one_after_the_other_from_the_top(transform, clock):
    # A tenth of 20 steps a level: the step that each of TREE's parameters starts at.
    starts = [8, [6, 4, 2], [6, 4, 2], 2, 0, 0]
    usual = PLAIN | dict(weight_decay=0.0, frozen="bias")  # a frozen one stays as it is
    plain, made = walk(options(**usual), 10), walk(options(**usual, unfreeze=0.1), 10, clock=clock, transform=transform)
    for step, (ours, theirs) in enumerate(zip(made, plain, strict=True)):
        for (name, shape), start in zip(TREE.items(), starts, strict=True):
            moving = np.array(start) <= step
            moving = moving.reshape(moving.shape + (1,) * (len(shape) - 1) * moving.ndim)
            # Its moments are those of a layer that was never frozen.
            np.testing.assert_allclose(ours[name], theirs[name] * moving, rtol=1e-5, err_msg=f"{name}, step {step}")


def test_what_waits_does_not_decay():
    config = options(**PLAIN, unfreeze=0.1, weight_decay=5.0)
    made = walk(config, 9)
    assert all((updates["embeddings/token"] == 0).all() for updates in made[:8])
    assert (made[8]["embeddings/token"] != 0).all()


NO_RATE = "is not REGEX=MULTIPLIER with a number of 0 or more"
REFUSED = {
    "misspelt frozen": (dict(frozen="^embedings"), r"optimizer.frozen: '\^embedings' matches no parameter; their "
                        "names begin with classifier, embeddings, encoder, pooler"),
    "misspelt rate": (dict(lr_multipliers=("^classifier=2", "layers/3/=2")), "lr_multipliers: 'layers/3/' matches no parameter"),
    "no number": (dict(lr_multipliers=("^classifier",)), rf"optimizer.lr_multipliers: '\^classifier' {NO_RATE}"),
    "a word": (dict(lr_multipliers=("^classifier=ten",)), NO_RATE),
    "no regex": (dict(lr_multipliers=("=2",)), NO_RATE),
    "below 0": (dict(lr_multipliers=("^classifier=-1",)), NO_RATE),
    "not a number": (dict(lr_multipliers=("^classifier=nan",)), NO_RATE),
    "no regular expression": (dict(frozen="("), r"optimizer.frozen: '\(' is no regular expression: missing \)"),
    "everything": (dict(frozen="."), "freeze every parameter: nothing would be trained"),
    "too slow": (dict(unfreeze=0.25), "optimizer.unfreeze=0.25: 4 levels lie below the head, .* set it below 0.25"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_part_that_is_none_is_refused(what):
    changes, message = REFUSED[what]
    with pytest.raises(UserError, match=message) as error:
        walk(options(**changes))
    assert "\n" not in str(error.value)


def test_the_state_is_as_it_was_where_no_part_has_a_rate_of_its_own():
    """Checkpoints of runs that say nothing of parts go on."""
    params = {"kernel": jnp.zeros(2)}
    plain, parts = (build_optimizer(options(**changes), CLOCK).init(params) for changes in ({}, {"layer_decay": 0.5}))
    assert len(plain) == 4 and len(parts) == 6
