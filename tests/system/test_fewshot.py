"""A task's items, a prompt and a run make the scores that the papers define; files and figures say so."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from configs.fewshot import SUITES, get_config
from ssl_jax import evaluate, runs, train
from ssl_jax.errors import UserError
from ssl_jax.evaluators import FIT, FewShot, contamination, fewshot
from ssl_jax.inference import generate, scoring
from ssl_jax.interop import check
from ssl_jax.load import load_run
from ssl_jax.reports import fewshot as figures
from ssl_jax.tasks import PROMPTED, language
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


def test_whole_texts_have_8_grams_in_common(monkeypatch):
    """GPT-2's Table 6, against sets of all 8-grams; long training texts come in parts, and none is cut."""
    monkeypatch.setattr(contamination, "STRETCH", 20)
    rng = np.random.default_rng(0)
    train = [" ".join(rng.choice(["a", "b", "c", "d"], 400)) for _ in range(2)]
    text = "A, " + " ".join(rng.choice(["a", "b!", "-", "C"], 300)) + train[1][200:260]

    def grams(text):
        words = contamination.words_of(text)
        return [tuple(words[start : start + 8]) for start in range(len(words) - 7)]

    known = {gram for one in train for gram in grams(one)}
    wanted = [sum(gram in known for gram in grams(text)), len(grams(text))]
    parts = iter([(train[0][start : start + 50] for start in range(0, len(train[0]), 50)), train[1]])
    (made,) = contamination.common([[text]], parts, [contamination.GPT2])
    assert made.tolist() == [wanted] and 23 <= wanted[0] < wanted[1]
    assert contamination.share(made) == wanted[0] / wanted[1] and contamination.share(np.zeros((0, 2))) == 0
    # Long ones have n-grams of 13 words by default, of which fewer are in common.
    (fewer,) = contamination.common([[text]], [train[1]])
    assert fewer[0, 1] == wanted[1] - 5 and fewer[0, 0] < wanted[0]


def test_a_text_is_compared_with_its_own_training_split(tmp_path):
    """As it is written: de-tokenized, "wasn't" would not be found."""
    runs.save_run(run_of("gpt2", 256), tmp_path / "run", "nowhere")
    words = [f"w{number}" for number in range(30)]
    texts = {"ptb": {"ptb.test.txt": " ".join(["it", "was", "n't", *words[:10]]) + "\n x y \n",
                     "ptb.train.txt": "\n".join(["no it was n't", " ".join(words[:7]), "z"])},
             "enwik8": {"enwik8": " ".join(words[:8] * 5) + "é" * 5},
             "1bw": {"news.en.heldout-00000-of-00050": " ".join(words[:9]) + "\n" + " ".join(words[10:18]),
                     "training-monolingual.tokenized.shuffled/news.en-00001-of-00100": " ".join(words[1:9]),
                     "training-monolingual.tokenized.shuffled/news.en-00002-of-00100": " ".join(words[10:17]) + "\nw17"},
             "wikitext2": {"wiki.test.tokens": "the fox"}}  # fmt: skip
    for task, contents in texts.items():
        for name, content in contents.items():
            path = tmp_path / task / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    config = get_config("ptb:gpt2,enwik8,1bw:gpt2,wikitext2:plain")
    config.update(dict(runs=(str(tmp_path / "run"),), folder=str(tmp_path)))
    said = []
    evaluate.evaluate(config, tmp_path / "out", said.append)
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    # PTB's 16 words are 9 8-grams, of which the 4 of the first 11 words are there, over line ends; the last bytes of enwik8
    # are no words; of 1BW's 2 + 1 there is one, since its lines are texts of their own.
    assert [row["own_overlap"] for row in rows] == [4 / 9, 0, 1 / 3, None]
    assert "(44.44% of n-grams in common with the set's own training text)" in said[0]
    config.overlap = False
    evaluate.evaluate(config, tmp_path / "out", said.append)
    assert {row["own_overlap"] for row in json.loads((tmp_path / "out/results.json").read_text())["rows"]} == {None}


def test_baselines_are_measured_beside_the_score():
    """GPT-2's Lede-3 and Random-3 (Table 4)."""
    prompt = PROMPTED["cnn_dailymail"].prompts["gpt2"]
    sentences = [f"Number {word} is here." for word in "one two three four five six".split()]
    record = {"article": " ".join(sentences), "highlights": "\n".join(sentences[:3])}
    items = [prompt.item(record)] * 4
    drawn = [prompt.baselines["random3"](one, np.random.default_rng(n)).split("\n") for n, one in enumerate(items)]
    assert all(len(set(one)) == 3 and one == sorted(one, key=sentences.index) for one in drawn)
    assert len({tuple(one) for one in drawn}) > 1 and set(sum(drawn, [])) <= set(sentences)
    answered = fewshot.Answered(items, ["Nothing"] * 4, [])
    values = fewshot.measure(prompt, answered)
    assert next(iter(values)) == "rouge1" and values["rouge1"] == 0
    assert values["lede3_rouge_average"] == 1 and 0 < values["random3_rouge2"] < 1
    kept = fewshot.measure(prompt, answered, np.array([False, False, True, False]))
    of_third = fewshot.measure(prompt._replace(baselines={}), fewshot.Answered(items[:1], ["\n".join(drawn[2])], []))
    assert kept["random3_rougeL"] == of_third["rougeL"]
    assert not PROMPTED["cnn_dailymail"].prompts["gpt2_no_hint"].baselines


