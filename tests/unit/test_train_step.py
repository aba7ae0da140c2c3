"""The pure step: what it computes is in test_five_steps.py; that it computes it once, and reports it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import bert, electra, finetune, gpt1
from ssl_jax.models.model import build_model
from ssl_jax.optimizers import build_optimizer, step_clock
from ssl_jax.parallel import build_parallel
from ssl_jax.step import initial_params, initial_state, make_corrupt, make_measure, make_terms, make_train_step
from ssl_jax.tokenization.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # compiles programs, or trains

SIZE = 512


@pytest.fixture(scope="module")
def parts():
    """Config, vocabulary, model, initial state and one batch of 8 x 32."""
    config = bert.get_config("tiny,smoke")
    config.model.dropout = config.model.attention_dropout = 0.0
    special = np.arange(SIZE) < 5
    vocabulary = Vocabulary(SIZE, 0, 1, 2, 3, 4, special, ~special, 3)
    model = build_model(config)
    state = jax.jit(lambda: initial_state(config, model, vocabulary))()
    random = np.random.default_rng(0)
    batch = dict(
        tokens=random.integers(5, SIZE, (8, 32), dtype=np.int32),
        mask=np.arange(32) < random.integers(10, 33, (8, 1)),
        segments=np.zeros((8, 32), np.int32),
        pair=random.integers(0, 2, 8, dtype=np.int32),
        index=np.arange(8, dtype=np.int32),
    )
    return config, vocabulary, model, state, batch


@pytest.fixture(scope="module")
def compiled_step(parts):
    config, vocabulary, model, state, batch = parts
    step = make_train_step(config, model, vocabulary)
    step = jax.jit(functools.partial(step, total=lambda x: x, shard=lambda: 0))
    return step.lower(state, batch).compile()


def test_the_pass_that_only_weighs_the_batch_costs_nothing(parts, compiled_step):
    """Contract 4 calls the model twice in the source and once in the program."""
    config, vocabulary, model, state, batch = parts
    measure = make_measure(config, model, vocabulary)
    forward = jax.jit(lambda p, b: measure(p, b, total=lambda x: x, shard=None))
    forward = forward.lower(state["params"], batch).compile()
    one, whole = (program.cost_analysis()["flops"] for program in (forward, compiled_step))
    # Forward, and two products back for each: 3, and the optimizer. A second forward pass would make it 4.
    assert whole < 3.6 * one


def test_a_frozen_trunk_costs_no_backward_pass(parts, compiled_step):
    config, vocabulary, model, state, batch = parts
    config = config.copy_and_resolve_references()
    config.optimizer.frozen = "^(embeddings|encoder)/"
    optimizer = build_optimizer(config.optimizer, step_clock(config.steps))
    state = state | {"optimizer": optimizer.init(state["params"])}
    step = jax.jit(functools.partial(make_train_step(config, model, vocabulary), total=lambda x: x, shard=lambda: 0))
    compiled = step.lower(state, batch).compile()
    whole, frozen = (program.cost_analysis()["flops"] for program in (compiled_step, compiled))
    assert frozen < 0.45 * whole  # forward is a third
    state, _ = compiled(state, batch)
    # The norm that is logged is the one that the clip sees.
    moments = state["optimizer"][2].mean
    assert not any(x.any() for name in ("embeddings", "encoder") for x in jax.tree.leaves(moments[name]))
    total, _ = state["sums"]["gradient_norm"]
    np.testing.assert_allclose(min(total, 1.0), 10 * optax.global_norm(moments), rtol=1e-4)  # b1 is 0.9


def test_dropout_is_on_in_training_and_differs_between_steps_examples_and_seeds(parts):
    _, vocabulary, _, state, batch = parts
    config = bert.get_config("tiny,smoke")
    config.corruption.update(mask=0.0, random=0.0, rate=1.0)  # the same tokens asked for, whatever the number
    model = build_model(config)
    step = make_train_step(config, model, vocabulary)
    run = jax.jit(lambda state, batch: step(state, batch, total=lambda x: x, shard=None)[1])
    later, others = state | {"step": jnp.int32(1)}, batch | {"index": batch["index"] + 8}
    another = state | {"seed": state["seed"] + 1}
    losses = [
        float(run(*at)) for at in ((state, batch), (state, batch), (later, batch), (state, others), (another, batch))
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 4


CUT = {
    "BERT": (bert, "tiny,smoke", {}),
    "GPT-1, tables dropped": (gpt1, "base,release,smoke", {}),
    "ELECTRA": (electra, "small,smoke", {}),
    "choices": (finetune, "gpt1-base,rocstories,release,smoke", {"model.vocab_size": SIZE, "task.classes": 3, "losses.clm": 0.0}),
    "both orders": (finetune, "gpt1-base,mrpc,smoke", {"model.vocab_size": SIZE, "task.classes": 2, "losses.clm": 0.0, "task.orders": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_with_dropout_the_terms_of_examples_add_up_however_they_are_put_together(name, parts):
    module, variant, changes = CUT[name]
    _, vocabulary, _, _, batch = parts
    config = module.get_config(variant)
    config.update_from_flattened_dict(
        changes | {"model.layers": 1, "model.dropout": 0.3, "model.attention_dropout": 0.3}
    )
    texts = config.task.classes if config.losses.choose else config.task.orders
    if texts > 1:
        batch = {name: np.stack([np.roll(x, n, axis=0) for n in range(texts)], axis=1) if x.ndim == 2 else x
                 for name, x in batch.items()} | {"label": batch["pair"]}  # fmt: skip
    model = build_model(config)
    params = jax.jit(lambda: jax.tree.map(lambda x: 4 * x, initial_params(model, config.seed)))()
    corrupt, terms = make_corrupt(config, vocabulary), make_terms(config, model)

    @jax.jit
    def made(batch, key):
        return terms(params, corrupt(batch), {} if key is None else {"dropout": key})

    def rows(chosen):
        return {name: x[chosen] for name, x in batch.items()}

    key = jax.random.key(3)
    whole, undropped = made(batch, key), made(batch, None)
    sums = jax.tree.map(lambda a, b: a + b, made(rows([6, 1, 4, 3]), key), made(rows([0, 7, 2, 5]), key))
    for loss, term in whole.items():
        np.testing.assert_allclose(sums[loss].sum, term.sum, rtol=1e-5)
        assert abs(term.sum - undropped[loss].sum) > 1e-3 * abs(term.sum)


def test_sums_start_anew_after_each_line_of_metrics(parts, compiled_step):
    config, _, _, state, batch = parts
    losses = []
    for _ in range(config.run.log_every + 2):
        state, loss = compiled_step(state, batch)
        losses.append(float(loss))
    total, count = state["sums"]["loss"]
    assert count == 2
    np.testing.assert_allclose(total, sum(losses[-2:]), rtol=1e-5)


def by_device(config, parts):
    """Without dropout: a batch's terms, and the corrupted batch as each of four devices has it."""
    _, vocabulary, model, _, batch = parts
    config.model.dropout = config.model.attention_dropout = 0.0
    corrupted = jax.jit(make_corrupt(config, vocabulary))(batch)
    return make_terms(config, model), jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), corrupted)


