"""A task's items, a prompt and a run make the scores that the papers define; files and figures say so."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from configs.fewshot import SUITES, get_config
from ssl_jax import evaluate, report, runs, train
from ssl_jax.errors import UserError
from ssl_jax.evaluators import FIT, FewShot, contamination, fewshot
from ssl_jax.inference import generate, scoring
from ssl_jax.interop import check
from ssl_jax.load import load_run
from ssl_jax.tasks import language
from ssl_jax.tasks.base import Item, Prompt, solved
from tests.unit.test_scoring import POSITIONS, run_of

CHOICES = (" fox", " lazy dog", " wizards jump quickly")
RECORDS = [("the quick brown", 0), ("over the", 1), ("while the five", 2), ("the lazy", 1)]
TRAIN = [("jumps", 0), ("brown fox", 1), ("the", 2), ("dog", 1), ("five", 0)]


def item(record):
    return Item(record[0], CHOICES, record[1], answers=(CHOICES[record[1]].strip(),), units=2)


def short(record):
    return Item(record, (" dog",), units=1)


def ask(prompt, shots=0, records=RECORDS, run=None, **options):
    run = run or run_of("gpt2")
    asked = fewshot.compose(run, prompt, {"train": TRAIN, "heldout": records}, shots=shots, **options)
    return asked, fewshot.answer(run, prompt, asked, batch_size=3)


def of(context, target):
    (one,) = scoring.log_likelihoods(run_of("gpt2"), [(context, target)])
    return one


NORMALISED = {
    "sum": lambda context, target: of(context, target).total,
    "tokens": lambda context, target: np.mean(of(context, target).per_token),
    "characters": lambda context, target: of(context, target).total / len(target[1:]),
    "unconditional": lambda context, target: of(context, target).total - of("A:", target).total,
}


@pytest.mark.parametrize("normalise", NORMALISED)
def test_the_chosen_one_has_the_highest_normalised_score(normalise):
    prompt = Prompt("choices", item, ("accuracy",), normalise=normalise, answer_context="A:")
    asked, answered = ask(prompt)
    scored = [[NORMALISED[normalise](context, target) for target in CHOICES] for context, _ in RECORDS]
    assert answered.predictions == np.argmax(scored, axis=1).tolist()
    right = [prediction == gold for prediction, (_, gold) in zip(answered.predictions, RECORDS, strict=True)]
    assert fewshot.measure(prompt, answered) == {"accuracy": np.mean(right)}
    kept = fewshot.measure(prompt, answered, np.array([True, False, False, True]))
    assert kept == {"accuracy": np.mean([right[0], right[3]])}
    assert fewshot.measure(prompt, answered, np.zeros(4, bool)) == {}


def test_normalisations_differ_on_these_weights():
    chosen = {name: ask(Prompt("choices", item, (), normalise=name, answer_context="A:"))[1].predictions
              for name in NORMALISED}  # fmt: skip
    assert len({tuple(one) for one in chosen.values()}) > 1


def test_a_choice_in_the_context_shares_its_continuation():
    def partial(record):
        return Item("", (" quick",), record[1], contexts=("the fox was", "the dog was"))

    _, answered = ask(Prompt("choices", partial, ("accuracy",)), records=[("", 0), ("", 1)])
    wanted = int(of("the fox was", " quick").total < of("the dog was", " quick").total)
    assert answered.predictions == [wanted, wanted]


def test_as_many_examples_are_shown_as_fit_and_no_more():
    run, prompt = run_of("gpt2"), Prompt("choices", item, ("accuracy",), separator="\n")
    asked, _ = ask(prompt, FIT)
    everything, _ = ask(prompt, len(TRAIN), records=RECORDS[:1])
    assert {one.shown for one in asked} - {0, len(TRAIN)}
    for one in asked:
        lengths = [len(scoring.encode(run, context + target)) for context, target in one.pairs]
        assert max(lengths) <= POSITIONS
        assert len({context for context, _ in one.pairs}) == 1
        assert one.pairs[0][0].count("\n") == one.shown
    # One more of the same draw would not fit.
    context, first = asked[0].pairs[0][0], everything[0]
    assert first.shown == asked[0].shown and first.pairs[0][0] == context


def test_a_prompt_that_does_not_fit_is_refused_with_the_number_or_left_out():
    records = [("the fox " * 30, 0), *RECORDS]
    prompt = Prompt("choices", item, ("accuracy",))
    with pytest.raises(
        UserError, match=rf"item 0: a prompt has \d+ tokens .* room for {POSITIONS}: \d+ too many.*too_long"
    ):
        ask(prompt, records=records)
    asked, _ = ask(prompt, records=records, too_long="leave_out")
    assert [one.item for one in asked] == [item(record) for record in RECORDS]


def test_as_many_as_fit_are_those_that_there_are_and_none_is_refused():
    run, prompt = run_of("gpt2"), Prompt("choices", short, ("accuracy",))
    records = ["the", "fox"]  # of which the first is among the examples
    few = {"train": ["the", "a"], "heldout": records}
    asked = fewshot.compose(run, prompt, few, shots=FIT)
    assert [one.shown for one in asked] == [1, 2]
    with pytest.raises(UserError, match="as many examples as fit are to be shown, and there are 0"):
        fewshot.compose(run, prompt, few | {"train": records[:1]}, shots=FIT)


def test_words_are_asked_of_the_generator_where_a_discriminator_has_no_probabilities_of_them(tmp_path):
    for name in ("Electra-halves", "ElectraForPreTraining"):
        check.FOLDERS[name](tmp_path / name)
    run, half = load_run(tmp_path / "Electra-halves"), load_run(tmp_path / "ElectraForPreTraining")
    prompt = Prompt("cloze", short, ("accuracy", "perplexity"))
    _, answered = ask(prompt, run=run, records=["a b", "c"])
    wanted = scoring.pseudo_log_likelihoods(run, [("a b", " dog"), ("c", " dog")])
    np.testing.assert_allclose(answered.log_likelihoods, [one.total for one in wanted], atol=1e-5)
    chosen = Prompt("choices", item, ("accuracy",))
    fewshot.require(half, chosen)
    with pytest.raises(UserError, match="cannot score words: it has heads for replaced, none for next .* or masked"):
        fewshot.require(half, prompt)
    with pytest.raises(UserError, match="not a causal language model"):
        fewshot.require(run, prompt._replace(last_token=True))


def test_cloze_counts_all_tokens_or_the_last():
    for last in (False, True):
        prompt = Prompt("cloze", item, ("accuracy", "perplexity"), last_token=last)
        _, answered = ask(prompt)
        whole = [of(context, CHOICES[0]) for context, _ in RECORDS]
        totals = [one.per_token[-1] if last else one.total for one in whole]
        np.testing.assert_allclose(answered.log_likelihoods, totals, atol=1e-4)
        values = fewshot.measure(prompt, answered)
        # Two original units for each item.
        assert values["perplexity"] == pytest.approx(np.exp(-np.sum(totals) / (2 * len(totals))), rel=1e-4)


def test_texts_are_read_through_and_take_no_examples():
    prompt = Prompt("perplexity", lambda record: Item("", (record,), units=3), ("perplexity",), unit="word")
    texts = ["the quick brown fox " * 8, "lazy dog"]
    _, answered = ask(prompt, records=texts)
    (one, two) = scoring.rolling(run_of("gpt2"), texts)
    wanted = {"perplexity_per_word": pytest.approx(np.exp(-(one.total + two.total) / 6))}
    assert fewshot.measure(prompt, answered) == wanted
    with pytest.raises(UserError, match="shots=1: whole texts"):
        fewshot.compose(run_of("gpt2"), prompt, {"heldout": texts}, shots=1)


def test_classes_are_told_by_a_threshold_of_the_training_examples():
    """GPT-1's CoLA (section 5): the mean log-probability of a token, above a threshold; read from the exact texts."""
    run, prompt = run_of("gpt2"), Prompt("threshold", lambda record: Item("", record[:1], record[1]), ("matthews",))
    texts = ("the quick brown fox", "over the lazy dog", "five boxing wizards", "dog dog dog", "jumps", "the the fox")
    means = [one.total / one.tokens for one in scoring.rolling(run, texts)]
    middle = float(np.median(means))
    train = [(text, int(mean > middle)) for text, mean in zip(texts, means, strict=True)]
    records = {"train": train, "heldout": [("the quick quick fox", 1), ("wizards jump", 0), *train]}
    asked = fewshot.compose(run, prompt, records)
    learnt = fewshot.compose(run, prompt, {"heldout": train})
    answered = fewshot.answer(run, prompt, asked, train=learnt, batch_size=3)
    assert answered.predictions[2:] == [label for _, label in train]
    low, high = sorted(means)[2:4]
    assert answered.predictions == [int(mean > (low + high) / 2) for mean in answered.log_likelihoods]
    np.testing.assert_allclose(answered.log_likelihoods[2:], means, rtol=1e-5)
    with pytest.raises(UserError, match="shots=1: whole texts"):
        fewshot.compose(run, prompt, records, shots=1)
    options = FewShot(task="cola")
    with pytest.raises(UserError, match="chosen on training examples, and there are none"):
        fewshot.Evaluator(run, None, options, {"train": [], "heldout": []})


