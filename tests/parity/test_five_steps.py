"""Five steps of every paper's recipe are five steps of a plain statement of that paper.

The statements (tests/reference) share no code with ssl_jax but for what has tests of its own: which tokens are
masked, and the noise that ELECTRA's sampling adds (test_corruption.py).
"""

import functools
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import albert, bert, distilbert, electra, gpt1, gpt2, gpt3, tinybert
from ssl_jax import corruption, two_stage
from ssl_jax.distill import teachers as distill
from ssl_jax.models.model import build_model
from ssl_jax.optimizers import path_name
from ssl_jax.parallel import build_parallel
from ssl_jax.plan import make_clock, plan_phases
from ssl_jax.step import initial_params, initial_state, make_corrupt, make_terms, make_train_step
from ssl_jax.tokenization.vocabulary import Vocabulary
from tests.reference import albert as plain_albert
from tests.reference import bert as plain_bert
from tests.reference import distilbert as plain_distilbert
from tests.reference import electra as plain_electra
from tests.reference import gpt1 as plain_gpt1
from tests.reference import gpt2 as plain_gpt2
from tests.reference import gpt3 as plain_gpt3
from tests.reference import tinybert as plain_tinybert

# A vocabulary so small that a sample of ELECTRA's generator is now and then the token itself.
SIZE, LENGTH, RUN, WARMUP, PEAK, STEPS = 48, 32, 9, 2 / 9, 1e-3, 5


class System(NamedTuple):
    """A config, and the statement of the same paper."""

    config: ModuleType
    variant: str
    plain: Any  # has `learning_rate`, `step` and, unless it is BERT's, `clip`
    loss: Callable
    changes: dict = {}
    teacher: tuple = ()  # a config, a variant, perhaps changes


def sampling(loss):
    """An ELECTRA's loss with the run's own noise in the sampling from the statement's logits."""
    return lambda params, batch: loss(params, batch, lambda logits: corruption.sample(logits, batch["keys"], 1.0))


def grouped_loss(params, batch):
    return plain_albert.loss(params, batch, layers=3, shared=("attention",), groups=2)


# Students of one layer learn from two, and TinyBERT's two from four, which are wider, too.
ONE = {"model.layers": 1}
WIDE = {"model.hidden_size": 40}
KNOWING = WIDE | {"losses.classify": 1.0, "task.classes": 3}
RELEASE = SimpleNamespace(
    learning_rate=plain_tinybert.release_learning_rate,
    step=plain_tinybert.release_step,
    clip=plain_tinybert.release_clip,
)
GROUPED = {"model.layers": 3, "model.share": "attention", "model.share_groups": 2}
SYSTEMS = {
    "BERT": System(bert, "tiny,smoke", plain_bert, plain_bert.loss),
    "GPT-1": System(gpt1, "base,smoke", plain_gpt1, plain_gpt1.loss),
    "GPT-2": System(gpt2, "small,smoke", plain_gpt2, plain_gpt2.loss),
    "GPT-3": System(gpt3, "small,smoke", plain_gpt3, plain_gpt3.loss),
    "ALBERT": System(albert, "base,smoke", plain_albert, plain_albert.loss),
    # Several tensors in a stack: LAMB has a ratio for each.
    "ALBERT, attention shared in 2 groups": System(albert, "base,smoke", plain_albert, grouped_loss, GROUPED),
    "ELECTRA": System(electra, "small,smoke", plain_electra, sampling(plain_electra.loss)),
    "ELECTRA, adversarial": System(
        electra, "small,smoke", plain_electra, sampling(plain_electra.adversarial_loss),
        {"losses.mlm": 0.0, "losses.adversarial": 1.0},
    ),
    "DistilBERT": System(
        distilbert, "base,smoke", plain_distilbert, plain_distilbert.loss, ONE, (bert, "tiny,smoke")
    ),
    "DistilGPT-2": System(
        distilbert, "gpt2,smoke", plain_distilbert, plain_distilbert.causal_loss, ONE, (gpt2, "small,smoke")
    ),
    "TinyBERT": System(
        tinybert, "4-312,smoke", plain_tinybert, plain_tinybert.loss,
        {"teacher.hidden_size": 40}, (bert, "tiny,smoke", WIDE | {"model.layers": 4}),
    ),
    "TinyBERT, release": System(
        tinybert, "4-312,release,smoke", RELEASE, plain_tinybert.release_loss,
        ONE | {"teacher.hidden_size": 40}, (bert, "tiny,smoke", WIDE),
    ),
    "TinyBERT, prediction layer": System(
        tinybert, "4-312,prediction,release,smoke", RELEASE, plain_tinybert.prediction_loss,
        ONE | {"task.classes": 3}, (bert, "tiny,smoke", KNOWING),
    ),
}  # fmt: skip


