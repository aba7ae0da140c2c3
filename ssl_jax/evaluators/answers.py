"""Tasks as questions on a split: what is answered in words, and each task's own metrics (decaNLP)."""

import collections
import json

import jax
import numpy as np

from ssl_jax import files, logs, metrics, tasks
from ssl_jax.data.questions import Written, folders_of
from ssl_jax.errors import check_choice
from ssl_jax.evaluators import mean
from ssl_jax.inference import answers
from ssl_jax.runs import Run
from ssl_jax.step import every_row


class Evaluator(mean.Evaluator):
    """Answers every question of a split; the losses are measured in the same pass.

    Of each task TASK_METRIC, and TASK_baseline, what the most frequent answer of the split would get; `score` is the mean of
    all tasks' first metrics, and `decascore` the sum of decaNLP's ten, of 1000, where all of them are there.
    """

    def __init__(self, exp, programs, options):
        """
        Args:
          exp: an `Experiment` of questions.
          programs: `Programs`.
          options: `evaluators.Answers`.

        Raises:
          UserError: no such split; a task of `options` cannot be read.
        """
        if options.tasks:
            split = _opened(exp, options)
        else:
            check_choice(options.split, exp.stores, "split of an evaluation")
            split = exp.stores[options.split]
        exp = exp._replace(stores=exp.stores | {options.split: split})
        super().__init__(exp, programs, options)
        self.exp, self.split, self.options = exp, split, options
        if not isinstance(split.form, Written):
            predict = answers.make_predict(exp.model, split.form, options.max_length, options.beams)
            self.predict = exp.devices.compile(
                lambda params, batch, *, total, shard: every_row(predict(params, batch), total, shard)
            )

    def run(self, params, length, folder=None):
        """Yields (name, value), see above; writes answers/TASK.SPLIT.jsonl below `folder`, a line for each question."""
        examples, found = self.examples[length], {name: {} for name in self.split}
        form, options, measured = self.split.form, self.options, []
        if isinstance(form, Written):  # on one device, as text is written
            exp = self.exp
            run = Run(None, exp.config, exp.model, self.devices.plain(params), exp.tokenizer, exp.vocabulary)
        for batch, (task, cut) in zip(self.batches(length), examples.cuts, strict=False):
            measured.append(self.programs.measure(params, batch))
            store = self.split[task]
            if isinstance(form, Written):
                texts = answers.written(run, form, store, cut.numbers, options.max_length, options.beams)
            else:
                predicted = np.asarray(self.devices.read(self.predict(params, batch)))
                texts = answers.texts(form, store, cut.numbers, predicted)
            found[task] |= dict(zip(cut.numbers.tolist(), texts, strict=True))
        yield from self.means(measured)
        scores = {}
        for task, texts in found.items():
            if not texts:  # beyond max_batches
                continue
            numbers = sorted(texts)
            qas, predictions = [self.split[task].qas[n] for n in numbers], [texts[n] for n in numbers]
            if folder is not None and jax.process_index() == 0:
                _write(folder / "answers" / f"{task}.{self.options.split}.jsonl", qas, predictions)
            if not all(qa.answers for qa in qas):  # unpublished
                continue
            view = tasks.TASKS[task].question
            values = {name: metrics.OF_ANSWERS[name](predictions, qas) for name in (view.metric, *view.also)}
            yield from ((f"{task}_{name}", value) for name, value in values.items())
            scores[task] = values[view.metric]
            usual = collections.Counter(qa.answers[0] for qa in qas).most_common(1)[0][0]
            yield f"{task}_baseline", metrics.OF_ANSWERS[view.metric]([usual] * len(qas), qas)
        if scores and len(scores) == len(found):  # of all tasks, or not at all
            yield "score", float(np.mean(list(scores.values())))
        if {*tasks.TEN} <= scores.keys():
            yield "decascore", metrics.decascore(scores[name] for name in tasks.TEN)


def _opened(exp, options):
    """The data.questions.Split of an evaluation's own tasks; says what is left out of them."""
    reads = tasks.read_asked(exp.config, options.tasks, folders_of(options), (options.split,))
    split = tasks.store_questions(reads, options.split, exp.stores["train"].form)
    for line in split.report(options.split):
        logs.say(line)
    return split


def _write(path, qas, predictions):
    path.parent.mkdir(exist_ok=True)
    with files.replacing(path) as file:
        for qa, prediction in zip(qas, predictions, strict=True):
            line = qa._asdict() | {"prediction": prediction}
            line.pop("gold")
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
