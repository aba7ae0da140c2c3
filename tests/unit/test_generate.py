"""Generated text is what a plain run of the whole model says, however it is computed."""

import functools
import itertools
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.inference.generate import (
    beam_search,
    choose,
    empty_cache,
    generate,
    keep,
    lay_out,
    read,
    stream,
    text_pieces,
)
from ssl_jax.models.model import Model
from ssl_jax.models.transformer import TransformerConfig
from ssl_jax.tokenization.train import train_tokenizer
from tests.reference.transformers_bert import model_config

pytestmark = pytest.mark.slow  # compiles programs, or trains

POSITIONS = 24
PROMPTS = [[7], [3, 1, 4, 1, 5, 9, 2], [2, 7, 1, 8]]
NEW = 6
MODELS = {
    "gpt2": dict(norm="pre", final_norm=True, embedding_norm=False, type_vocab_size=0),
    "gpt1": dict(norm="post", embedding_norm=False, type_vocab_size=0, predict_positions=True),
    # A band that is narrower than the longest prompt.
    "gpt3": dict(
        norm="pre", final_norm=True, embedding_norm=False, type_vocab_size=0, layers=3, local_window=3, scan=True
    ),
    "narrow": dict(norm="pre", embedding_size=20, type_vocab_size=2, scan=True),
    "shared": dict(norm="post", share="all", type_vocab_size=0, scan=True, pooler="tanh"),
}


def named_ends(*ends):
    """A vocabulary whose texts end with `ends`, of which None is none, and begin with the first."""
    return SimpleNamespace(
        end_of_text=ends[0], start_of_text=ends[0], ends=tuple(end for end in ends if end is not None)
    )


@functools.cache
def run(name="gpt2", vocab_size=13, end=None, **changes):
    """A run of random parameters, large enough that contexts matter; its `end` is the end-of-text token."""
    fields = dict(vocab_size=vocab_size, layers=2, causal=True, max_positions=POSITIONS, pooler="none")
    model = Model(TransformerConfig(**model_config(**fields | MODELS[name] | changes)), ("clm",))
    random = np.random.default_rng(0)
    tokens = np.zeros((1, 1), int)
    batch = dict(tokens=tokens, mask=tokens == 0, segments=tokens)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    params = jax.tree.map(lambda x: random.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    return SimpleNamespace(model=model, params=params, vocabulary=named_ends(end))


def ending(one, end):
    """The same run with another end-of-text token."""
    return SimpleNamespace(**vars(one) | {"vocabulary": named_ends(end)})


@functools.partial(jax.jit, static_argnames="model")
def whole_batch(model, params, batch):
    return model.apply({"params": params}, batch)["clm_logits"]


def whole(one, texts):
    """Logits [n, V] after each token of each text, from plain runs: columns are positions, texts start in 0."""
    tokens = np.zeros((max(3, len(texts)), POSITIONS), int)  # few shapes: each is compiled
    for row, text in zip(tokens, texts):
        row[: len(text)] = text
    lengths = np.array([len(text) for text in texts] + [1] * (len(tokens) - len(texts)))
    mask = np.arange(POSITIONS) < lengths[:, None]
    logits = whole_batch(one.model, one.params, dict(tokens=tokens, mask=mask, segments=np.zeros_like(tokens)))
    size = one.model.config.vocab_size
    return [np.asarray(row)[: len(text), :size] for row, text in zip(logits, texts)]


def softmax(x):
    return np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)


def log_softmax(x):
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