def test_answers_are_written_finished_and_stop_words_passed_over():
    run, prompt = run_of("gpt2"), Prompt("generate", item, ("match",), max_tokens=4, stop=(" ",), finish=str.upper)
    _, answered = ask(prompt)
    texts = scoring.generate_until(run, [context for context, _ in RECORDS], stop=(" ",), max_tokens=4)
    assert answered.predictions == [text.upper() for text in texts]
    (found,) = generate.beam_search(run, [scoring.encode(run, "over the")], max_tokens=4, beams=6, length_penalty=0.0)
    words = [language.first_word(run.tokenizer.decode(one.tokens)) for one in found]
    likeliest = next(word for word in words if word)
    passed = Prompt("generate", item, ("match",), max_tokens=4, beams=6, finish=language.first_word,
                      stop_words=frozenset({likeliest.lower()}))  # fmt: skip
    _, answered = ask(passed, records=[("over the", 1)])
    assert answered.predictions == [fewshot.first_content_word(words, passed.stop_words)]
    assert answered.predictions != [likeliest]


def test_overlap_is_n_grams_in_common():
    words = [f"w{number}" for number in range(40)]
    texts = [" ".join(words[:20]), "Something else, " + ", ".join(words[25:33]) + "! and more"]
    items = {
        " ".join(words[5:18]).upper(): (1, 1),  # 13 of them
        " ".join([*words[5:17], "other"]): (0, 1),  # 12
        " ".join(words[25:33]): (1, 1),  # shorter, the whole of it
        " ".join(words[25:32]): (0, 0),  # too short to tell
        " ".join(words[:10] + words[10:13] + ["x"]): (1, 2),
        "": (0, 0),
    }
    # Of a set of long items n is 13; in one whose 5th percentile is 9 words, that.
    long = {f"{number} {' '.join(words)}": (8, 29) for number in range(200)}
    questions = {"Q: " + " ".join(words[:8]): (0, 1), "Q: " + " ".join(words[:9]): (1, 2)}
    made = contamination.common([[*items, *long], questions], texts)
    assert [list(map(tuple, counts)) for counts in made] == [[*items.values(), *long.values()], [*questions.values()]]
    (none, _) = contamination.common([list(items), []], [])
    assert none[:, 0].tolist() == [0] * len(items)


