"""Trains a paper's demo on the demo corpus in a few minutes and shows what it learned.

    python scripts/demo.py --config configs/bert.py:demo --workdir runs/demo-bert

Masked language models fill blanks, causal ones continue a text, ELECTRA's discriminator marks the tokens its generator
replaced, decaNLP's network answers questions. All are evaluated on held-out articles or questions, next to the baselines they
must beat.

A student's teacher is trained first, unless its run already exists. The student is compared with it and with the same
student trained for as many steps without a teacher; with --seeds=5 both are trained from five seeds. TinyBERT's
continues with the articles' topics: the teacher is fine-tuned, and the student learns the task from it.
"""

import copy
import json
import math
import statistics
import time
from pathlib import Path

from absl import flags

from ssl_jax import command_line, files
from ssl_jax.data import tokens

# isort: split
from configs import bert, common, finetune, tinybert  # command_line finds them

CONFIG = command_line.define_config()
WORKDIR = command_line.define_path("workdir", None, "the run's folder", required=True)
SEEDS = flags.DEFINE_integer("seeds", 1, "of a student and of the same student alone: how many to train")

# Written for the demo, not from the corpus. [MASK] is inserted in the tokenizer's spelling.
SENTENCES = (
    "the capital and largest [MASK] is london.",
    "in the 19th [MASK], the city grew rapidly.",
    "the river flows into the [MASK] sea.",
    "he was an english [MASK].",
    "she was an american [MASK] and writer.",
    "they [MASK] found in africa and asia.",
    "it is one of the most [MASK] countries in the world.",
    "the species is native to north [MASK].",
    "mercury is the closest planet to the [MASK].",
)
PROMPTS = (
    "The capital and largest city",
    "He was an English",
    "In the 19th century,",
    "The river flows",
    "It is one of the most",
)
ARTICLES, QUESTIONS = 5, 10
PAIRS = {"nsp": "next sentences", "sop": "sentence orders"}


def main():
    from ssl_jax import parallel, train  # after the flags, here and below: typos fail before jax loads
    from ssl_jax.load import load_run

    config, workdir = CONFIG.value, Path(WORKDIR.value)
    parallel.initialise()
    if config.teacher.runs:
        distillation(config, workdir)
        return
    result = train.train(config, workdir)
    if result is None:
        return
    show = (
        answerer if config.losses.answer else detector if config.losses.rtd else writer if config.losses.clm else filler
    )
    # Human-readable output comes last: if it fails, the numbers are already safe.
    measured = show(config, result)
    files.write_json(workdir / "result.json", result | {"total_loss": result["loss"]} | measured)
    shown = {answerer: show_answers, detector: show_replaced, writer: show_text, filler: show_blanks}[show]
    shown(load_run(workdir))
    tell(workdir, measured)


def tell(workdir, measured):
    print(f"\n{workdir}/curves.png has the curves, {workdir}/result.json these numbers:")
    print(json.dumps(measured))


def table(what, rows):
    """Prints rows of (name, model, baseline, format, remark)."""
    print(f"\n{what:26} {'model':>10} {'baseline':>10}")
    for name, model, baseline, form, remark in rows:
        print(f"  {name:24} {model:>10{form}} {baseline:>10{form}}   {remark}")


def filler(config, result):
    measured = tokens_measured(config, "held-out masked tokens", result["mlm_accuracy"], result["mlm_loss"])
    return measured | pairs_measured(result)


def pairs_measured(result):
    """Prints the accuracy on sentence pairs next to the most frequent label's, and why the latter is so high."""
    name = next((name for name in PAIRS if f"{name}_accuracy" in result), None)
    if name is None:
        return {}
    accuracy, chance = result[f"{name}_accuracy"], result[f"{name}_chance"]
    remark = f"{accuracy - chance:+.1%} beside always the most frequent label"
    table(f"held-out {PAIRS[name]}", [("accuracy", accuracy, chance, ".1%", remark)])
    print(
        "  The demo's articles are short: where a chunk is a single sentence there is no second one of its own, and its\n"
        "  partner comes from another article. So most pairs have that label, and only what is above the baseline was learned."
    )
    return {"pair_accuracy": accuracy, "pair_baseline_accuracy": chance}


def writer(config, result):
    return tokens_measured(config, "held-out next tokens", result["clm_accuracy"], result["clm_loss"])


