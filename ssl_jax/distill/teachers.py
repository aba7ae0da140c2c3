"""Teachers: finished runs of any paper, whose outputs a student's losses compare with its own.

A teacher gets the student's inputs, without gradients and, unless `teacher.dropout`, without dropout. `out['teacher']`
holds the outputs that the losses read (`Objective.teacher`):

    token_logits  [B, S, V]         at every token; from a cache [B, S, K], the K largest, and
    token_ids     [B, S, K] int32   their token ids, and
    token_rest    [B, S]            the logsumexp of logit / temperature over all others
    token_decoding                  without a cache and of one teacher: the `Decoding` of its token_logits
    predicted_logits [B, P, V]      at the predicted tokens
    encoded       [B, S, T]         the last hidden states
    states        [M + 1, B, S, T]  its embeddings, and the layers that teach the student's M
    scores        [M, B, A, S, S]   attention before mask and softmax, from the same layers
    class_logits  [B, C]            of a task
    span_logits   [B, S, 2]         of a span task: first, last

With several teachers it is the mean; for logits, this is the geometric mean of their distributions (Hinton et al.
2015, section 1, has both kinds).
"""

import jax
import jax.numpy as jnp
from jax import lax

from ssl_jax import labels, logs
from ssl_jax.distill.matching import check_teachers, layer_maps, map_layers
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.models.spec import named_heads
from ssl_jax.objectives import taught, trained
from ssl_jax.source import tokenizer_path


def load_teachers(config, tokenizer_hash, parallel):
    """The runs of `config.teacher`, checked against the student: a list of `runs.Run`; [] if no loss uses a teacher.

    If class logits are compared, a teacher's classes are put in the order of the student's task, see `labels.match`.

    Raises:
      UserError: a loss has no teacher, or a teacher no loss; a teacher does not fit.
    """
    check_teachers(config)
    names = taught(config)
    if not names:
        return []
    runs = [load_run(folder, parallel) for folder in config.teacher.runs]
    for run in runs:
        check_teacher(config, names, run, tokenizer_hash)
    widths = sorted({run.config.model.hidden_size for run in runs})
    if len(widths) > 1 and {"encoded", "states"} & set(names):
        raise UserError(f"teacher.runs have hidden sizes {widths}: states of equal width alone can be averaged")
    return [_classes_by_name(config, run) for run in runs] if "class_logits" in names else runs


def _classes_by_name(config, run):
    """A teacher with its classes in the order of the student's task."""
    hint = "a teacher's classes must be the task's; rename them in the task's files, or in the teacher's config.json"
    order, line = labels.match(labels.of_run(run.config), config.task.labels, f"teacher {run.workdir}", hint)
    if line:
        logs.say(line)
    return run._replace(params=labels.reorder(run.params, order))


def check_teacher(config, names, run, tokenizer_hash):
    """Raises UserError, with the reason, if a student cannot learn the outputs in `names` from a run."""
    ours, theirs, where = config.model, run.model.config, f"teacher {run.workdir}"
    if run.tokenizer_hash != tokenizer_hash:
        raise UserError(f"{where} has another vocabulary: set data.tokenizer.path={tokenizer_path(run.workdir)}")
    if ours.causal != theirs.causal:
        raise UserError(f"{where} has model.causal={theirs.causal} and the student {ours.causal}")
    if theirs.max_positions < max(config.phases.lengths):
        raise UserError(
            f"{where} has {theirs.max_positions} positions, phases.lengths={config.phases.lengths} needs more"
        )
    if {"token_logits", "predicted_logits"} & set(names) and _decoder_rows(ours) != _decoder_rows(theirs):
        raise UserError(
            f"{where} predicts among {_decoder_rows(theirs)} tokens and positions, the student among {_decoder_rows(ours)}: "
            "model.predict_positions and model.max_positions must agree"
        )
    if {"states", "scores"} & set(names):
        map_layers(config.teacher.layer_map, ours.layers, theirs.layers)
    if "scores" in names and (ours.heads, ours.local_window) != (theirs.heads, theirs.local_window):
        raise UserError(
            f"losses.attention compares head by head: {where} has {theirs.heads} heads and a band of {theirs.local_window}, "
            f"the student {ours.heads} and {ours.local_window}"
        )
    same_width = ours.hidden_size == theirs.hidden_size
    if "states" in names and config.teacher.projection == "none" and not same_width:
        raise UserError(
            f"{where} has hidden size {theirs.hidden_size}, the student {ours.hidden_size}: "
            "teacher.projection='none' needs equal ones"
        )
    if "encoded" in names and not same_width:
        raise UserError(
            f"losses.cosine compares vectors: {where} has hidden size {theirs.hidden_size}, the student {ours.hidden_size}"
        )
    for name in names:
        heads = heads_of(config, name, theirs.causal) - {"tokens"}
        if heads - set(run.model.heads) or run.model.generator and "mlm" in heads:
            raise UserError(f"{where} has no head for {name}: its trunk was trained without losses that have one")
    # A `transformers` model does not record which task it was trained on.
    known, task = run.model.options.classes, run.config.task.name
    if "class_logits" in names and (known, task or config.task.name) != (config.task.classes, config.task.name):
        raise UserError(
            f"{where} knows the {known} classes of {task or 'its task'}, "
            f"and the student's task {config.task.name} has {config.task.classes}"
        )
    if "class_logits" in names and run.model.orders != config.task.orders:
        raise UserError(
            f"{where} reads each example in {run.model.orders} orders and the student in {config.task.orders}: set "
            f"task.inputs={run.config.task.inputs}"
        )


