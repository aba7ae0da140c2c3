"""Every key of a config has bounds: a value is refused with one line that names the key, or the config fits itself."""

import math
import random

import pytest

from configs import albert, bert, electra, finetune, gpt1, gpt2, gpt3, tinybert
from ssl_jax import checks
from ssl_jax import config as schema
from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.options import flat

SMOKES = {
    "bert": bert.get_config("tiny,smoke"), "gpt1": gpt1.get_config("base,smoke"), "gpt2": gpt2.get_config("small,smoke"),
    "gpt3": gpt3.get_config("small,smoke"), "albert": albert.get_config("base,smoke"),
    "electra": electra.get_config("small,smoke"), "tinybert": tinybert.get_config("4-312,smoke"),
    "finetune": finetune.get_config("bert-base,rte,smoke"),
}  # fmt: skip
KEYS = [key for key, _ in flat(base())]
NUMBERS = (math.nan, math.inf, -math.inf, -1, -0.5, 0, 0.5, 1, 1.5, 3, 1 << 31, 1 << 40, 1e30, -1e-9)
OTHERS = (True, None, "", "word", "(", (), (1,), ("word",), (math.nan,), (-1, 2))


def changed(config, values):
    config = config.copy_and_resolve_references()
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict(values)
    return config


def opens(config, key):
    """Whether a config fits itself; what does not is one short line with the key in it."""
    try:
        checks.settle(config)
    except UserError as error:
        told = str(error)
        assert "\n" not in told and len(told) < 500
        return told
    return ""


def test_every_key_has_bounds_and_every_bound_a_key():
    assert not [key for key in KEYS if schema.bound_of(key) is None]
    assert {key for key in schema.options() if not key.startswith("evals.*.")} <= {*KEYS, "losses.*"}


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_a_key_is_refused_by_name_or_fits(key):
    """By itself: what is no number, word, list or choice of the key's names it; defaults are within bounds."""
    schema.check_value(key, dict(flat(base()))[key])
    bound = schema.bound_of(key)
    for value in (*NUMBERS, *OTHERS, {}, 10**400):
        try:
            schema.check_value(key, value)
        except UserError as error:
            assert key in str(error) and "\n" not in str(error) and len(str(error)) < 500
            continue
        kinds = {int: int, float: (int, float), bool: bool, tuple: tuple}.get(bound.kind, str)
        assert isinstance(value, kinds), (key, value)
        if bound.kind in (int, float):
            assert not isinstance(value, bool) and bound.low <= value <= bound.high
            assert math.isfinite(value) or bound.infinite


def test_a_seeded_fuzz_of_configs():
    """One to three keys of a paper's config have other values: it fits itself, or one line says what does not."""
    chance, refused = random.Random(0), 0
    for _ in range(150):
        config = SMOKES[chance.choice(sorted(SMOKES))]
        values = {chance.choice(KEYS): chance.choice(NUMBERS + OTHERS) for _ in range(chance.randint(1, 3))}
        told = opens(changed(config, values), values)
        refused += bool(told)
    assert 100 < refused < 150


TOLD = {
    "negative rate": ({"optimizer.learning_rate": -0.001}, "optimizer.learning_rate=-0.001: at least 0"),
    "no rate": ({"optimizer.learning_rate": math.nan}, "optimizer.learning_rate=nan: a finite number is needed"),
    "negative share": (
        {"phases.shares": (1.5, -0.5), "phases.lengths": (32, 64)},
        "phases.shares=(1.5, -0.5): a share lies between 0 and 1",
    ),
    "batches": ({"evals.heldout.max_batches": -1}, "evals.heldout.max_batches=-1: at least 0"),
    "seed": ({"seed": 1 << 32}, "seed=4294967296: at most 4,294,967,295"),
    "b1": ({"optimizer.b1": 1.0}, "optimizer.b1=1.0: a share lies between 0 and 1 and is below 1"),
    "epsilon": ({"optimizer.epsilon": 0.0}, "optimizer.epsilon=0.0: above 0"),
    "loss": ({"losses.mlm": math.nan}, "losses.mlm=nan: a finite number is needed"),
    "decay": ({"optimizer.weight_decay": math.nan}, "optimizer.weight_decay=nan: a finite number is needed"),
    "temperature": ({"teacher.temperature": 0.0}, "teacher.temperature=0.0: above 0"),
    "regex": ({"optimizer.no_decay": "("}, "optimizer.no_decay: '(' is no regular expression"),
    "ramp": (
        {"ramp.start": 1, "batch_size": 1 << 20, "phases.lengths": (64,), "phases.shares": (1.0,)},
        "at most 1,000",
    ),
    "two numbers": ({"model.vocab_size": 400}, "model.vocab_size=400 and data.tokenizer.vocab_size=512 are one number"),
    "too few pieces": (
        {"model.vocab_size": 4, "data.tokenizer.vocab_size": 4},
        "data.tokenizer.vocab_size=4: a wordpiece tokenizer has 5 pieces before it has learned any",
    ),
    "no [MASK]": ({"data.tokenizer.kind": "byte_bpe"}, "the tokenizer has no token for mask, start, separator"),
    "evaluation": (
        {"evals.heldout": {"module": "mean", "max_batches": -1}},
        "evals.heldout.max_batches=-1: at least 0",
    ),
    "evaluation without a module": ({"evals.heldout": {"split": "heldout"}}, "unknown module of evals.heldout ''"),
    "few-shot evaluation": (
        {"evals.asked": {"module": "fewshot"}},
        "unknown task of evals.asked ''",
    ),
    "few-shot task": (
        {"evals.asked": {"module": "fewshot", "task": "titel"}},
        "unknown task of evals.asked 'titel'; did you mean 'title'",
    ),
    "few-shot prompt": (
        {"evals.asked": {"module": "fewshot", "task": "title", "prompt": "txt"}},
        "unknown prompt of evals.asked 'txt'",
    ),
    "few-shot split": (
        {"evals.asked": {"module": "fewshot", "task": "title", "split": "heldout"}},
        "evals.asked has an unknown key split",
    ),
}


@pytest.mark.parametrize("fault", TOLD)
def test_what_does_not_fit_is_told_before_anything_is_loaded(fault):
    values, message = TOLD[fault]
    assert message in opens(changed(SMOKES["bert"], values), values)


def test_seeds_go_up_to_32_bits():
    assert opens(changed(SMOKES["bert"], {"seed": (1 << 32) - 1}), "seed") == ""
    several = changed(SMOKES["finetune"], {"seed": (1 << 32) - 2, "seeds": 3})
    assert "seed=4294967294 and 2 seeds after it: the last is 4294967295" in opens(several, "seeds")
