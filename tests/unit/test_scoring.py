"""Scores of continuations and texts are what transformers says of each alone; texts end at stop strings."""

import functools
import importlib

import jax
import numpy as np
import pytest
import torch
import transformers

from ssl_jax.errors import UserError
from ssl_jax.inference import generate, scoring
from ssl_jax.interop import check, huggingface
from ssl_jax.tokenization.train import train_tokenizer

pytestmark = pytest.mark.slow  # compiles programs, or trains

POSITIONS = 24
TEXT = "the quick brown fox jumps over the lazy dog while the five boxing wizards jump quickly; Zoë's café. "
PAPERS = {
    "gpt1": ("gpt1", "base", "gpt1_bpe", 60, {"model.predict_positions": True}),
    "gpt2": ("gpt2", "small", "byte_bpe", 300, {}),
    "gpt3": ("gpt3", "small", "byte_bpe", 300, {"model.local_window": 3, "model.layers": 3}),
}
REQUESTS = [
    ("the quick brown", " fox"),
    ("the quick brown", " wizards jump"),
    ("the lazy dog ", "while the fox"),  # its blank is the continuation's
    ("", "the fox jumps"),
    (" \n", "the fox jumps"),  # nothing but blanks
    (TEXT * 2, " over the lazy dog"),  # longer than the model
    ("Zo", "ë's café"),  # letters of two bytes
    ("the", " quick brown fox jumps over"),
]


@functools.cache
def run_of(paper, positions=POSITIONS):
    """A run of random parameters."""
    file, variant, kind, size, changes = PAPERS[paper]
    config = importlib.import_module(f"configs.{file}").get_config(variant)
    sizes = dict(vocab_size=size, layers=2, hidden_size=32, heads=2, head_size=0, ffn_size=0, max_positions=positions)
    config.model.update(sizes, scan=True)
    config.update_from_flattened_dict(changes)
    return check.random_run(config, train_tokenizer(kind, [TEXT] * 3, size, lowercase=kind == "gpt1_bpe"))


@pytest.fixture(scope="module")
def logits_of(tmp_path_factory):
    """`logits_of(paper)(ids)`: the logits [n, V] after each token, of one text at a time.

    Of transformers on the same weights; of GPT-3, whose bands it has no class for, of a plain run of our model.
    """

    @functools.cache
    def get(paper):
        run = run_of(paper)
        if paper == "gpt3":
            forward = jax.jit(lambda batch: run.model.apply({"params": run.params}, batch)["clm_logits"][0])

            def logits(ids):
                tokens, number = np.zeros((1, POSITIONS), int), len(ids)
                tokens[0, :number] = ids
                return np.asarray(forward(dict(tokens=tokens, mask=np.arange(POSITIONS)[None] < number))[:number])

            return logits
        folder = tmp_path_factory.mktemp("theirs") / paper
        huggingface.save(run, folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

        def logits(ids):
            with torch.no_grad():
                return model(torch.tensor([ids])).logits[0].numpy()

        return logits

    return get


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """`encoder(label)`: a folder of check.FOLDERS as a run."""

    @functools.cache
    def get(label):
        folder = tmp_path_factory.mktemp("encoders") / label
        check.FOLDERS[label](folder)
        return huggingface.load(folder), folder

    return get


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))


def next_tokens(logits, context, continuation):
    """log p of each token of a continuation, and whether all are the likeliest, from all logits of one text.

    What the last token is not read for: their classes have no more positions than ours.
    """
    log_p = log_softmax(logits((context + continuation)[:-1]))[len(context) - 1 :]
    return log_p[np.arange(len(continuation)), continuation], (log_p.argmax(-1) == continuation).all()


def start(run, ids):
    """A text's tokens after what it is conditioned on: the end of text; of GPT-1 its own first token."""
    end = run.vocabulary.end_of_text
    return ([end], ids) if end is not None else (ids[:1], ids[1:])


def assert_is(found, log_p, greedy):
    np.testing.assert_allclose(found.per_token, log_p, atol=1e-4, rtol=0)
    assert found.total == pytest.approx(sum(found.per_token), abs=1e-9)
    assert found.tokens == len(found.per_token) and found.greedy == greedy