def _decoder_rows(model):
    return model.vocab_size + model.predict_positions * model.max_positions


def make_teach(config, models):
    """Returns the pure `teach(out, batch, params, rngs)`, which gives the dict described in this module's docstring.

    Args:
      models: the teachers' models; `params` is the list of their parameters. `rngs` are the student's, read only with
        `teacher.dropout`.
    """
    names = taught(config)
    maps = layer_maps(config, models) or [None] * len(models)
    models = [trunk_and_heads(config, model) for model in models]

    def teach(out, batch, params, rngs=None):
        rngs = rngs if config.teacher.dropout and rngs else {}
        if "tokens" in out:  # with a generator's replacements
            batch = batch | {"tokens": out["tokens"]}
        made = []
        for number, (model, layers, tree) in enumerate(zip(models, maps, params, strict=True), 1):
            # The modules have the student's names: with its key they would have its masks.
            own = {use: jax.random.fold_in(key, number) for use, key in rngs.items()}
            theirs = model.apply({"params": tree}, batch, rngs=own)
            if layers is not None:
                at = jnp.array(layers) - 1
                theirs["scores"] = theirs["layers"]["scores"][at]
                theirs["states"] = jnp.concatenate([theirs["embedded"][None], theirs["layers"]["hidden"][at]])
            if "predicted_logits" in names:
                theirs["predicted_logits"] = theirs["clm_logits" if model.config.causal else "mlm_logits"]
            made.append({name: theirs[name].astype(jnp.float32) for name in names})
        if "token_logits" in names and len(made) == 1:
            made[0]["token_decoding"] = theirs["token_decoding"]
        return lax.stop_gradient(jax.tree.map(lambda *x: sum(x) / len(x), *made))

    return teach


def heads_of(config, name, causal):
    """A teacher's heads for one of its outputs: the student's heads compared with it, except its projection."""
    rows = trained(config).values()
    return named_heads({head for row in rows if row.teacher == name for head in row.heads} - {"fit"}, causal)


def trunk_and_heads(config, model):
    """A run's model as a teacher: its trunk and the heads whose logits are compared."""
    needed = set().union(*(heads_of(config, name, model.config.causal) for name in taught(config)))
    return model.clone(heads=tuple(sorted(needed)), generator=None)


def own_outputs(out, batch, params, rngs=None):
    """The student as its own teacher: outputs of the same shapes as `teach`, for use without a teacher."""
    del batch, params, rngs
    made = {name: out[name] for name in ("encoded", "token_logits", "class_logits", "span_logits") if name in out}
    if "scores" in out.get("layers", ()):  # an LSTM has none
        made["scores"] = out["layers"]["scores"]
    made |= {"predicted_logits": out[name] for name in ("mlm_logits", "clm_logits") if name in out}
    if "fitted" in out:
        made["states"] = out["fitted"]
    return lax.stop_gradient(made)