def tokens_measured(config, what, accuracy, loss):
    """Prints accuracy and loss next to the most frequent token's and the token frequencies'."""
    from ssl_jax import baselines

    measured = {"accuracy": accuracy, "loss": loss, **baselines.unigram(config)}
    guess, unigram = measured["baseline_accuracy"], measured["unigram_loss"]
    remark = f"{accuracy / guess:.2f} x always guessing the most frequent token"
    table(
        what,
        [
            ("accuracy", accuracy, guess, ".1%", remark),
            ("loss (nats)", loss, unigram, ".3f", f"{unigram - loss:.3f} below the token frequencies"),
        ],
    )
    return measured


def answerer(config, result):
    """Prints each task's metric next to the better of two that take no model: the usual answer, the context's first words."""
    from ssl_jax import metrics, tasks

    rows, measured = [], {}
    for task in config.questions.tasks:
        view = tasks.TASKS[task].question
        qas = [
            tasks.QA(one["question"], one["context"], tuple(one["answers"])) for one in answered(WORKDIR.value, task)
        ]
        baselines = {"the usual answer": result[f"{task}_baseline"]}
        if view.metric in ("nf1", "em", "rouge"):  # others read more than the answers
            for words in range(1, 6):
                texts = [" ".join(qa.context.split()[:words]) for qa in qas]
                baselines[f"the first {words} words of the context"] = metrics.OF_ANSWERS[view.metric](texts, qas)
        what = max(baselines, key=baselines.get)
        rows.append((f"{task}, {view.metric}", result[f"{task}_{view.metric}"], baselines[what], ".1%", what))
        measured[f"{task}_trivial"] = baselines[what]
    table("held-out questions", rows)
    return measured


def answered(workdir, task):
    """The held-out questions of a task as a run answered them: dicts of `question`, `context`, `answers`, `prediction`."""
    return [json.loads(line) for _, line in files.read_lines(Path(workdir) / "answers" / f"{task}.heldout.jsonl")]


def detector(config, result):
    """Prints the discriminator's accuracy next to calling every token original, and the generator's."""
    share = result["rtd_replaced"]
    measured = {
        "accuracy": result["rtd_accuracy"],
        "baseline_accuracy": 1 - share,
        "loss": result["rtd_loss"],
        "baseline_loss": -share * math.log(share) - (1 - share) * math.log(1 - share),
        "auc": result["rtd_auc"],
    }
    all_original = "calling all tokens original"
    table(
        "held-out replaced tokens",
        [
            ("accuracy", measured["accuracy"], measured["baseline_accuracy"], ".1%", all_original),
            ("loss (nats)", measured["loss"], measured["baseline_loss"], ".3f", "knowing how many are replaced"),
            ("area under ROC curve", measured["auc"], 0.5, ".3f", "chance"),
        ],
    )
    return measured | tokens_measured_as_generator(config, result)


def tokens_measured_as_generator(config, result):
    names = {"accuracy": "generator_accuracy", "loss": "generator_loss"}
    names |= {"baseline_accuracy": "most_frequent_accuracy", "unigram_loss": "unigram_loss"}
    made = tokens_measured(config, "its generator", result["mlm_accuracy"], result["mlm_loss"])
    return {names[name]: value for name, value in made.items()}


def distillation(config, workdir):
    """Trains teacher, student and the student without a teacher; evaluates all on the student's held-out examples."""
    from ssl_jax import predict, train
    from ssl_jax.load import load_run

    for folder in map(Path, config.teacher.runs):
        if not (folder / "result.json").exists():
            announce(f"the teacher, configs/bert.py:demo, in {folder}")
            if train.train(bert_demo(config), folder) is None:
                return
    losses = {"student": [], "alone": []}
    for seed in range(config.seed, config.seed + SEEDS.value):
        seeded = with_changes(config, {"seed": seed})
        folder = workdir if seed == config.seed else workdir / f"seed{seed}"
        for name, stages in students(seeded, folder).items():
            for where, stage in stages:
                announce(f"the student{' alone' if name == 'alone' else ''}, seed {seed}, in {where}")
                result = train.train(stage, where)
                if result is None:
                    return
            metrics, _ = predict.read_heldout(load_run(where), stage)
            losses[name].append(metrics["mlm_loss"])
    stages = students(config, workdir)
    final = stages["student"][-1][1]
    trained = {"teacher": load_run(config.teacher.runs[0])}
    trained |= {name: load_run(stages[name][-1][0]) for name in stages}
    measured = side_by_side(trained, final)
    measured |= {f"{name}_losses": values for name, values in losses.items()}
    if SEEDS.value > 1:
        spread = {name: f"{sum(v) / len(v):.3f} ({min(v):.3f} to {max(v):.3f})" for name, v in losses.items()}
        print(f"\nheld-out loss of {SEEDS.value} seeds: student {spread['student']}, alone {spread['alone']}")
    if len(stages["student"]) > 1:  # TinyBERT continues with a task
        measured |= topics(config, workdir, stages)
    result = files.read_json(stages["student"][-1][0] / "result.json")
    files.write_json(workdir / "result.json", result | measured)
    show_fills(trained)
    tell(workdir, measured)