@pytest.mark.parametrize("paper", PAPERS)
def test_log_likelihoods_are_those_of_each_text_alone(paper, logits_of):
    run, logits = run_of(paper), logits_of(paper)
    found = scoring.log_likelihoods(run, REQUESTS, batch_size=4)
    for (context, continuation), one in zip(REQUESTS, found, strict=True):
        blanks = len(context) - len(context.rstrip())
        context, continuation = context[: len(context) - blanks], context[len(context) - blanks :] + continuation
        ids = scoring.encode(run, context)
        rest = scoring.encode(run, context + continuation)[len(ids) :]
        ids, rest = (ids, rest) if ids else start(run, rest)
        ids = ids[-(POSITIONS + 1 - len(rest)) :]
        assert_is(one, *next_tokens(logits, ids, rest))
    assert len({one.tokens for one in found}) > 3
    again = scoring.log_likelihoods(run, REQUESTS[::-1])[::-1]
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(one.per_token, other.per_token, atol=2e-5, rtol=0)


def test_the_likeliest_continuation_is_greedy_and_ties_are_equal():
    run = run_of("gpt2")
    context = scoring.encode(run, "the lazy")
    best = generate.generate(run, [context], max_tokens=3, temperature=0)[0]
    worse = [*best[:2], (best[2] + 1) % 256]
    found = scoring.token_log_likelihoods(
        run, [(context, best), (context, worse), (context, best[:1]), (context, best)]
    )
    assert [one.greedy for one in found] == [True, False, True, True]
    assert found[0] == found[3] and found[0].per_token[:2] == pytest.approx(found[1].per_token[:2], abs=1e-5)
    # Two tokens with one row in the table are equally likely: the first alone would be generated.
    table = np.array(run.params["embeddings"]["token"])
    table[[7, 9]] = table[best[0]]
    table[best[0]] = -table[7]
    tied = run._replace(params=run.params | {"embeddings": run.params["embeddings"] | {"token": table}})
    one, other = scoring.token_log_likelihoods(tied, [(context, [7]), (context, [9])])
    assert one.total == other.total
    greedy = generate.generate(tied, [context], max_tokens=1, temperature=0)[0]
    assert not other.greedy and one.greedy == (greedy == [7])


def test_choices_of_one_token_share_a_forward_pass(monkeypatch):
    run, shapes, read = run_of("gpt2"), [], scoring.read

    def spy(model, params, **batch):
        shapes.append({name: x.shape for name, x in batch.items() if name != "head"})
        return read(model, params, **batch)

    monkeypatch.setattr(scoring, "read", spy)
    together = scoring.token_log_likelihoods(run, [([1, 2, 3], [token]) for token in (5, 6, 7, 5)] + [([1, 2], [3, 8])])
    assert shapes == [dict(tokens=(1, 16), lengths=(1,), positions=(1, 8), which=(1, 8), targets=(1, 8))]
    alone = [scoring.token_log_likelihoods(run, [([1, 2, 3], [token])])[0].total for token in (5, 6, 7)]
    assert [one.total for one in together[:3]] == pytest.approx(alone, abs=1e-5)
    assert together[0] == together[3]
    assert together[4].per_token[1] == pytest.approx(scoring.token_log_likelihoods(run, [([1, 2, 3], [8])])[0].total)