def test_means_over_draws_have_their_interval():
    row = dict(run="a", parameters=10, task="t", prompt="p", metric="accuracy", chance=0.25)
    rows = [row | dict(shots=0, shown=0.0, seed=0, value=0.5)]
    rows += [row | dict(shots=2, shown=2.0, seed=seed, value=value) for seed, value in enumerate((0.2, 0.4, 0.6))]
    zero, few = report.summarise(rows)
    assert (zero["value"], zero["low"], zero["high"], zero["seeds"]) == (0.5, 0.5, 0.5, 1)
    assert few["value"] == pytest.approx(0.4) and few["seeds"] == 3
    assert few["low"] == pytest.approx(0.2) and few["high"] == pytest.approx(0.6)
    assert [report.setting(shots) for shots in (0, 1, 5, -1)] == ["zero", "one", "few", "few"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, data_root):
    """Two runs on a task of the demo corpus."""
    root, folders = tmp_path_factory.mktemp("evaluated"), []
    for paper in ("gpt2", "gpt3"):
        run = run_of(paper, 256)
        run.config.data.update(root=data_root, max_documents=300, heldout=0.1)
        folders.append(str(root / paper))
        runs.save_run(run, folders[-1], "nowhere")
    config = get_config("title")
    config.update(dict(runs=tuple(folders), shots=(0, -1), seeds=2, limit=3, too_long="leave_out"))
    said = []
    return config, root / "out", evaluate.evaluate(config, root / "out", said.append), said