def announce(what):
    print(f"\n--- {what}", flush=True)


def with_changes(config, changes):
    config = copy.deepcopy(config)
    config.update_from_flattened_dict(changes)
    return config


def bert_demo(config):
    return with_changes(bert.get_config("demo"), {"data.root": config.data.root})


def students(config, workdir):
    """name -> (folder, config) of each stage, for the student and for the same student without a teacher."""
    stages = [(workdir, config)]
    if not config.corruption.rate:  # layer matching comes first, then filling blanks
        last = with_changes(config, {"init.run": str(workdir / "general")})
        tinybert.mlm(last, "demo")
        stages = [(workdir / "general", config), (workdir, last)]
    alone = with_changes(stages[-1][1], {"steps": sum(stage.steps for _, stage in stages)})
    common.alone(alone, "demo")
    return {"student": stages, "alone": [(workdir / "alone", alone)]}


def side_by_side(trained, config):
    """Prints size, loss, accuracy and speed of all runs on a config's held-out examples; returns them."""
    from ssl_jax import flops, predict

    readers = {name: predict.read_heldout(run, config) for name, run in trained.items()}
    speeds = {name: [] for name in trained}
    for _ in range(20):  # interleaved, so that other load on the machine affects all of them
        for name, (_, read) in readers.items():
            start = time.perf_counter()
            speeds[name].append(read() / (time.perf_counter() - start))
    rows = {
        "parameters": {name: flops.count_parameters(run.params) for name, run in trained.items()},
        "loss": {name: metrics["mlm_loss"] for name, (metrics, _) in readers.items()},
        "accuracy": {name: metrics["mlm_accuracy"] for name, (metrics, _) in readers.items()},
        "chance": {name: metrics["mlm_chance"] for name, (metrics, _) in readers.items()},
        "tokens_per_second": {name: statistics.median(speed) for name, speed in speeds.items()},
    }
    forms = {"parameters": ",", "loss": ".3f", "accuracy": ".1%", "chance": ".1%", "tokens_per_second": ",.0f"}
    print(f"\n{'held-out masked tokens':24}" + "".join(f"{name:>12}" for name in trained))
    for what, values in rows.items():
        print(f"  {what:22}" + "".join(f"{value:>12{forms[what]}}" for value in values.values()))
    return {f"{name}_{what}": value for what, values in rows.items() for name, value in values.items()}


def topics(config, workdir, stages):
    """Task distillation (TinyBERT, section 3.2) on the articles' topics, vs. the student without a teacher."""
    from ssl_jax import train

    changes = {"data.root": config.data.root}
    general, teacher, intermediate = workdir / "general", workdir / "topics-teacher", workdir / "topics-intermediate"
    taught = changes | {"teacher.runs": (str(teacher),)}
    student = (taught | {"init.run": str(general)}, taught | {"init.run": str(intermediate)})
    recipes = [
        ("teacher", teacher, finetune.get_config("bert-demo,topics"), changes | {"init.run": config.teacher.runs[0]}),
        ("intermediate", intermediate, tinybert.get_config("demo,intermediate"), student[0]),
        ("student", workdir / "topics-student", tinybert.get_config("demo,prediction"), student[1]),
        ("alone", workdir / "topics-alone", finetune.get_config("tinybert-demo,topics"),
         changes | {"init.run": str(stages["alone"][-1][0]), "task.epochs": 6.0}),
    ]  # fmt: skip
    measured = {}
    for name, folder, recipe, changes in recipes:
        announce(f"topics: {name}, in {folder}")
        result = train.train(with_changes(recipe, changes), folder)
        if result is None:
            raise SystemExit(0)  # stopped by SIGTERM, and saved
        accuracy = [value for key, value in result.items() if key.endswith("_accuracy")]
        if accuracy:
            measured[f"{name}_topics_accuracy"], chance = accuracy[0], result["chance"]
    print(f"\n{'held-out topics':24}" + "".join(f"{name.split('_')[0]:>12}" for name in measured))
    print(f"  {'accuracy':22}" + "".join(f"{value:>12.1%}" for value in measured.values()))
    print(f"  {'chance':22}" + f"{chance:>12.1%}" * len(measured))
    return measured | {"topics_chance": chance}