@pytest.mark.parametrize("paper", ["gpt1", "gpt2"])
def test_rolling_scores_every_token_once_with_its_context(paper, logits_of):
    run, logits = run_of(paper), logits_of(paper)
    texts = [TEXT[:60], "the fox", "", TEXT]
    for window, stride in ((12, 1), (12, 5), (12, 12), (None, None)):
        found = scoring.rolling(run, texts, window, stride, batch_size=4)
        size, step = window or POSITIONS, stride or POSITIONS
        for text, one in zip(texts, found, strict=True):
            before, ids = start(run, scoring.encode(run, text))
            whole, log_p, greedy = before + ids, [], True
            for place in range(len(before), len(whole)):
                # The window that this token is in ends so many tokens after the first one.
                end = size if place <= size else min(len(whole) - 1, size + -(-(place - size) // step) * step)
                values, right = next_tokens(logits, whole[max(0, end - size) : place], whole[place : place + 1])
                log_p, greedy = [*log_p, *values], greedy and right
            assert one.tokens == len(ids)
            assert_is(one, log_p, greedy)
    short = [scoring.rolling(run, ["the fox"])[0], scoring.log_likelihoods(run, [("", "the fox")])[0]]
    assert short[0].total == pytest.approx(short[1].total, abs=1e-5)


# Of three or four tokens each: few shapes are compiled.
CONTEXTS = ["the quick b", "lazy dog", "wizards", "over the"]
SAMPLED = dict(max_tokens=8, temperature=2.0, seed=0)


def test_texts_end_before_the_first_stop_string(monkeypatch):
    run = run_of("gpt2")
    whole = scoring.generate_until(run, CONTEXTS, batch_size=2, **SAMPLED)
    tokens = generate.generate(run, [scoring.encode(run, context) for context in CONTEXTS], **SAMPLED)
    assert whole == [run.tokenizer.decode(text) for text in tokens]
    assert [len(text) for text in tokens] == [8] * 4
    columns, read = [], generate.read

    def spy(*arguments):
        columns.append(int(arguments[4]))
        return read(*arguments)

    monkeypatch.setattr(generate, "read", spy)
    # The end of the first text's third token and the beginning of its fourth; the second token of the second text.
    assert [run.tokenizer.decode([token]) for token in tokens[0][2:4]] == ["Z", "'s"]
    assert run.tokenizer.decode(tokens[1][1:2]) == "["
    stop = ("s Zo", "[", "Z'", "wizards")
    found = scoring.generate_until(run, CONTEXTS, stop=stop, batch_size=2, **SAMPLED)
    assert found == [whole[0].split("Z'")[0], whole[1].split("[")[0], *whole[2:]]
    # Two texts until both have ended, two to the end: "wizards", which is in a context, ends nothing.
    assert columns == [3, 4, 5, 6, *range(3, 11)]
    # One token may hold two of them.
    assert scoring.generate_until(run, CONTEXTS[:2], stop=("s", "'"), **SAMPLED)[0] == whole[0].split("'")[0]
    greedy = scoring.generate_until(run, CONTEXTS[:2], max_tokens=8)
    assert scoring.generate_until(run, CONTEXTS[:2], max_tokens=8, stop=(greedy[0][:2],))[0] == ""


def test_samples_do_not_depend_on_the_batch():
    run = run_of("gpt2")
    together = scoring.generate_until(run, CONTEXTS, **SAMPLED)
    assert together == scoring.generate_until(run, CONTEXTS, batch_size=2, **SAMPLED)
    assert together != scoring.generate_until(run, CONTEXTS, **SAMPLED | dict(seed=1))


def test_the_best_beam_is_cut_at_a_stop_string():
    run = run_of("gpt2")
    prompts = [scoring.encode(run, context) for context in CONTEXTS[:2]]
    best = [found[0].tokens for found in generate.beam_search(run, prompts, max_tokens=4, beams=2, length_penalty=2.0)]
    options = dict(max_tokens=4, beams=2, length_penalty=2.0)
    assert scoring.generate_until(run, CONTEXTS[:2], **options) == [run.tokenizer.decode(tokens) for tokens in best]
    stop = [chr(code) for code in range(32, 127)]
    for text in scoring.generate_until(run, CONTEXTS[:2], stop=stop, **options):
        assert not set(text) & set(stop)


ENCODERS = {"BertForPreTraining": "BertForMaskedLM", "AlbertForMaskedLM": "AlbertForMaskedLM"}
ENCODED = [("a b c", " d e"), ("", "x y z"), ("a " * 30, "b c"), ("abc", " def")]


def test_masked_models_predict_each_token_from_all_others(encoder):
    for label, name in ENCODERS.items():
        run, folder = encoder(label)
        model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
        found = scoring.pseudo_log_likelihoods(run, ENCODED, batch_size=5)
        for (context, continuation), one in zip(ENCODED, found, strict=True):
            whole = scoring.encode(run, context.rstrip() + " " + continuation)
            count = len(whole) - len(scoring.encode(run, context))
            whole = [run.vocabulary.start, *whole[-(POSITIONS - 2) :], run.vocabulary.separator]
            log_p, greedy = [], True
            for place in range(len(whole) - 1 - count, len(whole) - 1):
                masked = torch.tensor([whole[:place] + [run.vocabulary.mask] + whole[place + 1 :]])
                with torch.no_grad():
                    values = log_softmax(model(masked).logits[0, place].numpy())
                log_p.append(values[whole[place]])
                greedy &= values.argmax() == whole[place]
            assert_is(one, log_p, greedy)
        assert scoring.scorer(run) is scoring.pseudo_log_likelihoods


def test_discriminators_say_how_original_tokens_are(encoder):
    run, folder = encoder("Electra-halves")
    model = transformers.ElectraForPreTraining.from_pretrained(folder / "discriminator").eval()
    found = scoring.discriminator_log_likelihoods(run, ENCODED, batch_size=3)
    for (context, continuation), one in zip(ENCODED, found, strict=True):
        whole = scoring.encode(run, context.rstrip() + " " + continuation)
        count = len(whole) - len(scoring.encode(run, context))
        whole = [run.vocabulary.start, *whole[-(POSITIONS - 2) :], run.vocabulary.separator]
        with torch.no_grad():
            logit = model(torch.tensor([whole])).logits[0].numpy().astype(float)[-1 - count : -1]
        assert_is(one, -np.log1p(np.exp(logit)), (logit <= 0).all())
    assert scoring.scorer(run) is scoring.discriminator_log_likelihoods
    # Beside it the generator is a masked language model.
    generator = encoder("ElectraForMaskedLM")[0]
    assert scoring.scorer(generator) is scoring.pseudo_log_likelihoods
    half = transformers.ElectraForMaskedLM.from_pretrained(folder / "generator").eval()
    whole = [run.vocabulary.start, *scoring.encode(run, "a b"), run.vocabulary.separator]
    with torch.no_grad():
        masked = torch.tensor([[*whole[:2], run.vocabulary.mask, whole[3]]])
        expected = log_softmax(half(masked).logits[0, 2].numpy())[whole[2]]
    assert scoring.pseudo_log_likelihoods(run, [("a", " b")])[0].total == pytest.approx(expected, abs=1e-4)


REFUSED = {
    "too-long": (lambda: scoring.log_likelihoods(run_of("gpt2"), [("a", TEXT * 2)]), "more than the 24 that fit"),
    "nothing-to-score": (
        lambda: scoring.log_likelihoods(run_of("gpt2"), [("a", "b"), ("a", "")]),
        "request 1 has nothing",
    ),
    "first-token-alone": (lambda: scoring.log_likelihoods(run_of("gpt1"), [("", "the")]), "nothing to score"),
    "window": (lambda: scoring.rolling(run_of("gpt2"), ["a"], window=25), "window=25: from 1 to"),
    "stride": (lambda: scoring.rolling(run_of("gpt2"), ["a"], window=8, stride=9), "stride=9: from 1 to"),
    "budget": (
        lambda: scoring.continue_until(run_of("gpt2"), [[1], [1] * 20], max_tokens=7),
        "context 1 has 20 tokens, with max_tokens=7 3 more than model.max_positions=24",
    ),
    "stop": (lambda: scoring.generate_until(run_of("gpt2"), ["a"], max_tokens=2, stop="."), "a list of strings"),
    "beams": (lambda: scoring.generate_until(run_of("gpt2"), ["a"], max_tokens=2, beams=2, temperature=1.0), "search"),
    "no-masks": (lambda: scoring.pseudo_log_likelihoods(run_of("gpt2"), [("a", "b")]), "heads for clm"),
    "no-discriminator": (lambda: scoring.discriminator_log_likelihoods(run_of("gpt2"), [("a", "b")]), "heads for clm"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused_with_one_line(case):
    call, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_encoders_have_no_perplexity_and_generate_nothing(encoder):
    run = encoder("BertForPreTraining")[0]
    for call in (
        lambda: scoring.rolling(run, ["a b"]),
        lambda: scoring.log_likelihoods(run, [("a", "b")]),
        lambda: scoring.generate_until(run, ["a"], max_tokens=2),
    ):
        with pytest.raises(UserError, match="not a causal language model"):
            call()
    with pytest.raises(UserError, match="cannot score text: it has heads for classes"):
        scoring.scorer(encoder("BertForSequenceClassification")[0])
    assert scoring.scorer(run_of("gpt1")) is scoring.log_likelihoods