def test_an_evaluation_leaves_rows_answers_and_figures(evaluated):
    config, folder, entries, said = evaluated
    rows = json.loads((folder / "results.json").read_text())["rows"]
    # Two runs, two prompts; without examples one draw, else two.
    assert len(rows) == 2 * 2 * (1 + 2) and len(entries) == 2 * 2 * 2 and len(said) == 2 * 2 * 3 + 2
    with open(folder / "results.csv") as file:
        table = list(csv.DictReader(file))
    assert [float(row["value"]) for row in table] == [row["value"] for row in rows]
    assert all((folder / name).stat().st_size > 10_000 for name in ("shots.png", "parameters.png"))
    for row in rows:
        where = row["run"].strip("/").replace("/", "_")
        name = f"{where}-title-{row['prompt']}-{row['shots']}-{row['seed']}.jsonl"
        lines = [json.loads(line) for line in (folder / "answers" / name).read_text().splitlines()]
        assert np.mean([line["prediction"] == line["gold"] for line in lines]) == row["value"]
        assert row["overlap"] is None and row["chance"] == 0.25  # weights from elsewhere: whose text is not known


def test_no_runs_answers_take_the_place_of_anothers():
    runs_at = [SimpleNamespace(workdir=folder) for folder in ("runs/a_b", "runs/a/b", "/runs/c", "x" * 300)]
    assert evaluate._file_names(runs_at) == ["runs_a_b-0", "runs_a_b-1", "runs_c", "x" * 180]


def test_what_is_shown_is_what_was_asked(evaluated):
    config, folder, _, _ = evaluated
    shown = {(title, prompt) for title, prompt, _ in evaluate.prompts(config, 1)}
    for shots in (0, -1):
        where = config.runs[0].strip("/").replace("/", "_")
        (line, *_) = (folder / "answers" / f"{where}-title-title-{shots}-0.jsonl").read_text().splitlines()
        assert any(prompt == json.loads(line)["prompt"] for title, prompt in shown if title.startswith("title (title)"))


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_tasks_and_prompts_that_there_are(name):
    config = get_config(name)
    pairs = evaluate.chosen(config)
    assert len(set(pairs)) == len(pairs) == len(config.tasks)
    if name == "gpt2":  # the columns of Table 3
        assert {task for task, _ in pairs} >= {
            "lambada", "cbt_cn", "cbt_ne", "wikitext2", "wikitext103", "ptb", "1bw", "enwik8", "text8",
        }  # fmt: skip


def test_faults_of_any_task_are_told_before_anything_is_computed(tmp_path, data_root):
    run = run_of("gpt2", 256)
    runs.save_run(run, tmp_path / "run", "nowhere")
    for name, lines in {"lambada": ["the quick brown fox"], "cnn_dailymail": []}.items():
        (tmp_path / name / "test").mkdir(parents=True)
        (tmp_path / name / "lambada_test_plain_text.txt").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "cnn_dailymail/test/1.story").write_text(f"{'the fox ' * 200}\n\n@highlight\n\nfox\n")
    config = get_config("lambada:last_word,cnn_dailymail:gpt2")
    config.update(dict(runs=(str(tmp_path / "run"),), shots=(0,), folder=str(tmp_path)))
    said = []
    with pytest.raises(UserError, match=r"cnn_dailymail \(gpt2\): item 0: a prompt has \d+ tokens"):
        evaluate.evaluate(config, tmp_path / "out", said.append)
    assert not said and not (tmp_path / "out").exists()
    config.update(dict(tasks=("lambada:last_word", "lambada:gpt3"), shots=(0, -1)))
    with pytest.raises(UserError, match=r"lambada \(last_word\): as many examples as fit are .* there are 0"):
        evaluate.evaluate(config, tmp_path / "out", said.append)
    assert not said
    config.shots = (0,)
    (one, *_, two) = evaluate.evaluate(config, tmp_path / "out", said.append)
    assert (one["prompt"], two["prompt"], two["metric"]) == ("last_word", "gpt3", "perplexity")


