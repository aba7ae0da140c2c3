"""Configs of old runs, whose config.json and checkpoints have fewer keys than a config has today.

A new option needs a line in ADDED only if its default is not what runs did before there was one.
"""

import copy

from ssl_jax.config import options
from ssl_jax.synonyms import RENAMED

# The keys of the first configs that were saved, by today's names. Later ones are added at their defaults.
FIRST = set(
    """
seed steps batch_size run.accumulate phases.lengths phases.shares ramp.start ramp.share
model.vocab_size model.layers model.hidden_size model.heads model.head_size model.ffn_size model.embedding_size
model.max_positions model.type_vocab_size model.causal model.local_window model.share model.share_groups model.norm
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
data.max_documents data.heldout data.examples data.short_seq_prob data.dupe_factor data.document_mask
optimizer.name optimizer.learning_rate optimizer.schedule optimizer.clock optimizer.warmup optimizer.decay_until
optimizer.end_lr_ratio optimizer.b1 optimizer.b2 optimizer.epsilon optimizer.weight_decay optimizer.no_decay
optimizer.grad_clip_norm
evals.heldout.module evals.heldout.split evals.heldout.max_batches
parallel.mode parallel.devices parallel.fsdp parallel.tensor
run.log_every run.evaluate_every run.checkpoint_every run.keep_checkpoints
""".split()
)
# key -> what runs did before there was one, as JSON has it: the default, unless a line here says otherwise.
ADDED = {
    key: list(field.default) if isinstance(field.default, tuple) else field.default
    for key, field in options().items()
    if key not in FIRST and "*" not in key
} | {"run.checkpoint_minutes": 0.0, "data.unlabelled": "segments"}
# (key, an old value, what it is called today)
REWORDED = (("model.pooler", False, "none"), ("model.pooler", True, "tanh"))


def complete(saved, like=None):
    """An old config with the keys of ADDED that it lacks, and today's names for its keys and values.

    Args:
      saved: nested dict, as JSON has it; it is left as it is.
      like: nested dict of today's keys, of which there may be fewer: only these are added. None: all are.
    """
    completed = copy.deepcopy(saved)
    for old, new in RENAMED.items():
        (*blocks, key), (*new_blocks, new_key) = old.split("."), new.split(".")
        block = _block(completed, blocks)
        if key in block:
            _block(completed, new_blocks, create=True)[new_key] = block.pop(key)
    for name, value in ADDED.items():
        *blocks, key = name.split(".")
        if like is None or key in _block(like, blocks):
            _block(completed, blocks, create=True).setdefault(key, copy.copy(value))
    for name, old, new in REWORDED:
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
