"""Every variant's config and every paper's first batches, as files: what a change does to them shows in its diff.

`pytest tests/golden/test_golden.py --update-golden` rewrites tests/golden.
"""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import common, finetune
from ssl_jax import config as schema
from ssl_jax import experiment, tasks
from ssl_jax.config import base
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError
from ssl_jax.options import flat
from ssl_jax.step import make_corrupt
from tests.system.test_configs import ALL

GOLDEN = Path(__file__).parent


@pytest.fixture
def check(request):
    """`check(name, text)` compares a text with a golden file, or writes it."""

    def compare(name, text):
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.exists() and text == path.read_text(), f"{name}: see the diff of pytest --update-golden"

    return compare


def section(name, config, before, what):
    """Lines that say in which of its values a config differs from another one."""
    values, others = dict(flat(config)), dict(flat(before))
    assert values.keys() >= others.keys()
    changed = [
        f"{key} = {value!r}" for key, value in values.items() if key != "variant" and others.get(key, ...) != value
    ]
    return "\n".join([f"[{name}]  # as {what}, but for", *changed, ""])


def suffixes_of(paper, monkeypatch):
    """The suffixes that a paper's variants may have."""
    found, parse = {}, common.parse
    monkeypatch.setattr(
        common, "parse", lambda variant, sizes, known: found.update(known) or parse(variant, sizes, known)
    )
    ALL[paper].get_config()
    monkeypatch.undo()
    return list(found)


def test_every_key_has_its_neutral_value(check):
    lines = [f"{key} = {value!r}\n" for key, value in flat(base())]
    check("base.txt", "".join(lines))


@pytest.mark.parametrize("paper", ALL)
def test_configs_of_every_variant(paper, check, monkeypatch):
    """Each size beside `base()`, or the paper's first one, and with each suffix beside the size itself."""
    make, (first, *others) = ALL[paper].get_config, ALL[paper].SIZES
    sections = [section(first, make(first), base(), "base()")]
    sections += [section(size, make(size), make(first), first) for size in others]
    for suffix in suffixes_of(paper, monkeypatch):
        for size in (first, *others):
            try:
                config = make(f"{size},{suffix}")
            except UserError:  # not of every size
                continue
            sections.append(section(f"{size},{suffix}", config, make(size), size))
    check(f"{paper}.txt", "\n".join(sections))


@pytest.mark.parametrize("paper", finetune.PAPERS)
def test_configs_of_every_task(paper, check):
    """Each paper's first size on each task, as printed and as released, beside the same on the first task."""
    model, names = f"{paper}-{next(iter(ALL[paper].SIZES))}", list(tasks.FINE_TUNED)
    first = f"{model},{names[0]}"
    sections = [section(first, finetune.get_config(first), base(), "base()")]
    for name in names:
        for variant in (f"{model},{name}", f"{model},{name},release"):
            try:
                config = finetune.get_config(variant)
            except UserError as error:
                sections.append(f"[{variant}]  # {error}\n")
            else:
                if variant != first:
                    sections.append(section(variant, config, finetune.get_config(first), first))
    check(f"finetune-{paper}.txt", "\n".join(sections))


def digest(batch):
    """SHA-256 of a batch's names, shapes and whole numbers; floats may differ in their last digit between machines."""
    found = hashlib.sha256()
    for name in sorted(batch):
        x = batch[name]
        x = np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        if x.dtype.kind in "iub":
            found.update(json.dumps([name, str(x.dtype), x.shape]).encode() + np.ascontiguousarray(x).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("paper", ALL)
def test_batches_of_every_smoke(paper, check, smoke_config, monkeypatch):
    """The first batch, one in the middle and the last one, before and after what the paper hides in them."""
    config = smoke_config(paper=paper, variant=f"{next(iter(ALL[paper].SIZES))},smoke")
    config.update(dict(init=dict(run="", layers=())))
    monkeypatch.setattr(distill, "load_teachers", lambda *arguments: [])  # batches do not depend on them
    exp = experiment.open(config)
    corrupt = jax.jit(make_corrupt(exp.config, exp.vocabulary, exp.counts))
    lines = []
    for step in (0, exp.config.steps // 2, exp.config.steps - 1):
        batch = exp.batch(step)
        lines.append(f"step {step}: {digest(batch)}, {digest(corrupt(batch))} after corruption\n")
    check(f"batches-{paper}.txt", "".join(lines))


def test_the_page_of_options_is_up_to_date(request, root):
    page = root / "docs/config.md"
    if request.config.getoption("--update-golden"):
        page.write_text(schema.markdown())
    assert page.read_text() == schema.markdown(), (
        "docs/config.md is stale: pytest tests/golden/test_golden.py --update-golden"
    )
