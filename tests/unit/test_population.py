"""Members that differ in numbers of the config: each is the run that it would be on its own; what may not differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import bert, electra
from ssl_jax import experiment
from ssl_jax.checks import settle
from ssl_jax.corruption import mask_tokens
from ssl_jax.errors import UserError
from ssl_jax.objectives import OBJECTIVES
from ssl_jax.optimizers import schedule, step_clock
from ssl_jax.population import VARYING, members, varied
from ssl_jax.step import initial_state, make_measure, make_train_step
from ssl_jax.tokenization.vocabulary import Vocabulary
from ssl_jax.varying import Varying, each, largest

# Two members of each paper; between them every key but teacher.temperature and optimizer.decay_until is another.
TOGETHER = {
    "bert": (
        "seed=3 losses.nsp=1 losses.mlm=1 model.dropout=0 model.attention_dropout=0.3 corruption.rate=0.15 "
        "corruption.mask=0.8 corruption.random=0.1 optimizer.learning_rate=3e-3 optimizer.warmup=0.5 "
        "optimizer.end_lr_ratio=0 optimizer.epsilon=1e-6 optimizer.weight_decay=0 optimizer.grad_clip_norm=1",
        "seed=4000000000 losses.nsp=0.3 losses.mlm=2 model.dropout=0.2 model.attention_dropout=0.1 corruption.rate=0.4 "
        "corruption.mask=0.5 corruption.random=0.4 optimizer.learning_rate=1e-2 optimizer.warmup=0.25 "
        "optimizer.end_lr_ratio=0.5 optimizer.epsilon=1e-3 optimizer.weight_decay=0.5 optimizer.grad_clip_norm=0.1",
    ),
    "electra": (
        "generator.temperature=1 corruption.rate=0.1 losses.rtd=50 optimizer.learning_rate=1e-3",
        "generator.temperature=0.2 corruption.rate=0.3 losses.rtd=5 optimizer.learning_rate=1e-3",
    ),
}
CONFIGS = {"bert": (bert, "tiny,smoke"), "electra": (electra, "small,smoke")}
STEPS = 3


def trained(exp):
    """Losses of some steps, the sums of metrics, parameters, and measures of these, each [N, ...]."""
    population = exp.population
    step = population.compile(lambda config: make_train_step(*exp.of(config).pure))
    measures = population.compile_each(lambda config: make_measure(*exp.of(config).pure))
    state = exp.devices.create(
        population.begin(lambda seed: initial_state(exp.config, exp.model, exp.vocabulary, seed))
    )
    losses = []
    for number in range(STEPS):
        state, loss = step(state, exp.devices.put_batch(exp.batch(number)), exp.teachers)
        losses.append(population.read(loss))
    # One batch that both have, whatever their seeds.
    batch = exp.devices.put_batch({name: x[:, 0] if population.several else x for name, x in exp.batch(0).items()})
    measured = [
        jax.tree.map(exp.devices.read, measure(params, batch, exp.teachers))
        for measure, params in zip(measures, population.params(state), strict=True)
    ]
    states = population.states(exp.devices.plain(state))
    return [
        dict(loss=loss, state=own, measured=sums) for *loss, own, sums in zip(*losses, states, measured, strict=True)
    ]


@pytest.mark.slow  # compiles programs
@pytest.mark.parametrize("paper", TOGETHER)
def test_each_member_is_the_run_that_it_would_be_alone(paper, data_root):
    module, variant = CONFIGS[paper]
    config = module.get_config(variant)
    config.data.root = data_root
    config.update_from_flattened_dict({"steps": 8, "model.layers": 1, "parallel.devices": 1, "run.log_every": 8})
    config.members = TOGETHER[paper]
    together = trained(experiment.open(config))
    for number, (member, mine) in enumerate(zip(members(config), together, strict=True)):
        if paper != "bert" and not number:
            continue  # one takes long enough to compile
        [alone] = trained(experiment.open(member.config))
        if number and "seed" in member.changes:  # it was measured on the first one's batch
            mine.pop("measured"), alone.pop("measured")
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5), mine, alone)
    assert any((x != y).any() for x, y in zip(*(jax.tree.leaves(own["state"]["params"]) for own in together)))


BATCH = dict(
    tokens=np.random.default_rng(0).integers(5, 64, (3, 40), dtype=np.int32),
    mask=np.arange(40) < np.array([[40], [21], [3]]),
    index=np.arange(3, dtype=np.int32),
)
SPECIAL = np.arange(64) < 5
VOCABULARY = Vocabulary(64, 0, 1, 2, 3, 4, SPECIAL, np.arange(64) % 3 > 0, 3)


@pytest.mark.parametrize(
    "how",
    [
        dict(unit="token"),
        dict(unit="token", with_replacement=True),
        dict(unit="ngram"),
        dict(unit="token", frequency_smoothing=0.7),
    ],
)
def test_each_rate_of_several_masks_as_it_would_alone(how):
    rates, counts = [0.05, 0.15, 0.5], np.arange(64)
    options = dict(mask=0.8, random=0.1, max_predictions=12, max_ngram=3, with_replacement=False) | how

    def mask(rate):
        return mask_tokens(BATCH, VOCABULARY, jax.random.key(1), counts, rate=rate, **options)

    together = jax.vmap(lambda member: mask(Varying("corruption.rate", rates, member)))(jnp.arange(3))
    assert together["positions"].shape[-1] == 12  # the largest rate's, which the limit cuts
    for number, rate in enumerate(rates):
        alone, mine = mask(rate), jax.tree.map(lambda x: x[number], together)  # noqa: B023
        count = alone["weights"].shape[1]
        for name in ("positions", "targets", "weights"):
            own = mine.pop(name)
            np.testing.assert_array_equal(own[:, :count], alone.pop(name))
            assert name != "weights" or not own[:, count:].any()
        keys = (jax.random.key_data(x.pop("keys")) for x in (mine, alone))
        np.testing.assert_array_equal(*keys)
        jax.tree.map(np.testing.assert_array_equal, mine, alone)


@pytest.mark.parametrize("name", ["linear", "linear_warmed", "linear_peaked", "cosine", "constant", "inverse_sqrt"])
def test_each_schedule_is_that_of_its_own_numbers(name):
    config = bert.get_config("tiny,smoke")
    config.optimizer.schedule = name
    config.members = (
        "optimizer.warmup=0.07 optimizer.decay_until=1 optimizer.end_lr_ratio=0 optimizer.learning_rate=1e-3",
        "optimizer.warmup=0.3 optimizer.decay_until=0.8 optimizer.end_lr_ratio=0.1 optimizer.learning_rate=3e-4",
    )
    steps, clock, own = jnp.arange(101), step_clock(100), members(config)
    rates = jax.vmap(lambda member: schedule(varied(config, own, member).optimizer, clock)(steps))(jnp.arange(2))
    for member, rate in zip(own, rates, strict=True):
        np.testing.assert_array_equal(rate, schedule(member.config.optimizer, clock)(steps))


def test_each_temperature_is_its_own():
    config = bert.get_config("tiny,smoke")
    config.members = ("teacher.temperature=1", "teacher.temperature=4")
    ours, theirs = np.random.default_rng(0).normal(size=(2, 2, 5, 7)).astype(np.float32)
    out, batch = {"token_logits": ours, "teacher": {"token_logits": theirs}}, {"mask": np.ones((2, 5), bool)}
    sums = lambda config: OBJECTIVES["soft_targets"].bind(config)[0](out, batch).sum  # noqa: E731
    together = jax.vmap(lambda member: sums(varied(config, members(config), member)))(jnp.arange(2))
    np.testing.assert_allclose(together, [sums(member.config) for member in members(config)], rtol=1e-6)


def test_numbers_of_several_members_are_pythons_until_they_meet_an_array():
    x = Varying("optimizer.epsilon", [0.1, 0.7])
    assert (1 - 2 * x / 3 + x**2).values == [1 - 2 * 0.1 / 3 + 0.1**2, 1 - 2 * 0.7 / 3 + 0.7**2]
    assert (2**x - x).values == [2**0.1 - 0.1, 2**0.7 - 0.7]
    assert (largest(x), largest(3), each(round, x).values, each(round, 0.6)) == (0.7, 3, [0, 1], 1)
    assert bool(x > 0) and not bool(x > 1)
    one = Varying("optimizer.epsilon", [0.1, 0.7], 1)
    np.testing.assert_allclose([jnp.ones(()) - one, one - jnp.ones(()), jnp.asarray(one)], [0.3, -0.3, 0.7], rtol=1e-6)


def test_every_key_that_may_differ_is_a_number_of_the_config():
    config = bert.get_config("tiny,smoke")
    for key in (pattern.replace("*", "mlm") for pattern in VARYING):
        config.members = (f"{key}=0", f"{key}=1")
        assert [member.changes[key] for member in members(config)] == [0, 1]
        assert [member.name for member in members(config)][1] in (f"{key}-1", f"{key}-1.0")


REFUSED = {
    "model.layers=1,model.layers=2": "members: model.layers cannot differ between runs that train together, only seed, .* apart",
    "optimizer.b1=0.8,optimizer.b1=0.9": "members: optimizer.b1 cannot differ",
    "losses.nsp=0,losses.nsp=1": "members: losses.nsp switches something on for some of them",
    "corruption.rate=0,corruption.rate=0.1": "losses.mlm asks for hidden tokens",
    "optimizer.warmup=0,optimizer.warmup=0.5": "members: optimizer.warmup switches something on",
    "corruption.mask=0.8,corruption.mask=0.95": "corruption.mask and corruption.random are shares",
    "model.dropout=0.1,model.dropout=1.5": "model.dropout=1.5: a share lies between 0 and 1 and is below 1",
    "seed=1,optimizer.learning_rate=1": "'optimizer.learning_rate=1' does not set what 'seed=1' sets: seed",
    "seed=1,seed=2,seed=1": "members: 'seed=1' is there twice",
    "seed=1": "members: one member is a run of its own",
    "seed=1,seed=x": "members: 'seed=x' is not KEY=NUMBER",
    "sed=1,sed=2": "members: 'sed=1' is not KEY=NUMBER",
}  # fmt: skip


@pytest.mark.parametrize("texts", REFUSED)
def test_what_cannot_train_together_is_refused_in_a_line(texts):
    config = bert.get_config("tiny,smoke")
    config.members = tuple(texts.split(","))
    with pytest.raises(UserError, match=REFUSED[texts]):
        settle(config)


def test_members_and_seeds_are_not_set_both():
    config = bert.get_config("tiny,smoke")
    config.update(dict(seeds=2, members=("seed=1", "seed=2")))
    with pytest.raises(UserError, match="members and seeds=2: set one of them"):
        settle(config)


def test_the_run_is_what_all_members_agree_on():
    config = bert.get_config("tiny,smoke")
    config.losses.nsp = 0.0
    config.members = ("losses.nsp=1", "losses.nsp=2")
    assert settle(config).losses.nsp == 1.0
