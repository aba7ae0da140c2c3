"""Answers to questions, in words: what each form of data/questions.py predicts, as text."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.questions import Pointer, Store, Written, evaluation_cuts, form_of, one_batch
from ssl_jax.errors import UserError
from ssl_jax.inference import generate


def make_predict(model, form, max_length=100, beams=1):
    """The pure `predict(params, batch)` of a form: words, int32 [B, T], of MQAN; the first and last token of a span [B, 2]."""

    def words(params, batch):
        return model.apply({"params": params}, batch, max_length, beams, method="decode")

    def span(params, batch):
        logits = model.apply({"params": params}, batch)["span_logits"]
        return likeliest_span(logits, batch["mask"], batch["segments"], form.longest)

    return words if isinstance(form, Pointer) else span


def likeliest_span(logits, mask, segments, longest):
    """The first and last token of the likeliest answer: int32 [B, 2].

    An answer lies in the question or in the context, without the special tokens around them.

    Args:
      logits: [B, S, 2].
      mask, segments: [B, S].
      longest: the most tokens of an answer.
    """
    size = mask.shape[1]
    following = jnp.pad(
        mask[:, 1:] * (1 - segments[:, 1:]), ((0, 0), (0, 1))
    )  # in the question: another of it comes next
    place = jnp.arange(size)
    last = mask.sum(1, keepdims=True) - 1
    inside = jnp.where(segments != 0, place < last, (place > 0) & (following != 0))
    start, end = (jnp.where(inside, logits[..., n].astype(jnp.float32), -jnp.inf) for n in (0, 1))
    pairs = (place[:, None] <= place) & (place < place[:, None] + longest) & (segments[:, :, None] == segments[:, None])
    scores = jnp.where(pairs, start[:, :, None] + end[:, None], -jnp.inf).reshape(len(mask), -1)
    best = scores.argmax(-1)
    return jnp.stack([best // size, best % size], axis=-1).astype(jnp.int32)


def texts(form, store, numbers, predicted):
    """What was predicted for examples [N] of a store, a list of str; `predicted` [B, ...], B >= N, is from `make_predict`."""
    read = []
    for row, number in enumerate(numbers.tolist()):
        if isinstance(form, Pointer):
            words = predicted[row].tolist()
            ends = (form.vocabulary.separator, form.vocabulary.pad)
            size = next((place for place, word in enumerate(words) if word in ends), len(words))
            read.append(form.words.decode(words[:size], store.unknown.get(number, ())).strip())
        else:
            read.append(form.text(store.qas[number], *predicted[row].tolist(), len(store.ids(number, 1))))
    return read


def written(run, form, store, numbers, max_length, beams=1):
    """What a causal model writes as answers to examples [N] of a store, a list of str."""
    prompts = [form.prompt(store, number) for number in numbers.tolist()]
    most = min(max_length, run.model.config.max_positions - max(map(len, prompts)))
    if most < 1:
        raise UserError(f"a question takes all of the model's {run.model.config.max_positions} positions")
    if beams == 1:
        answers = generate.generate(run, prompts, max_tokens=most, temperature=0)
    else:
        found = generate.beam_search(run, prompts, max_tokens=most, beams=beams)
        answers = [hypotheses[0].tokens for hypotheses in found]
    return [form.words.tokenizer.decode(tokens).strip() for tokens in answers]


def answer(run, qas, max_length=100, beams=1):
    """A run's answers to questions about contexts.

    Args:
      run: a `runs.Run` that was trained on questions.
      qas: `tasks.QA`s; their answers are not read.

    Returns:
      A list of str, '' where a question or a context is empty, or the question takes all of a row.

    Raises:
      UserError: the run was not trained on questions.
    """
    form = form_of(run.config)(run.config.questions, run.tokenizer, run.vocabulary)
    found = [""] * len(qas)
    numbered = [qa._replace(id=number, answers=()) for number, qa in enumerate(qas)]
    store = Store(numbered, form, keep_long=True, cut=True)
    predict = jax.jit(make_predict(run.model, form, max_length, beams))
    for cut in evaluation_cuts(store, form.options):
        if isinstance(form, Written):
            answers = written(run, form, store, cut.numbers, max_length, beams)
        else:
            batch = one_batch(store, form, cut)
            answers = texts(form, store, cut.numbers, np.asarray(predict(run.params, batch)))
        for number, text in zip(cut.numbers.tolist(), answers, strict=True):
            found[store.qas[number].id] = text
    return found