def make_config(module, variant, changes=()):
    """A smoke config without dropout, whose warm-up ends within five steps."""
    config = module.get_config(variant)
    config.steps = RUN
    config.model.vocab_size = SIZE
    config.model.dropout = config.model.attention_dropout = 0.0
    config.optimizer.warmup = WARMUP
    config.update_from_flattened_dict(dict(changes))
    return config


def make_vocabulary():
    """Ids 0 to 4 are special; a third of the tokens continue a word."""
    special = np.arange(SIZE) < 5
    return Vocabulary(SIZE, 0, 1, 2, 3, 4, special, np.arange(SIZE) % 3 != 0, 3)


def make_batch(number, rows):
    """Rows of different lengths, two segments each; another `number`, another batch."""
    random = np.random.default_rng(number)
    ends = random.integers(10, LENGTH + 1, (rows, 1))
    return dict(
        tokens=random.integers(5, SIZE, (rows, LENGTH), dtype=np.int32),
        mask=np.arange(LENGTH) < ends,
        segments=(np.arange(LENGTH) >= ends // 2).astype(np.int32),
        pair=random.integers(0, 2, rows, dtype=np.int32),
        index=np.arange(rows, dtype=np.int32) + 100 * number,
        label=random.integers(0, 3, rows, dtype=np.int32),
    )


# How often each token occurs, for a masking that asks.
COUNTS = 1000 // (np.arange(SIZE) + 1)


def make_params(config, model, seed=0):
    """Parameters far from the initial ones, where biases are 0 and norms the identity."""
    random = np.random.default_rng(seed)

    def start(path, x):
        return (path_name(path).endswith("scale") + random.normal(0, 0.2, x.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(start, jax.eval_shape(lambda: initial_params(model, config.seed)))


def make_state(config, model):
    """Step 0 with such parameters."""
    shapes = jax.eval_shape(lambda: initial_state(config, model, make_vocabulary()))
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return state | {"params": make_params(config, model)}


def make_teachers(system, config):
    """What a system's teachers are to a step: `teach` and a list of their parameters; without any, None and []."""
    if not system.teacher:
        return None, []
    theirs = make_config(*system.teacher)
    model = build_model(theirs)
    return distill.make_teach(config, [model]), [make_params(theirs, model, 1)]


def tensors(tree):
    """name -> float64, the layers of a stack as tensors of their own: encoder/layers/0/ffn/inner/kernel."""
    made = {}
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        name, x = path_name(path), np.asarray(x, np.float64)
        if "/layers/" in name:
            made |= {name.replace("/layers/", f"/layers/{number}/"): row for number, row in enumerate(x)}
        else:
            made[name] = x
    return made


class Run(NamedTuple):
    """What five steps of `make_train_step` were given and made."""

    start: dict
    batches: list  # corrupted
    losses: list
    norm: float  # of the gradients of the first step
    gradients: dict  # clipped, of the first step
    end: dict


@functools.cache
def five_steps(name):
    """Five steps on one device."""
    system = SYSTEMS[name]
    config = make_config(system.config, system.variant, system.changes)
    vocabulary, model = make_vocabulary(), build_model(config)
    teach, teachers = make_teachers(system, config)
    step = make_train_step(config, model, vocabulary, COUNTS, teach)
    corrupt = make_corrupt(config, vocabulary, COUNTS)

    @jax.jit
    def both(state, batch):
        return *step(state, batch, teachers, total=lambda x: x, shard=lambda: 0), corrupt(batch)

    state = make_state(config, model)
    start, batches, losses = tensors(state["params"]), [], []
    for number, size in enumerate(batch_sizes(config)):
        state, loss, corrupted = both(state, make_batch(number, size))
        batches.append(corrupted)
        losses.append(loss)
        if number == 0:
            # After a single step the first moment is (1 - b1) times the gradient.
            adam = state["optimizer"][1]
            gradients = tensors(adam.mean if hasattr(adam, "mean") else adam.mu)
            gradients = {key: m / (1 - config.optimizer.b1) for key, m in gradients.items()}
            norm = state["sums"]["gradient_norm"][0]
    return Run(start, batches, losses, norm, gradients, tensors(state["params"]))


def batch_sizes(config, steps=STEPS):
    phases = plan_phases(config)
    return [phase.batch_size for phase in phases for _ in range(phase.first, phase.last)][:steps]


@pytest.mark.parametrize("name", SYSTEMS)
def test_five_steps_are_those_of_a_plain_statement_of_the_paper(name):
    """Loss, gradients and parameters. The statement is in float64: what differs is our float32's rounding."""
    system, run = SYSTEMS[name], five_steps(name)
    config = make_config(system.config, system.variant, system.changes)
    _, teachers = make_teachers(system, config)
    loss_and_gradients = jax.jit(jax.value_and_grad(system.loss))
    # What the rate counts: for GPT-3 the tokens of batches that grow, for the others steps.
    ticks = [size * LENGTH if system.config is gpt3 else 1 for size in batch_sizes(config, RUN)]

    params = run.start
    m, v = ({key: np.zeros_like(x) for key, x in params.items()} for _ in range(2))
    rates = [system.plain.learning_rate(sum(ticks[:n]), PEAK, sum(ticks), WARMUP * sum(ticks)) for n in range(STEPS)]
    assert len(set(rates)) == STEPS
    for done, rate in enumerate(rates):
        with jax.enable_x64(True):
            loss, gradients = loss_and_gradients(params, run.batches[done], *map(tensors, teachers))
        gradients = {key: np.asarray(g) for key, g in gradients.items()}
        np.testing.assert_allclose(run.losses[done], loss, rtol=2e-6)
        if done == 0:
            norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
            np.testing.assert_allclose(run.norm, norm, rtol=1e-5)
            clip = getattr(system.plain, "clip", lambda gradients: plain_bert.clip_by_global_norm(gradients, 1.0))
            for key, g in clip(gradients).items():
                # An element is a sum of terms as large as its neighbours: its error is measured by theirs.
                atol = 1e-5 * abs(g).max() + 3e-8
                np.testing.assert_allclose(run.gradients[key], g, rtol=0, atol=atol, err_msg=key)
        params = system.plain.step(params, gradients, m, v, done, rate)

    moved = sum(rates)
    for key, p in params.items():
        # Parameters of size 1 move by 1e-3 a step. Each of the sums rounds by 6e-8 of the parameter; Adam, which
        # divides a gradient by its size, keeps the gradient's relative error, 1e-6, and more where that is small.
        atol = 5e-7
        if key.endswith("key/bias"):
            # It adds the same to all of a query's scores: its gradient is 0. Adam divides float32's noise, below
            # 1e-8, by itself and epsilon.
            atol = moved * 1e-8 / config.optimizer.epsilon
        np.testing.assert_allclose(run.end[key], p, rtol=2e-7, atol=atol, err_msg=key)


CUTS = {
    "pmap": {"parallel.mode": "pmap"},
    "mesh, 4 micro-batches, logits in 3 pieces": {
        "parallel.mode": "mesh",
        "parallel.fsdp": 2,
        "parallel.tensor": 2,
        "run.accumulate": 4,
        "run.logit_pieces": 3,
    },
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["GPT-2", "ELECTRA", "DistilBERT"])
def test_devices_modes_and_micro_batches_change_no_step(name, cut):
    """Four devices. ELECTRA's is the harder case: a sample drawn otherwise would be another token."""
    system, run = SYSTEMS[name], five_steps(name)
    config = make_config(system.config, system.variant, system.changes | CUTS[cut])
    model = build_model(config)
    parallel = build_parallel(config.parallel)
    teach, teachers = make_teachers(system, config)
    teachers = [parallel.adopt(params) for params in teachers]
    step = parallel.compile(make_train_step(config, model, make_vocabulary(), COUNTS, teach))
    state = parallel.create(lambda: jax.tree.map(jnp.asarray, make_state(config, model)))
    for number, size in enumerate(batch_sizes(config)):
        state, loss = step(state, parallel.put_batch(make_batch(number, size)), teachers)
        np.testing.assert_allclose(parallel.read(loss), run.losses[number], rtol=2e-6)
    for key, p in tensors(parallel.plain(state)["params"]).items():
        if not key.endswith("key/bias"):  # see above
            np.testing.assert_allclose(p, run.end[key], rtol=2e-7, atol=1e-6, err_msg=key)


TRAINED = {  # parts that each loss trains, by what generator and discriminator share (section 3.2)
    "none": {"mlm": {"generator_embeddings", "generator_encoder", "mlm"}, "rtd": {"embeddings", "encoder", "replaced"}},
    "embeddings": {"mlm": {"embeddings", "generator_encoder", "mlm"}, "rtd": {"embeddings", "encoder", "replaced"}},
    "all": {"mlm": {"embeddings", "encoder", "mlm"}, "rtd": {"embeddings", "encoder", "replaced"}},
}


@pytest.mark.parametrize("tying", TRAINED)
def test_electras_generator_and_discriminator_are_trained_by_their_own_losses_alone(tying):
    """Section 2: no gradient of the detection flows through the sampling into the generator. Appendix F: none of
    the generator's reward into the discriminator."""
    changes = {"generator.tying": tying, "generator.size": 1.0, "losses.adversarial": 1.0, "model.layers": 1}
    config = make_config(electra, "small,smoke", changes)
    vocabulary, model = make_vocabulary(), build_model(config)
    params = make_state(config, model)["params"]
    terms, corrupt = make_terms(config, model), make_corrupt(config, vocabulary)

    @jax.jit
    def gradients(params, batch):
        sums, back = jax.vjp(lambda p: {k: t.sum for k, t in terms(p, corrupt(batch), {}).items()}, params)
        return {name: back({other: jnp.float32(other == name) for other in sums})[0] for name in sums}

    made = gradients(params, make_batch(0, 8))
    assert set(made) == {"mlm", "rtd", "adversarial"}
    expected = TRAINED[tying] | {"adversarial": TRAINED[tying]["mlm"] | {"baseline"}}
    for name, tree in made.items():
        for part, gradient in tree.items():
            for key, g in tensors(gradient).items():
                if part not in expected[name]:
                    assert not g.any(), (name, part, key)
                elif not key.endswith("key/bias"):
                    assert g.any(), (name, part, key)


def test_two_stages_train_one_trunk_at_a_time():
    """Section 3.2: the generator alone; then, from its weights, the discriminator alone, to the last bit."""
    changes = {"generator.first_stage": 3 / RUN, "generator.tying": "none", "generator.size": 1.0,
               "model.embedding_size": 0, "model.heads": 1, "model.layers": 1, "run.log_every": 1}  # fmt: skip
    config = make_config(electra, "small,smoke", changes)
    model = build_model(config)
    step = make_train_step(config, model, make_vocabulary())
    step = jax.jit(functools.partial(step, total=lambda x: x, shard=lambda: 0))
    states = [make_state(config, model)]
    for number in range(STEPS):
        state, loss = step(states[-1], make_batch(number, 8))
        states.append(state)
        total, weight = state["sums"]["mlm_loss" if number < 3 else "rtd_loss"]
        np.testing.assert_allclose(loss, (1 if number < 3 else 50) * total / weight, rtol=1e-6)

    generator = {"generator_embeddings", "generator_encoder", "mlm"}
    params = [tensors(state["params"]) for state in states]
    switched = tensors(two_stage.build(config)(3).begin(states[3]["params"]))
    for key in params[0]:
        part = key.split("/")[0]
        if f"generator_{key}" in switched:
            assert np.array_equal(switched[key], params[3][f"generator_{key}"])
            # The step itself begins there: Adam's first moves by at most (1 - b1) / sqrt(1 - b2) = 3.2 of the rate.
            assert abs(params[4][key] - params[3][f"generator_{key}"]).max() < 4 * PEAK
        else:
            assert np.array_equal(switched[key], params[3][key])
        for number in range(STEPS):
            before = switched if number == 3 else params[number]
            trains = (part in generator) == (number < 3) and number > 0  # at step 0 of a warm-up the rate is 0
            if not trains or not key.endswith("key/bias"):
                assert np.array_equal(before[key], params[number + 1][key]) == (not trains), (number, key)


def test_a_unigram_generator_draws_tokens_as_often_as_the_text_has_them():
    """Figure 3: the tokens that replace come from the corpus' frequencies, and nothing is there to be trained."""
    changes = {"generator.kind": "unigram", "losses.mlm": 0.0, "model.layers": 1}
    config = make_config(electra, "small,smoke", changes)
    vocabulary, model = make_vocabulary(), build_model(config)
    counts = np.where(np.arange(SIZE) < 5, 0, 1000 // (np.arange(SIZE) + 1))
    batch = jax.jit(make_corrupt(config, vocabulary, counts))(make_batch(0, 2000))
    drawn = np.bincount(np.asarray(batch["replacements"]).ravel(), minlength=SIZE)
    assert not drawn[:5].any()
    expected = drawn.sum() * counts / counts.sum()
    # Chi-square over 43 tokens: 42 expected, and 80 or more once in 2,500 times.
    assert ((drawn - expected)[5:] ** 2 / expected[5:]).sum() < 80

    params = make_state(config, model)["params"]
    assert set(params) == {"embeddings", "encoder", "replaced"}
    rows = jax.tree.map(lambda x: x[:200], batch)
    out = jax.tree.map(np.asarray, jax.jit(lambda p, b: model.apply({"params": p}, b))(params, rows))
    rows, same = {key: np.asarray(rows[key]) for key in ("original", "positions", "weights", "replacements")}, 0
    for row, (original, *draws) in enumerate(zip(*rows.values())):
        shown = original.copy()
        for at, weight, new in reversed(list(zip(*draws))):  # of several draws of a position the first is seen
            if weight:
                shown[at] = new
                same += new == original[at]
        np.testing.assert_array_equal(out["tokens"][row], shown)
        np.testing.assert_array_equal(out["replaced"][row], shown != original)
    assert same > 5  # a token replaced by itself counts as real


RAMPS = {
    "GPT-3": (gpt3, "small", {}),
    "GPT-3, 175b": (gpt3, "175b", {}),
    "GPT-3, smoke": (gpt3, "small,smoke", {"steps": 1000}),
}


@pytest.mark.parametrize("name", RAMPS)
def test_a_growing_batch_is_a_loop_that_adds_tokens_up(name):
    """Appendix B: the batch grows linearly in tokens. Steps are whole, so a size may begin some steps aside."""
    module, variant, changes = RAMPS[name]
    config = module.get_config(variant)
    config.update_from_flattened_dict(changes)
    phases = plan_phases(config)
    clock = make_clock(config, phases)
    first, full, length = config.ramp.start, config.batch_size, config.phases.lengths[0]
    smaller = full // first - 1
    switches, before, seen = [], [], 0
    while seen < clock.total:
        grown = int(smaller * seen / (config.ramp.share * clock.total))
        size = min(first * (1 + grown), full)
        if not switches or switches[-1][1] != size:
            switches.append((len(before), size))
        before.append(seen)
        seen += size * length
    assert abs(len(before) - config.steps) <= 4
    assert [phase.batch_size for phase in phases] == [size for _, size in switches]
    np.testing.assert_allclose([phase.first for phase in phases], [step for step, _ in switches], rtol=0, atol=4)
    steps = np.arange(0, min(config.steps, len(before)), 7)
    np.testing.assert_allclose(clock.now(steps), np.array(before)[steps], rtol=1e-5, atol=4 * full * length)


def test_a_clock_of_tokens_counts_the_lengths_of_phases():
    config = make_config(bert, "tiny,smoke", {"steps": 200, "optimizer.clock": "tokens"})
    phases = plan_phases(config)
    clock = make_clock(config, phases)
    lengths = [32] * 180 + [64] * 20
    before = np.cumsum([0, *lengths]) * config.batch_size
    assert clock.total == before[-1]
    np.testing.assert_allclose(clock.now(np.arange(200)), before[:-1], rtol=1e-6)
