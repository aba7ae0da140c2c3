"""What each of the losses that a config may name needs, as data: `ssl_jax/objectives.py` computes them.

Importing this takes no JAX, so that a config is checked before that is loaded.
"""

# The heads that each objective reads; 'language' is the trunk's own, 'clm' if it is causal, else 'mlm'.
HEADS = {
    "mlm": ("mlm",), "clm": ("clm",), "nsp": ("pair",), "sop": ("pair",), "rtd": ("replaced",),
    "rtd_masked": ("replaced",), "replaced_mlm": ("restored",), "all_tokens": ("copied",),
    "adversarial": ("mlm", "replaced", "baseline"), "classify": ("classes",), "regress": ("classes",),
    "choose": ("choice",), "span": ("span",), "joint_span": ("joint_span",), "answerable": ("joint_span",),
    "classify_tokens": ("token_classes",),
    "soft_targets": ("language", "tokens"), "soft_predictions": ("language",), "cosine": (), "embedding": ("fit",),
    "hidden": ("fit",), "attention": (), "soft_labels": ("classes",), "soft_span": ("span",),
}  # fmt: skip
# What each objective of distillation reads of `out['teacher']`.
TAUGHT = {
    "soft_targets": "token_logits", "soft_predictions": "predicted_logits", "cosine": "encoded",
    "embedding": "states", "hidden": "states", "attention": "scores", "soft_labels": "class_logits",
    "soft_span": "span_logits",
}  # fmt: skip
# The logits that say what is predicted of a task's example, by the losses that train them.
PREDICTS = {
    "classify": "class_logits", "soft_labels": "class_logits", "regress": "class_logits", "choose": "choice_logit",
    "span": "span_logits", "soft_span": "span_logits", "joint_span": "span_candidates",
    "classify_tokens": "token_class_logits",
}  # fmt: skip
NEED_REPLACEMENTS = {"rtd", "rtd_masked", "replaced_mlm", "adversarial"}
NEED_MASKS = {"mlm", "all_tokens"} | NEED_REPLACEMENTS


def taught(config):
    """The names of what the losses compare with a teacher's, in order."""
    names = {TAUGHT[name] for name, weight in config.losses.items() if weight and name in TAUGHT}
    return sorted(names)


def task_logits(config):
    """The key of `out` that holds the logits of a config's task; None where no loss reads any."""
    return next((logits for name, logits in PREDICTS.items() if config.losses[name]), None)