def test_the_answers_a_model_is_surest_of():
    """GPT-2, section 3.8: accuracy on the 1 % of questions that it is most confident of."""
    assert PROMPTED["naturalqs"].prompts["gpt2"].confident == 0.01
    prompt = Prompt("generate", item, ("match",), max_tokens=4, stop=("\n",), confident=0.5)
    asked, answered = ask(prompt)
    pairs = zip(asked, answered.predictions, strict=True)
    likely = [of(one.pairs[0][0], f" {text}\n").total for one, text in pairs]
    np.testing.assert_allclose(answered.log_likelihoods, likely, rtol=1e-4)
    assert len({round(one, 3) for one in likely}) > 1
    surest = np.argsort(likely)[-2:]
    # Right is what the model wrote for one of the two, and nothing else.
    golds = [(text,) if n == surest[0] else ("no!",) for n, text in enumerate(answered.predictions)]
    items = [one._replace(answers=gold) for one, gold in zip(answered.items, golds, strict=True)]
    answered = answered._replace(items=items)
    values = fewshot.measure(prompt, answered)
    assert values["match_of_surest"] == 0.5 and values["match"] == 0.25
    alone = fewshot.measure(prompt, answered, np.arange(4) == surest[0])
    assert alone == {"match": 1, "match_of_surest": 1}


def test_means_over_draws_have_their_interval():
    row = dict(run="a", parameters=10, task="t", prompt="p", metric="accuracy", chance=0.25)
    rows = [row | dict(shots=0, shown=0.0, seed=0, value=0.5)]
    rows += [row | dict(shots=2, shown=2.0, seed=seed, value=value) for seed, value in enumerate((0.2, 0.4, 0.6))]
    zero, few = figures.summarise(rows)
    assert (zero["value"], zero["low"], zero["high"], zero["seeds"]) == (0.5, 0.5, 0.5, 1)
    assert few["value"] == pytest.approx(0.4) and few["seeds"] == 3
    # Student's t at two degrees of freedom, 4.303, times the standard error, 0.2 / sqrt(3).
    assert (few["low"], few["high"]) == pytest.approx((0.4 - 0.4968, 0.4 + 0.4968), abs=1e-4)
    assert [figures.setting(shots) for shots in (0, 1, 5, -1)] == ["zero", "one", "few", "few"]


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
    told = [
        evaluate.told_shots("2D+", *one) for one in ((0, 0.0), (1, 1.0), (4, 2.5), (-1, 3.8), (-2, 50.0), (-2, 9.5))
    ]
    assert told[:4] == ["0 examples", "1 example", "4 examples, 2.5 fit", "as many examples as fit, 3.8"]
    assert told[4:] == ["the paper's 50 examples", "the paper's 50 examples, 9.5 fit"]
    assert evaluate.told_shots("average", -2, 31.25) == "the paper's examples, 31.2 fit"


def table_h1():
    with open(Path(__file__).parents[1] / "figures/gpt3_table_h1.csv") as file:
        return list(csv.DictReader(file))


# Table H.1's names, where they are not ours.
H1 = {"StoryCloze": "rocstories", "NQs": "naturalqs", "ANLI-R1": "anli_r1", "ANLI-R2": "anli_r2", "ANLI-R3": "anli_r3",
      "ARC-Challenge": "arc_challenge", "ARC-Easy": "arc_easy", "RACE-h": "race_high", "RACE-m": "race_middle",
      "SQuADv2": "squad2", "CycledLetters": "CL", "Anagrams1": "A1", "Anagrams2": "A2", "SymbolInsertion": "RI",
      "ReversedWords": "RW", "SATAnalogies": "sat_analogies"}  # fmt: skip
H1 |= {f"{source}-{target}{year}": f"{source}_{target}".lower() for year, names in {14: "Fr", 16: "De Ro"}.items()
       for other in names.split() for source, target in (("En", other), (other, "En"))}  # fmt: skip


SIZES = ("Small", "Medium", "Large", "XL", "2.7B", "6.7B", "13B", "175B")


def named(row):
    return H1.get(row["task"], row["task"] if row["task"] in PROMPTED else row["task"].lower())


def test_each_task_has_the_papers_number_of_examples():
    wanted = {named(row): int(row["K"]) for row in table_h1() if row["K"]}
    assert {name: row.shots for name, row in PROMPTED.items() if row.shots} == wanted
    assert {task for task, _ in evaluate.chosen(get_config("gpt3"))} == set(wanted)


