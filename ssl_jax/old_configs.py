"""Configs of old runs, whose config.json and checkpoints have fewer keys than a config has today.

A new option needs a line in ADDED only if its default is not what runs did before there was one.
"""

import copy

from ssl_jax.config import options

# The keys of the first configs that were saved. Later ones are added at their defaults.
FIRST = set(
    """
seed steps batch_size accumulate phases.lengths phases.shares ramp.start ramp.share
model.vocab_size model.layers model.hidden_size model.heads model.head_size model.ffn_size model.embedding_size
model.positions model.segments model.causal model.band model.share model.share_groups model.norm
model.embedding_norm model.final_norm model.norm_epsilon model.activation model.pooler model.dropout
model.attention_dropout model.dropped_embeddings model.predict_positions model.initializer model.initializer_range
model.embedding_range model.position_range model.residual_scale model.projection_initializer model.neighbours
model.dtype model.scan model.remat
generator.kind generator.size generator.layers generator.tying generator.temperature generator.average_duplicates
generator.first_stage
losses.mlm losses.clm losses.nsp losses.sop losses.rtd losses.rtd_masked losses.replaced_mlm losses.all_tokens
losses.adversarial
loss_average
corruption.rate corruption.mask corruption.random corruption.max_predictions corruption.unit corruption.max_ngram
corruption.with_replacement
data.corpus data.root data.tokenizer.path data.tokenizer.kind data.tokenizer.vocab_size data.tokenizer.lowercase
data.max_documents data.heldout data.examples data.short data.passes data.borders
optimizer.name optimizer.learning_rate optimizer.schedule optimizer.clock optimizer.warmup optimizer.decay_until
optimizer.floor optimizer.b1 optimizer.b2 optimizer.epsilon optimizer.weight_decay optimizer.no_decay optimizer.clip
evals.heldout.module evals.heldout.split evals.heldout.max_batches
parallel.mode parallel.devices parallel.fsdp parallel.tensor
log_every evaluate_every checkpoint_every keep_checkpoints
""".split()
)
# key -> what runs did before there was one, as JSON has it: the default, unless a line here says otherwise.
ADDED = {
    key: list(field.default) if isinstance(field.default, tuple) else field.default
    for key, field in options().items()
    if key not in FIRST and "*" not in key
} | {"run.checkpoint_minutes": 0.0}
# (key, an old value, what it is called today)
RENAMED = (("model.pooler", False, "none"), ("model.pooler", True, "tanh"))


def complete(saved, like=None):
    """An old config with the keys of ADDED that it lacks, and today's words for its values.

    Args:
      saved: nested dict, as JSON has it; it is left as it is.
      like: nested dict of today's keys, of which there may be fewer: only these are added. None: all are.
    """
    completed = copy.deepcopy(saved)
    for name, value in ADDED.items():
        *blocks, key = name.split(".")
        if like is None or key in _block(like, blocks):
            _block(completed, blocks, create=True).setdefault(key, copy.copy(value))
    for name, old, new in RENAMED:
        *blocks, key = name.split(".")
        block = _block(completed, blocks)
        if block.get(key) is old:
            block[key] = new
    return completed


def _block(values, names, create=False):
    """The dict under these keys; {} where there is none, or something else, as in a damaged file."""
    for name in names:
        values = values.setdefault(name, {}) if create else values.get(name, {})
        if not isinstance(values, dict):
            return {}
    return values