def test_what_was_found_before_a_fault_is_there(evaluated, monkeypatch, tmp_path):
    config = evaluated[0].copy_and_resolve_references()
    config.update(dict(shots=(0,), limit=2))
    (tmp_path / "shots.png").touch()  # an earlier evaluation's
    calls = []

    def answer(*arguments, real=fewshot.answer, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(fewshot, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(config, tmp_path, lambda line: None)
    with open(tmp_path / "results.csv") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == ["title"]
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 1
    assert not (tmp_path / "shots.png").exists() and len((tmp_path / "summary.csv").read_text().splitlines()) == 2


def test_shots_are_told_as_asked_and_as_they_fit():
    told = [evaluate.told_shots(*one) for one in ((0, 0.0), (1, 1.0), (4, 2.5), (-1, 3.8))]
    assert told == ["0 examples", "1 example", "4 examples, 2.5 fit", "as many examples as fit, 3.8"]


def test_solved_examples_are_those_that_a_prompt_may_show():
    prompt = Prompt("choices", item, shows=lambda record: record[1] == 1)
    asked = [one for seed in range(4) for one in ask(prompt, 1, seed=seed)[0]]
    shown = {one.pairs[0][0].partition(prompt.separator)[0] for one in asked}
    assert shown == {solved(item(record)) for record in TRAIN if record[1] == 1} and len(shown) == 2
    with pytest.raises(UserError, match="3 examples are to be shown, and there are 2 to draw from"):
        ask(prompt, 3)


def test_a_run_in_training_is_asked_what_it_is_asked_afterwards(tmp_path, smoke_config):
    options = dict(shots=1, limit=6, too_long="leave_out", seed=3)
    config = smoke_config(
        ("steps", 4), ("run.evaluate_every", 2), ("model.max_positions", 256), ("phases.lengths", (256,)), ("parallel.devices", 2),
        ("evals.heldout.max_batches", 1), paper="gpt3", variant="few,smoke",
    )  # fmt: skip
    with config.unlocked():
        config.evals.titles = dict(module="fewshot", task="title", prompt="text", **options)
    result = train.train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "titles"] == [2, 4]
    afterwards = get_config("title:text")
    afterwards.update(options | dict(runs=(str(tmp_path / "run"),), shots=(1,), seeds=1, overlap=False))
    (entry,) = evaluate.evaluate(afterwards, tmp_path / "out", lambda line: None)
    assert result["titles/accuracy"] == entry["value"]


WRONG = {
    "task": (dict(task="titel"), "'titel'.*did you mean 'title'"),
    "prompt": (dict(task="title", prompt="txt"), "'txt'.*did you mean 'text'"),
    "too_long": (dict(task="title", too_long="leave"), "too_long.*'leave'"),
    "shots": (dict(task="title", shots="a"), "shots='a': a whole number of at least -1"),
    "batch_size": (dict(task="title", batch_size=0), "batch_size=0: a whole number of at least 1"),
    "head": (dict(task="2D+"), "is not a causal language model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_run_in_training_cannot_be_asked_is_refused_before_it_starts(name, tmp_path, smoke_config):
    options, message = WRONG[name]
    config = smoke_config(("evals.heldout.max_batches", 1))
    with config.unlocked():
        config.evals.asked = dict(module="fewshot", **options)
    with pytest.raises(UserError, match=message):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


REFUSED = {
    "no-run": (dict(runs=()), "runs is empty"),
    "task": (dict(tasks=("titel",)), "'titel'.*did you mean 'title'"),
    "prompt": (dict(tasks=("title:txt",)), "'txt'.*did you mean 'text'"),
    "shots": (dict(shots=(-2,)), "shots="),
    "no-number": (dict(shots=("a",)), r"shots=\('a',\): 'a' is none of the whole numbers"),
    "no-word": (dict(runs=(64,)), r"runs=\(64,\): 64 is none of the words, as in a,b or '3'"),
    "head": (dict(tasks=("2D+",)), "is not a causal language model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_evaluated_is_one_line(name, tmp_path):
    changes, message = REFUSED[name]
    config = get_config("title")
    folder = tmp_path / "bert"
    if name == "head":
        check.FOLDERS["BertForMaskedLM"](folder)
    config.update(dict(runs=(str(folder),)) | changes)
    with pytest.raises(UserError, match=message):
        evaluate.evaluate(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