def test_the_averages_are_the_papers():
    """From Table H.1's tasks its own averages of SuperGLUE, and the 42 of figure 1.3 as they were recomputed."""
    suites = {name: [pair[0] for pair in evaluate.chosen(get_config(name))] for name in ("superglue", "gpt3")}
    ours = {"acc": 0, "f1": -1, "f1a": -1, "em": 0}  # a task's first metric is its accuracy, its last one F1
    rows = []
    for row in table_h1():
        if row["metric"] not in ours or named(row) == "squad2" and row["metric"] == "f1":
            continue
        for size in SIZES:
            if row["task"] != "SuperGLUE":
                metrics = PROMPTED[named(row)].prompts["gpt3"].metrics
                metric = "exact" if row["metric"] == "em" else metrics[ours[row["metric"]]]
                shots = {"zero": 0, "one": 1, "few": -2}[row["setting"]]
                rows.append(dict(run=size, parameters=1, task=named(row), prompt="gpt3", shots=shots, seed=0, items=1,
                                 shown=float(max(shots, 0)), metric=metric, value=float(row[size])))  # fmt: skip
    printed = {(size, row["setting"]): float(row[size]) for row in table_h1() if row["task"] == "SuperGLUE"
               for size in SIZES}  # fmt: skip
    derived = {
        "zero": (23.2, 26.5, 28.0, 29.2, 31.0, 32.5, 34.3, 42.7), "one": (25.2, 28.3, 30.3, 31.9, 34.5, 35.7, 40.6, 51.1),
        "few": (25.2, 29.2, 31.6, 33.6, 36.8, 38.6, 43.6, 57.4),
    }  # fmt: skip
    derived = {
        (size, name): value for name, values in derived.items() for size, value in zip(SIZES, values, strict=True)
    }
    for suite, which, expected in (("superglue", "metrics", printed), ("gpt3", "accuracies", derived)):
        assert get_config(suite).average == which
        found = figures.averages([row for row in rows if row["task"] in suites[suite]], which)
        names = {0: "zero", 1: "one", -2: "few"}
        assert {(one["run"], names[one["shots"]]): one["value"] for one in found} == pytest.approx(expected, abs=0.06)
        assert all((one["task"], one["prompt"], one["metric"]) == ("average", which, "average") for one in found)
    counted = [
        row
        for row in rows
        if row["run"] == "Small" and row["shots"] == 0 and figures.AVERAGES["accuracies"](row["metric"])
    ]
    assert len(counted) == 42


def test_the_papers_examples_are_shown_or_as_many_as_fit(tmp_path):
    runs.save_run(run_of("gpt2", 256), tmp_path / "run", "nowhere")
    config = get_config("2D+,2D-")
    said = []
    config.update(dict(runs=(str(tmp_path / "run"),), shots=(-2,), seeds=1, limit=2, average="accuracies"))
    entries = evaluate.evaluate(config, tmp_path / "out", said.append)
    assert [(one["task"], one["shots"]) for one in entries] == [("2D+", -2), ("2D-", -2), ("average", -2)]
    assert all(0 < one["shown"] < 50 for one in entries) and "the paper's 50 examples, " in said[0]
    assert entries[2]["value"] == np.mean([one["value"] for one in entries[:2]])
    assert entries[2]["shown"] == np.mean([one["shown"] for one in entries[:2]])
    config.tasks = ("title",)
    with pytest.raises(UserError, match="title: GPT-3's Table H.1 has no number of examples for it"):
        evaluate.evaluate(config, tmp_path / "out")


def test_solved_examples_are_those_that_a_prompt_may_show():
    prompt = Prompt("choices", item, shows=lambda record: record[1] == 1)
    asked = [one for seed in range(4) for one in ask(prompt, 1, seed=seed)[0]]
    shown = {one.pairs[0][0].partition(prompt.separator)[0] for one in asked}
    assert shown == {solved(item(record)) for record in TRAIN if record[1] == 1} and len(shown) == 2
    with pytest.raises(UserError, match="3 examples are to be shown, and there are 2 to draw from"):
        ask(prompt, 3)


def test_the_same_examples_for_all_items_where_a_prompt_says_so():
    for same in (False, True):
        prompt = Prompt("choices", item, same=same)
        shown = {one.pairs[0][0].partition(prompt.separator)[0] for one in ask(prompt, 1)[0]}
        assert (len(shown) == 1) == same
    assert {f"{task}:{name}" for task, row in PROMPTED.items() for name, one in row.prompts.items() if one.same} == {
        "wsc:gpt3", "multirc:gpt3"}  # fmt: skip


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
    "shots": (dict(task="title", shots="a"), "shots='a': a whole number is needed"),
    "batch_size": (dict(task="title", batch_size=0), "batch_size=0: at least 1"),
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
    "shots": (dict(shots=(-3,)), "shots="),
    "average": (dict(average="metric"), "'metric'.*did you mean 'metrics'"),
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