def show_fills(trained):
    """Shows the likeliest fills of teacher and students, line by line."""
    from ssl_jax import predict

    print("\nSentences written for this demo, with the three likeliest fills of each:")
    for sentence in SENTENCES:
        print(f"\n  {sentence}")
        for name, run in trained.items():
            blank = run.tokenizer.id_to_token(run.vocabulary.mask)
            fills = predict.fill_masks(run, sentence.replace("[MASK]", blank), 3)[0]
            print(f"    {name:8} " + "   ".join(f"{token} {probability:.0%}" for token, probability in fills))


def show_blanks(run):
    from ssl_jax import predict

    print("\nSentences written for this demo, with the five likeliest fills:")
    blank = run.tokenizer.id_to_token(run.vocabulary.mask)
    for sentence in SENTENCES:
        show(sentence, predict.fill_masks(run, sentence.replace("[MASK]", blank)))
    print("\nFirst sentences of held-out articles, their middle word hidden:")
    for sentences in heldout_articles(run):
        sentence, hidden = hide_a_word(run, sentences[0])
        if hidden:
            text = run.tokenizer.decode(sentence, skip_special_tokens=False)
            show(text, predict.fill_blanks(run, sentence), hidden)


def show_text(run):
    from ssl_jax.inference import generate

    print("\nBeginnings written for this demo, and how the model goes on (top-k 40, temperature 0.8):")
    for number, prompt in enumerate(PROMPTS):
        ids = run.tokenizer.encode(prompt, add_special_tokens=False).ids
        made = generate.generate(run, [ids], max_tokens=40, temperature=0.8, top_k=40, seed=number)[0]
        added = "".join(generate.text_pieces(run.tokenizer, ids, made))
        print(f"\n  {prompt}|" + added.replace("\n", "\n  "))


def show_replaced(run):
    from ssl_jax import predict

    print(
        "\nFirst sentences of held-out articles. [new] stands where the generator wrote another word than (old);"
        "\n! marks what the discriminator takes for replaced:"
    )
    for number, sentences in enumerate(heldout_articles(run)):
        words = []
        for token in predict.mark_replaced(run, sentences[0], number):
            word = f"[{token.shown}]({token.original})" if token.shown != token.original else token.shown
            words.append(word + "!" * token.flagged)
        print("\n  " + " ".join(words))


def show_answers(run):
    print("\nHeld-out questions and what it answers:")
    names = run.config.questions.tasks
    for place, task in enumerate(names):
        lines, count = answered(run.workdir, task), QUESTIONS // len(names) + (place < QUESTIONS % len(names))
        for number in range(count):
            one = lines[number * len(lines) // count]
            print(f"\n  {one['question']}\n  {one['context']}\n    {one['prediction']}   (it is: {one['answers'][0]})")


def heldout_articles(run):
    """The first few held-out documents that are longer than a word: lists of sentences."""
    store = tokens.Store(tokens.prepare(run.config.data), "heldout")
    return [store.document(number) for number in range(min(ARTICLES, len(store.documents) - 1))]


def hide_a_word(run, sentence):
    """The first tokens of a sentence with the middle word replaced by [MASK]; and that word, or None."""
    ids = sentence[: run.config.phases.lengths[0] - 2].tolist()
    whole = [
        place
        for place, (token, following) in enumerate(zip(ids, [*ids[1:], 0]))
        # A single-piece word of letters only.
        if run.vocabulary.starts_word[token]
        and (run.vocabulary.starts_word[following] or run.vocabulary.special[following])
        and run.tokenizer.id_to_token(token).strip("\u2581").isalpha()
    ]
    if not whole:
        return ids, None
    place = whole[len(whole) // 2]
    hidden = run.tokenizer.id_to_token(ids[place])
    ids[place] = run.vocabulary.mask
    return ids, hidden


def show(sentence, blanks, hidden=None):
    print(f"\n  {sentence}" + (f"   (it was: {hidden})" if hidden else ""))
    for blank in blanks:
        print("    " + "   ".join(f"{token} {probability:.0%}" for token, probability in blank))


if __name__ == "__main__":
    command_line.run(main)