@pytest.mark.parametrize("name", MODELS)
def test_cached_uncached_and_whole_runs_are_one_model(name):
    one = run(name)
    greedy, texts = (generate(one, PROMPTS, max_tokens=NEW, temperature=t) for t in (0, 3.0))
    assert greedy == generate(one, PROMPTS, max_tokens=NEW, temperature=0, use_cache=False)
    assert texts == generate(one, PROMPTS, max_tokens=NEW, temperature=3.0, use_cache=False)
    for prompt, text, logits in zip(PROMPTS, greedy, whole(one, [a + b for a, b in zip(PROMPTS, greedy)])):
        assert text == logits[len(prompt) - 1 : -1].argmax(-1).tolist()

    # The logits on the way, as the sampled texts, which repeat themselves less, are read token by token.
    assert len({token for text in texts for token in text}) > 5
    expected = whole(one, [prompt + text for prompt, text in zip(PROMPTS, texts)])
    tokens, first, width = lay_out(one, PROMPTS, NEW)
    cache = empty_cache(one.model.config, *tokens.shape)
    tokens[:, width:] = texts
    for column in range(width, width + NEW):
        count = width if column == width else 1
        cached, cache = read(one.model, one.params, tokens, first, column - 1, cache, count)
        uncached, _ = read(one.model, one.params, tokens, first, column - 1, {}, tokens.shape[1])
        plain = [logits[len(prompt) - 1 + column - width] for prompt, logits in zip(PROMPTS, expected)]
        np.testing.assert_allclose(cached, plain, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(uncached, plain, atol=1e-5, rtol=1e-5)


def test_a_run_that_was_read_from_json_compiles_once_and_bfloat16_has_its_cache():
    one = run.__wrapped__("gpt2", dtype="bfloat16", neighbours=[])
    before = read._cache_size()
    for _ in range(2):
        assert [len(text) for text in generate(one, PROMPTS, max_tokens=NEW)] == [NEW] * 3
    assert read._cache_size() - before == 2  # the prompts, and one token
    assert empty_cache(one.model.config, 3, 9)["key"].dtype == "bfloat16"


@pytest.mark.parametrize("use_cache", [True, False])
def test_samples_are_of_seed_row_and_position_alone(use_cache):
    one, options = run(), dict(max_tokens=NEW, temperature=1.5, seed=3)
    together = generate(one, PROMPTS, use_cache=use_cache, **options)
    assert together == generate(one, PROMPTS, **options)
    others = [PROMPTS[2], [12, 12, 12], PROMPTS[1]]
    assert generate(one, others, rows=[2, 9, 1], use_cache=use_cache, **options)[::2] == together[:0:-1]
    assert generate(one, PROMPTS[1:2], rows=[1], use_cache=use_cache, **options) == together[1:2]
    assert generate(one, PROMPTS, **options | {"seed": 4}) != together
    same = generate(one, [PROMPTS[1]] * 3, **options)
    assert len({tuple(text) for text in same}) == 3


def test_a_text_goes_on_as_if_its_beginning_had_been_the_prompt():
    one, options = run(), dict(max_tokens=NEW, temperature=1.5, top_k=9, seed=3)
    prompts = [[7], [3, 1, 4, 1, 5], [2, 7]]
    texts = generate(one, prompts, **options)
    later = generate(one, [prompt + text[:3] for prompt, text in zip(prompts, texts)], **options)
    assert [text[:3] for text in later] == [text[3:] for text in texts]


def plain_keep(logits, top_k, top_p):
    """The kept tokens, as a set, the likeliest first until one of the two limits is met."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[: top_k or len(logits)]
    probabilities = softmax(np.array([logits[token] for token in order], float))
    kept, mass = set(), 0.0
    for token, probability in zip(order, probabilities):
        if mass >= top_p:
            break
        kept.add(token)
        mass += probability
    return kept


@pytest.mark.parametrize(
    "top_k, top_p", [(0, 1.0), (1, 1.0), (4, 1.0), (40, 1.0), (0, 0.05), (0, 0.6), (3, 0.8), (9, 0.95)]
)
def test_top_k_and_top_p_keep_exactly_the_right_tokens(top_k, top_p):
    logits = np.random.default_rng(1).normal(0, 2, (20, 11)).astype(np.float32)
    logits[0] = 0  # ties
    got = np.asarray(keep(logits, top_k, top_p))
    for row, kept in zip(logits, got):
        assert set(np.flatnonzero(kept > -np.inf)) == plain_keep(row, top_k, top_p)
        np.testing.assert_array_equal(kept[kept > -np.inf], row[kept > -np.inf])


def test_a_token_that_reaches_top_p_is_the_last():
    np.testing.assert_array_equal(keep(np.log([[0.125, 0.5, 0.25, 0.125]]), 0, 0.75) > -np.inf, [[0, 1, 1, 0]])


@pytest.mark.parametrize("temperature, top_k, top_p", [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 4, 1.0), (2.0, 0, 0.7)])
def test_draws_have_the_distribution_of_their_temperature(temperature, top_k, top_p):
    logits, draws = np.array([0.3, -1.0, 1.2, 0.0, 0.9, -0.4], np.float32), 20_000
    expected = softmax(logits / temperature)
    outside = set(range(6)) - plain_keep(logits / temperature, top_k, top_p)
    expected[list(outside)] = 0
    expected /= expected.sum()
    for rows, positions in [(np.arange(draws), np.zeros(draws, int)), (np.zeros(draws, int), np.arange(draws))]:
        tokens = choose(np.tile(logits, (draws, 1)), jax.random.key(0), rows, positions, temperature, top_k, top_p)
        share = np.bincount(tokens, minlength=6) / draws
        assert (np.abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws)).all()


def test_rows_and_positions_draw_independently():
    rows, positions = np.divmod(np.arange(400), 20)
    tokens = choose(np.zeros((400, 1000), np.float32), jax.random.key(0), rows, positions, 1.0, 0, 1.0)
    # 400 independent draws of 1,000 have 330 values (sd 7.4); of keys by row + position there are 39.
    assert abs(len(set(tokens.tolist())) - 330) < 37


def test_a_temperature_near_zero_is_greedy():
    logits = np.random.default_rng(2).normal(0, 100, (50, 7)).astype(np.float32)
    for temperature in (0, 2e-38):  # 100 / 2e-38 is beyond float32
        tokens = choose(logits, jax.random.key(0), np.arange(50), np.arange(50), temperature, 0, 1.0)
        np.testing.assert_array_equal(tokens, logits.argmax(-1))


def test_a_row_stops_before_its_end_of_text_and_the_others_go_on():
    free = generate(run(), PROMPTS, max_tokens=NEW, temperature=1.5)
    end = free[1][2]
    expected = [text[: text.index(end)] if end in text else text for text in free]
    assert len(expected[1]) <= 2 and max(map(len, expected)) == NEW
    one = ending(run(), end)
    assert generate(one, PROMPTS, max_tokens=NEW, temperature=1.5) == expected
    # As they come: by columns, and nothing after a row's end.
    seen = list(stream(one, PROMPTS, max_tokens=NEW, temperature=1.5))
    assert seen == [
        (row, text[place]) for place in range(NEW) for row, text in enumerate(expected) if place < len(text)
    ]


def test_an_empty_prompt_starts_from_the_end_of_text():
    one = ending(run(), 5)
    for write in (generate, functools.partial(beam_search, beams=3)):
        empty, started = (write(one, [prompt, *PROMPTS[1:]], max_tokens=NEW) for prompt in ([], [5]))
        assert empty == started


def test_a_text_may_fill_the_positions_to_the_last():
    one = run()
    (text,), again = (
        generate(one, [PROMPTS[1]], max_tokens=POSITIONS - 7, temperature=0, use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert again == [text]
    (logits,) = whole(one, [PROMPTS[1] + text])
    assert text == logits[6:-1].argmax(-1).tolist()


def exhaustive(one, prompt, length, penalty):
    """Every text there is, scored from plain runs: (score, tokens without the end of text), the best first."""
    size, end = one.model.config.vocab_size, one.vocabulary.end_of_text
    texts = [
        text
        for count in range(1, length + 1)
        for text in itertools.product(range(size), repeat=count)
        if end not in text[:-1] and (count == length or text[-1] == end)
    ]
    scored = []
    for text, logits in zip(texts, whole(one, [[*prompt, *text] for text in texts])):
        log_p = sum(log_softmax(logits[len(prompt) - 1 + place])[token] for place, token in enumerate(text))
        written = list(text[:-1] if text[-1] == end else text)
        scored.append((log_p / ((5 + len(text)) / 6) ** penalty, written))
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("end, penalty, length", [(None, 0.6, 3), (2, 0.6, 3), (2, 0.0, 3), (2, 3.0, 3), (2, 0.6, 1)])
def test_beams_for_all_texts_of_one_step_less_find_what_an_exhaustive_search_finds(end, penalty, length):
    one = ending(run(vocab_size=5), end)
    prompts = [[1], [4, 0, 3]]
    got = beam_search(one, prompts, max_tokens=length, beams=25, length_penalty=penalty)
    for prompt, hypotheses in zip(prompts, got):
        expected = exhaustive(one, prompt, length, penalty)[:25]
        assert [hypothesis.tokens for hypothesis in hypotheses] == [tokens for _, tokens in expected]
        np.testing.assert_allclose([h.score for h in hypotheses], [score for score, _ in expected], rtol=1e-4)


def plain_beam_search(one, prompt, length, beams, penalty):
    """One prompt, whole runs of every beam, lists."""
    end = one.vocabulary.end_of_text
    going, finished = [(0.0, [])], []
    for _ in range(length):
        nexts = []
        for (log_p, text), logits in zip(going, whole(one, [prompt + text for _, text in going])):
            nexts += [(log_p + extra, [*text, token]) for token, extra in enumerate(log_softmax(logits[-1]))]
        nexts.sort(reverse=True)
        finished += [one for one in nexts[:beams] if one[1][-1] == end]
        if len(finished) >= beams:
            break
        going = [one for one in nexts if one[1][-1] != end][:beams]
    else:
        finished += going
    scored = [(log_p / ((5 + len(text)) / 6) ** penalty, text) for log_p, text in finished]
    return [[token for token in text if token != end] for _, text in sorted(scored, reverse=True)[:beams]]


@pytest.mark.parametrize("penalty", [0.6, 3.0])
def test_a_narrow_beam_is_a_plain_one_for_each_prompt(penalty):
    lengths, prompts = set(), [[0], [4] * 7, [3, 1]]
    for end in range(5):  # some end soon and others never: a search that is over waits for the others
        one = ending(run(vocab_size=5), end)
        got = beam_search(one, prompts, max_tokens=NEW, beams=3, length_penalty=penalty)
        for prompt, hypotheses in zip(prompts, got):
            assert [hypothesis.tokens for hypothesis in hypotheses] == plain_beam_search(one, prompt, NEW, 3, penalty)
            lengths |= {len(hypothesis.tokens) for hypothesis in hypotheses}
    assert lengths >= {0, 2, NEW}


def test_a_text_may_end_where_it_is_asked_to():
    prompts, options = [[0], [4] * 7, [3, 1]], dict(max_tokens=NEW)
    free, plain = ending(run(vocab_size=5), None), set()
    for end in range(5):
        one = ending(free, end)

        def ends(number, tokens, end=end):
            assert number in range(3) and end not in tokens[:-1]
            return tokens[-1] == end

        def without(tokens, end=end):
            return tokens[:-1] if tokens[-1] == end else tokens

        # As if its last token were the end of text, which is not part of the text.
        for temperature in (0, 3.0):
            texts = generate(free, prompts, temperature=temperature, ends=ends, **options)
            plain |= {tuple(text) for text in texts if text[-1] == end}
            assert [without(text) for text in texts] == generate(one, prompts, temperature=temperature, **options)
        for expected, got in zip(
            beam_search(one, prompts, **options), beam_search(free, prompts, ends=ends, **options)
        ):
            assert [without(hypothesis.tokens) for hypothesis in got] == [hypothesis.tokens for hypothesis in expected]
            assert [hypothesis.score for hypothesis in got] == [hypothesis.score for hypothesis in expected]
    assert len(plain) > 5
    # All candidates of one prompt end, none of the others: no beam of its goes on.
    found = beam_search(free, prompts, beams=3, ends=lambda number, tokens: number == 1, **options)
    lengths = [[len(hypothesis.tokens) for hypothesis in hypotheses] for hypotheses in found]
    assert lengths == [[NEW] * 3, [1] * 3, [NEW] * 3]


def test_one_beam_is_greedy():
    greedy = generate(run(), PROMPTS, max_tokens=NEW, temperature=0)
    for end in (None, greedy[1][2]):
        one = ending(run(), end)
        texts = generate(one, PROMPTS, max_tokens=NEW, temperature=0)
        got = beam_search(one, PROMPTS, max_tokens=NEW, beams=1)
        assert [[hypothesis.tokens for hypothesis in found] for found in got] == [[text] for text in texts]


@pytest.mark.parametrize(
    "prompts, changes, message",
    [
        ([[1] * 19], {}, "prompt 0 has 19 tokens, and with max_tokens=6 it does not fit model.max_positions=24"),
        ([[1], []], {}, "prompt 1 is empty, and the tokenizer has no end-of-text token"),
        ([[1, 13]], {}, "prompt 0 holds 13; the model's tokens are 0 to 12"),
        ([[1, -1]], {}, "prompt 0 holds -1"),
        ([], {}, "no prompt"),
        ([[1]], dict(max_tokens=0), "max_tokens=0: at least 1"),
        ([[1]], dict(temperature=-1), "temperature=-1: at least 0"),
        ([[1]], dict(temperature=float("nan")), "temperature=nan"),
        ([[1]], dict(top_k=-1), "top_k=-1"),
        ([[1]], dict(top_p=0), "top_p=0"),
        ([[1]], dict(top_p=1.1), "top_p=1.1"),
        ([[1]], dict(seed=-1), "seed=-1"),
        ([[1]], dict(rows=[1, 2]), "a number for each of 1 prompts"),
    ],
)
def test_what_cannot_be_continued_is_one_line_at_once(prompts, changes, message):
    with pytest.raises(UserError, match=message) as told:
        stream(run(), prompts, **{"max_tokens": NEW} | changes)  # not asked for a token
    assert "\n" not in str(told.value)


def test_beams_and_encoders_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="beams=0: at least 1"):
        beam_search(run(), [[1]], max_tokens=2, beams=0)
    encoder = SimpleNamespace(**vars(run()) | {"model": Model(run().model.config, ("mlm",))})
    for refused in (stream, beam_search):
        with pytest.raises(UserError, match="cannot generate: it was not trained to predict the next token"):
            refused(encoder, [[1]], max_tokens=2)


@functools.cache
def byte_tokenizer():
    return train_tokenizer("byte_bpe", ["the the the"], 260, False)


def test_pieces_of_text_are_whole_characters():
    tokenizer = byte_tokenizer()
    prompt, text = "the na", "ïve € 日本語 🎉 the end"
    ids = tokenizer.encode(text).ids
    assert len(ids) > len(text)  # characters of several tokens
    pieces = list(text_pieces(tokenizer, tokenizer.encode(prompt).ids, ids))
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces) and len(pieces) > 15
    # Each appears with its last token, not later.
    taken, shown = [], ""
    for piece in text_pieces(tokenizer, tokenizer.encode(prompt).ids, (taken.append(i) or i for i in ids)):
        shown += piece
        assert shown == tokenizer.decode(taken)
    # What never becomes a character is shown at the end.
    assert "".join(text_pieces(tokenizer, [], ids[:1])) == "\ufffd"
    assert list(text_pieces(tokenizer, [], [])) == [""]


@pytest.mark.parametrize("kind, size", [("gpt1_bpe", 30), ("unigram", 20)])
def test_pieces_of_words_have_their_spaces(kind, size):
    tokenizer = train_tokenizer(kind, ["the river ran to the sea , and the sea ran on"] * 3, size, True)
    prompt, ids = (tokenizer.encode(text).ids for text in ("the river", "ran on to sea"))
    pieces = list(text_pieces(tokenizer, prompt, ids))
    assert "".join(pieces) == " ran on to sea" and len(pieces) > 4


SCRIPT = """
import runpy, sys, types
from absl import flags
from ssl_jax import command_line
from tests.unit.test_generate import byte_tokenizer, run

one = run("gpt2", vocab_size=260, end=20, layers=1)
one.tokenizer = byte_tokenizer()
sys.modules["ssl_jax.load"] = types.SimpleNamespace(load_run=lambda workdir: one)
main = runpy.run_path("scripts/generate.py", run_name="script")["main"]
for sys.argv[1:] in RUNS:
    for name in list(flags.FLAGS):
        flags.FLAGS[name].unparse()
    command_line.run(main)
    print("----")
"""


def test_the_script_prints_prompts_with_their_continuations(root, tmp_path):
    """In one process, on a run that is made there instead of loaded."""
    (tmp_path / "prompts").write_text("the€\n\nat\n")
    one, tokenizer, texts = run("gpt2", vocab_size=260, end=20, layers=1), byte_tokenizer(), ["on", "the€", "at"]
    ids = [tokenizer.encode(text).ids for text in texts]
    short, long = (beam_search(one, ids[:1], max_tokens=5, length_penalty=penalty)[0][0] for penalty in (0.6, 9))
    assert short.tokens != long.tokens
    expected = [
        ([f"--prompts_file={tmp_path}/prompts", "--top_k=4"], generate(one, ids, max_tokens=5, top_k=4)),
        (["--top_p=.9", "--seed=2"], generate(one, ids[:1], max_tokens=5, top_p=0.9, seed=2)),
        (["--temperature=0"], generate(one, ids[:1], max_tokens=5, temperature=0)),
        (["--beams=4", "--length_penalty=9"], [long.tokens]),
        (["--beams=4"], [short.tokens]),
    ]
    runs = [["--workdir=run", "--prompt=on", "--max_tokens=5", *arguments] for arguments, _ in expected]
    program = SCRIPT.replace("RUNS", repr(runs))
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    shown = [[tokenizer.decode(a + b) + "\n" for a, b in zip(ids, continuations)] for _, continuations in expected]
    assert done.stdout == "".join("\n".join(one) + "----\n" for one in shown), done.stderr


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--temperature=-1", "--prompt=a"], 2, "--temperature=-1"),
        (["--max_tokens=0", "--prompt=a"], 2, "--max_tokens=0"),
        (["--beams=2", "--top_k=3", "--prompt=a"], 1, "--top_k is for sampling, not for --beams"),
        (["--length_penalty=1", "--prompt=a"], 1, "--length_penalty is for a search: give --beams"),
        ([], 1, "give --prompt or --prompts_file"),
        (["--prompts_file=/nowhere"], 1, "No such file or directory: /nowhere"),
    ],
)
def test_wrong_flags_are_one_line(arguments, code, message, root):
    command = [sys.executable, str(root / "scripts/generate.py"), "--workdir=run", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