def gradient_norm(config, parts):
    """What the step reports."""
    _, vocabulary, model, state, batch = parts
    devices = build_parallel(config.parallel)
    step = devices.compile(make_train_step(config, model, vocabulary))
    after, _ = step(devices.adopt(state), devices.put_batch(batch))
    return devices.read(after["sums"]["gradient_norm"][0])


def test_the_gradient_of_the_average_by_device_is_the_mean_of_the_devices_means(parts):
    """The originals' CrossShardOptimizer. The global average, the default, is what test_five_steps.py is about."""
    state, config = parts[3], bert.get_config("tiny,smoke")
    config.loss_average = "device"
    terms, shares = by_device(config, parts)
    weights = np.asarray(shares["weights"].sum((1, 2)))
    assert len(set(weights.tolist())) > 1  # the devices have unequal numbers of masked tokens

    def mean(params, share):
        return sum(term.sum / term.weight for term in terms(params, share, {}).values())

    def loss(params):
        return jax.vmap(mean, in_axes=(None, 0))(params, shares).mean()

    expected = optax.global_norm(jax.jit(jax.grad(loss))(state["params"]))
    np.testing.assert_allclose(gradient_norm(config, parts), expected, rtol=1e-5)


def test_gradients_clipped_by_device_are_clipped_before_they_are_summed(parts):
    """bert/optimization.py: `clip_by_global_norm` on each TPU core, then CrossShardOptimizer's sum."""
    state, config = parts[3], bert.get_config("tiny,smoke")
    config.loss_average = config.optimizer.grad_clip_by = "device"
    terms, shares = by_device(config, parts)

    @jax.jit
    def gradient(params, share):
        return jax.grad(lambda params: sum(term.sum / term.weight for term in terms(params, share, {}).values()))(
            params
        )

    own = [gradient(state["params"], jax.tree.map(lambda x: x[n], shares)) for n in range(4)]  # noqa: B023
    norms = [float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(gradients)))) for gradients in own]
    most = config.optimizer.grad_clip_norm = float(np.median(norms))  # two of the devices are clipped
    clipped = [jax.tree.map(lambda x: x * min(1, most / norm), own) for own, norm in zip(own, norms, strict=True)]  # noqa: B023
    expected = optax.global_norm(jax.tree.map(lambda *parts: sum(parts), *clipped))
    np.testing.assert_allclose(gradient_norm(config, parts), expected, rtol=1e-5)


def test_a_sharded_state_stays_where_it_is(parts):
    _, vocabulary, model, state, batch = parts
    config = bert.get_config("tiny,smoke")
    config.parallel.update(mode="mesh", fsdp=2, tensor=2)
    devices = build_parallel(config.parallel)
    state = devices.create(lambda: initial_state(config, model, vocabulary))
    step = devices.compile(make_train_step(config, model, vocabulary))
    before = jax.tree.map(lambda x: x.sharding, state)
    inner = state["params"]["encoder"]["layers"]["ffn"]["inner"]["kernel"]
    assert inner.addressable_data(0).shape == (2, 32 // 2, 128 // 2)
    for _ in range(2):
        state, _ = step(state, devices.put_batch(batch))
    assert jax.tree.all(jax.tree.map(lambda x, old: x.sharding.is_equivalent_to(old, x.ndim), state, before))
    assert step._cache_size() == 1


@pytest.mark.parametrize("mode", ["pmap", "mesh"])
def test_a_step_is_compiled_once_for_a_state_that_was_created_and_for_its_own_results(mode, smoke_config):
    devices = build_parallel(smoke_config(("parallel.mode", mode)).parallel)
    traced = []

    def step(state, batch, *, total, shard):
        traced.append(batch)
        return jax.tree.map(lambda x: x + total(batch.sum()), state), batch.sum()

    compiled = devices.compile(step, donate=True)
    state = devices.create(lambda: {"params": {"a": jnp.zeros((4, 2)), "b": jnp.zeros(())}})
    for _ in range(3):
        state, _ = compiled(state, devices.put_batch(np.ones(8, np.float32)))
    assert len(traced) == 1
    restored = devices.adopt(jax.tree.map(np.asarray, devices.plain(state)))
    compiled(restored, devices.put_batch(np.ones(8, np.float32)))
    assert len(traced) == 1
