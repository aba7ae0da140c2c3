"""Shared by the papers' configs: sizes, variant suffixes, the demos' values."""

from ssl_jax.errors import check_choice
from ssl_jax.objectives import OBJECTIVES

# Google's miniatures of BERT (Turc et al. 2019, arXiv 1908.08962, and google-research/bert's README): heads of 64.
# Every paper has them under these names, except for names of its own sizes.
MINIATURES = {
    "tiny": dict(layers=2, hidden_size=128, heads=2),
    "mini": dict(layers=4, hidden_size=256, heads=4),
    "small": dict(layers=4, hidden_size=512, heads=8),
    "medium": dict(layers=8, hidden_size=512, heads=8),
}


def parse(variant, sizes, suffixes):
    """Splits 'tiny,smoke' into 'tiny', a key of `sizes`, and the functions in `suffixes` for the rest.

    Raises:
      UserError: unknown size or suffix, with the closest match.
    """
    size, *names = variant.split(",")
    check_choice(size, sizes, "variant")
    for name in names:
        check_choice(name, suffixes, "suffix")
    return size, [suffixes[name] for name in names]


def finish(config, variant, name, demo, changes):
    """Applies the demo's values, if `name` is one ('few' is GPT-3's second), and then the suffixes' changes, in order.

    `variant` is the config's own name, 'bert:base,smoke'.
    """
    if name in ("demo", "few"):
        config.update_from_flattened_dict(demo)
    for change in changes:
        change(config, name)
    config.variant = variant
    return config


def alone(config, name):
    """The same student without a teacher: only the losses on the text or labels remain."""
    del name
    tokens = "clm" if config.model.causal else "mlm"
    for soft, hard in (("soft_targets", tokens), ("soft_predictions", tokens), ("soft_labels", "classify"),
                       ("soft_span", "span")):  # fmt: skip
        if config.losses[soft] and not config.losses[hard]:
            config.losses[hard] = 1.0
    config.update(dict(init=dict(run="", layers=()), teacher=dict(runs=())))
    config.losses.update({name: 0.0 for name, row in OBJECTIVES.items() if row.teacher})


def smoke(config, name):
    """The same recipe shrunk to seconds on a CPU: smaller sizes, same choices."""
    del name
    config.steps = 20
    config.batch_size = 8
    if config.ramp.start:
        config.ramp.update(start=4, share=0.5)
    config.phases.lengths = tuple(32 * 2**i for i in range(len(config.phases.lengths)))
    model = config.model
    model.update(layers=2, hidden_size=32, heads=2, head_size=0, ffn_size=0, max_positions=64)
    model.embedding_size = min(model.embedding_size, 16)
    model.local_window = min(model.local_window, 8)
    model.neighbours = ()
    config.init.layers = config.init.layers and (0, 1)
    config.task.update(lstm_size=16, stride=16, max_question=16)
    config.data.tokenizer.vocab_size = 512
    config.data.max_documents = 300
    config.data.heldout = 0.1
    config.data.dupe_factor = 2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup = min(config.optimizer.warmup, 0.1)
    config.run.log_every = 5
    config.run.evaluate_every = 10
    config.run.checkpoint_every = 5
