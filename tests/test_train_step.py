"""The pure step: what it computes, and that it computes it once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import bert
from ssl_jax import train
from ssl_jax.models.model import build_model
from ssl_jax.parallel import build_parallel
from ssl_jax.tokenizers import Vocabulary
from tests.reference import bert as reference

SIZE = 512


@pytest.fixture(scope="module")
def parts():
    """Config, vocabulary, model, initial state and one batch of 8 x 32."""
    config = bert.get_config("tiny,smoke")
    config.model.dropout = config.model.attention_dropout = 0.0
    special = np.arange(SIZE) < 5
    vocabulary = Vocabulary(SIZE, 0, 1, 2, 3, 4, special, ~special)
    model = build_model(config)
    state = jax.jit(lambda: train.initial_state(config, model, vocabulary))()
    random = np.random.default_rng(0)
    batch = dict(
        tokens=random.integers(5, SIZE, (8, 32), dtype=np.int32),
        mask=np.arange(32) < random.integers(10, 33, (8, 1)),
        segments=np.zeros((8, 32), np.int32),
        pair=random.integers(0, 2, 8, dtype=np.int32),
        index=np.arange(8, dtype=np.int32),
    )
    return config, vocabulary, model, state, batch


def compile_step(config, model, vocabulary):
    step = train.make_train_step(config, model, vocabulary)
    return jax.jit(lambda state, batch: step(state, batch, total=lambda x: x, shard=lambda: 0))


def test_five_steps_equal_the_originals_optimizer_on_the_loss_of_the_paper(parts):
    """Loss: mean over all masked tokens plus mean over all pairs (A.2), optimizer as in the release."""
    config, vocabulary, model, state, batch = parts
    corrupted = jax.jit(train.make_corrupt(config, vocabulary))(batch)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        out = model.apply({"params": params}, corrupted)
        chosen = jax.nn.log_softmax(out["mlm_logits"])
        chosen = jnp.take_along_axis(chosen, corrupted["targets"][..., None], -1)[..., 0]
        masked = -(chosen * corrupted["weights"]).sum() / corrupted["weights"].sum()
        pair = jax.nn.log_softmax(out["pair_logits"])
        return masked - pair[jnp.arange(8), corrupted["pair"]].mean()

    def flat(tree):
        return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}

    step = compile_step(config, model, vocabulary)
    params = state["params"]
    structure = jax.tree.structure(params)
    m = {name: np.zeros_like(x) for name, x in flat(params).items()}
    v = {name: np.zeros_like(x) for name, x in flat(params).items()}
    decayed = {name for name in m if "norm" not in name and "bias" not in name}
    for number in range(5):
        value, gradients = loss(params)
        state, ours = step(state, batch)
        np.testing.assert_allclose(ours, value, rtol=1e-5)
        rate = reference.learning_rate(number, 1e-3, config.steps, round(0.01 * config.steps))
        new = reference.adam_weight_decay_step(
            flat(params), reference.clip_by_global_norm(flat(gradients), 1.0), m, v, rate, decayed
        )
        params = jax.tree.unflatten(structure, list(new.values()))
        for name, mine in flat(state["params"]).items():
            np.testing.assert_allclose(mine, new[name], rtol=1e-3, atol=2e-5, err_msg=name)


def test_the_pass_that_only_weighs_the_batch_costs_nothing(parts):
    """Contract 4 calls the model twice in the source and once in the program."""
    config, vocabulary, model, state, batch = parts
    step = compile_step(config, model, vocabulary).lower(state, batch).compile()
    measure = train.make_measure(config, model, vocabulary)
    forward = jax.jit(lambda p, b: measure(p, b, total=lambda x: x, shard=None))
    forward = forward.lower(state["params"], batch).compile()
    one, whole = (program.cost_analysis()["flops"] for program in (forward, step))
    # Forward, and two products back for each: 3, and the optimizer. A second forward pass would make it 4.
    assert whole < 3.6 * one


def test_dropout_is_on_in_training_and_differs_between_steps_and_devices(parts):
    _, vocabulary, _, state, batch = parts
    config = bert.get_config("tiny,smoke")
    model = build_model(config)
    step = train.make_train_step(config, model, vocabulary)
    run = jax.jit(lambda state, shard: step(state, batch, total=lambda x: x, shard=lambda: shard)[1])
    losses = [float(run(state | {"step": jnp.int32(number)}, shard)) for number, shard in [(0, 0), (0, 0), (1, 0), (0, 1)]]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_sums_start_anew_after_each_line_of_metrics(parts):
    config, vocabulary, model, state, batch = parts
    step = compile_step(config, model, vocabulary)
    losses = []
    for _ in range(config.log_every + 2):
        state, loss = step(state, batch)
        losses.append(float(loss))
    total, count = state["sums"]["loss"]
    assert count == 2
    np.testing.assert_allclose(total, sum(losses[-2:]), rtol=1e-5)


def test_gradient_norm_is_reported_before_clipping(parts):
    config, vocabulary, model, state, batch = parts
    corrupted = jax.jit(train.make_corrupt(config, vocabulary))(batch)
    terms = train.make_terms(config, model)

    def loss(params):
        return sum(term.sum / term.weight for term in terms(params, corrupted, {}).values())

    norm = optax.global_norm(jax.jit(jax.grad(loss))(state["params"]))
    after, _ = compile_step(config, model, vocabulary)(state, batch)
    np.testing.assert_allclose(after["sums"]["gradient_norm"][0], norm, rtol=1e-4)


@pytest.mark.parametrize("average", ["global", "device"])
def test_the_gradient_is_that_of_the_named_average(parts, average):
    """`device` is the originals' mean of per-core means, `global` the mean over all that counts."""
    _, vocabulary, model, state, batch = parts
    config = bert.get_config("tiny,smoke")
    config.model.dropout = config.model.attention_dropout = 0.0
    config.loss_average = average
    corrupted = jax.jit(train.make_corrupt(config, vocabulary))(batch)
    terms = train.make_terms(config, model)
    weights = np.asarray(corrupted["weights"].reshape(4, -1).sum(1))
    assert len(set(weights.tolist())) > 1  # the devices have unequal numbers of masked tokens

    def loss(params):
        if average == "global":
            shares = [corrupted]
        else:
            shares = [jax.tree.map(lambda x: x[2 * i : 2 * i + 2], corrupted) for i in range(4)]  # noqa: B023
        means = [sum(t.sum / t.weight for t in terms(params, share, {}).values()) for share in shares]
        return sum(means) / len(means)

    expected = optax.global_norm(jax.jit(jax.grad(loss))(state["params"]))
    devices = build_parallel(config.parallel)
    step = devices.compile(train.make_train_step(config, model, vocabulary))
    after, _ = step(devices.adopt(state), devices.put_batch(batch))
    np.testing.assert_allclose(devices.read(after["sums"]["gradient_norm"][0]), expected, rtol=1e-5)


def test_a_sharded_state_stays_where_it_is(parts):
    _, vocabulary, model, state, batch = parts
    config = bert.get_config("tiny,smoke")
    config.parallel.update(mode="mesh", fsdp=2, tensor=2)
    devices = build_parallel(config.parallel)
    state = devices.create(lambda: train.initial_state(config, model, vocabulary))
    step = devices.compile(train.make_train_step(config, model, vocabulary))
    before = jax.tree.map(lambda x: x.sharding, state)
    inner = state["params"]["encoder"]["layers"]["ffn"]["inner"]["kernel"]
    assert inner.addressable_data(0).shape == (2, 32 // 2, 128 // 2)
    for _ in range(2):
        state, _ = step(state, devices.put_batch(batch))
    assert jax.tree.all(jax.tree.map(lambda x, old: x.sharding.is_equivalent_to(old, x.ndim), state, before))
    assert step._cache_size() == 1
