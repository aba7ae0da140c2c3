"""GPT-1's input transformations and special tokens, from pre-training to a second task; ELECTRA's pairs as released."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers

from configs import finetune, gpt1
from ssl_jax import objectives, start, tasks
from ssl_jax import source as origin
from ssl_jax import train as loop
from ssl_jax.checks import check
from ssl_jax.config import check_values
from ssl_jax.data import batches, tokens
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.models.model import build_model, flatten_choices
from ssl_jax.parallel import build_parallel
from ssl_jax.plan import plan_phases
from ssl_jax.step import initial_params, make_corrupt, make_forward, make_predict
from ssl_jax.tasks import Choice, Example
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization import folders
from ssl_jax.tokenization.train import KINDS, train_tokenizer
from ssl_jax.tokenization.vocabulary import add_pieces, identity, vocabulary_of
from tests.unit.test_batches import VOCABULARY
from tests.unit.test_distill import leave_run
from tests.unit.test_tasks import Numbers, make_store, run_classifier_row
from tests.unit.test_tokenizers import TEXTS

pytestmark = pytest.mark.slow  # compiles programs, or trains

ADDED = ("_start_", "_delimiter_", "_classify_")
# No [PAD], three tokens of their own.
OWN = VOCABULARY._replace(pad=None, start=57, separator=58, extract=59)
LENGTH = 12


def shown(batch):
    """Rows as lists of tokens without what fills them up, which is id 0."""
    rows = []
    for tokens_of_row, mask in zip(*(batch[name].reshape(-1, batch["mask"].shape[-1]) for name in ("tokens", "mask"))):
        assert not tokens_of_row[~mask].any() and mask[: mask.sum()].all()
        rows.append(tokens_of_row[mask].tolist())
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_added_pieces_come_last_and_change_nothing_else(kind):
    size = 300 if kind == "byte_bpe" else 120
    plain = train_tokenizer(kind, TEXTS, size, True)
    made = train_tokenizer(kind, TEXTS, size + 3, True, ADDED)
    loaded = add_pieces(train_tokenizer(kind, TEXTS, size, True), ADDED)
    again = add_pieces(add_pieces(made, ADDED), ADDED[:1])
    assert identity(made) == identity(loaded) == identity(again)
    assert identity(made) != identity(plain)
    ids = plain.get_vocab(with_added_tokens=True)
    assert made.get_vocab(with_added_tokens=True) == ids | {piece: size + n for n, piece in enumerate(ADDED)}
    for text in (*TEXTS[:3], "kala _start_ _classify_"):  # what a text spells stays text
        assert made.encode(text, add_special_tokens=False).ids == plain.encode(text, add_special_tokens=False).ids
    known, before = vocabulary_of(made), vocabulary_of(plain)
    frame = (before.start, before.separator) if before.start is not None else (size, size + 1)
    assert (known.start, known.separator, known.extract) == (*frame, size + 2)
    assert before.extract == before.separator and known.end_of_text == before.end_of_text and known.pad == before.pad
    assert known.special[[size + 2, known.start, known.separator]].all() and known.filler == 0
    if kind == "words":  # a size is a limit, whatever it is
        assert train_tokenizer(kind, TEXTS, 20, True, ADDED).get_vocab_size() == 20
        return
    with pytest.raises(UserError, match=r"this corpus gives at least (\d+) pieces; set .*vocab_size=\1$") as told:
        train_tokenizer(kind, TEXTS, 20, True, ADDED)
    least = int(str(told.value).split("=")[1])
    assert train_tokenizer(kind, TEXTS, least, True, ADDED).get_vocab_size() == least


@pytest.mark.parametrize("pairs", [False, True])
def test_a_text_and_a_pair_end_in_extract(pairs):
    """Figure 1, classification and entailment."""
    store, texts = make_store(20, pairs=pairs)
    batch = batches.TaskEvaluation(store, OWN, LENGTH, 24)(0)
    expected = []
    for a, b in texts:
        kept = [list(a), list(b)]
        while sum(map(len, kept)) > LENGTH - (3 if b else 2):
            kept[len(kept[0]) <= len(kept[1])].pop()
        expected.append([57, *kept[0], *([58, *kept[1]] if b else []), 59])
    assert shown(batch) == expected + [[]] * 4


def similar_store(number=9, label_dtype=np.int32):
    random = np.random.default_rng(0)
    texts = [[random.integers(60, 6000, random.integers(1, 9)).tolist() for _ in "ab"] for _ in range(number)]
    spelt = [[" ".join(map(str, text)) for text in pair] for pair in texts]
    examples = [Example(*pair, n % 2) for n, pair in enumerate(spelt)]
    return tasks.TaskStore(examples, Numbers(), label_dtype, orders=2), texts


def test_similar_texts_are_shown_in_both_orders():
    store, texts = similar_store()
    evaluation = batches.TaskEvaluation(store, OWN, LENGTH, 4)
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *map(evaluation, range(3)))
    assert whole["tokens"].shape == whole["mask"].shape == whole["segments"].shape == (12, 2, LENGTH)
    assert whole["label"].tolist() == [n % 2 for n in range(9)] + [0] * 3
    expected = []
    for a, b in texts:
        a, b = list(a), list(b)
        while len(a) + len(b) > LENGTH - 3:
            (a if len(a) > len(b) else b).pop()
        expected += [[57, *a, 58, *b, 59], [57, *b, 58, *a, 59]]
    assert shown(whole) == expected + [[]] * 6
    assert evaluation.examples.cut == sum(len(a) + len(b) > LENGTH - 3 for a, b in texts)


def test_a_question_stands_behind_its_context_which_loses_its_beginning():
    random = np.random.default_rng(1)
    texts = [[random.integers(60, 6000, random.integers(1, 14)).tolist() for _ in range(4)] for _ in range(30)]
    examples, parts = [], []
    for n, (context, question, *answers) in enumerate(texts):
        question = question[:3] if n % 3 else []
        spell = [" ".join(map(str, text)) for text in (context, question, *answers)]
        both = tuple(f"{spell[1]} {answer}".strip() for answer in spell[2:])
        alone = tuple(spell[2:]) if question else ()
        examples.append(Choice(spell[0], both, n % 2, "", spell[1], alone))
        parts.append((context, question, answers))
    room = LENGTH - 3
    for inputs in ("gpt1", "bert"):
        store = tasks.ChoiceStore(examples, Numbers(), 2, inputs)
        batch = batches.TaskEvaluation(store, OWN if inputs == "gpt1" else VOCABULARY, LENGTH, 30)(0)
        rows, expected = shown(batch), []
        for context, question, answers in parts:
            for answer in map(list, answers):
                if inputs == "bert":
                    row, mask, _ = run_classifier_row(context, [*question, *answer], LENGTH)
                    expected.append(row[: sum(mask)])
                    continue
                asked = [*context, *question]
                while len(asked) + len(answer) > room and len(answer) > room // 2:
                    answer.pop()
                while len(asked) + len(answer) > room:
                    asked.pop(0)
                assert asked[-len(question) :] == question or not question
                expected.append([57, *asked, 58, *answer, 59])
        assert rows == expected
        long = [any(sum(map(len, (c, q, a))) > room for a in answers) for c, q, answers in parts]
        assert store.rows(OWN, LENGTH).cut == sum(long) > 0


@pytest.fixture(scope="module")
def both_orders():
    """GPT-1's smoke on a task of similarity, without dropout, its model, parameters that are not small, a batch."""
    config = finetune.get_config("gpt1-base,mrpc,smoke")
    config.update_from_flattened_dict(
        {"model.vocab_size": 6000, "model.layers": 1, "model.dropout": 0.0, "model.attention_dropout": 0.0,
         "task.classes": 2, "task.orders": 2, "batch_size": 4, "phases.lengths": (LENGTH,)}
    )  # fmt: skip
    model = build_model(config)
    params = jax.jit(lambda: jax.tree.map(lambda x: 5 * x, initial_params(model, config.seed)))()
    batch = batches.TaskEvaluation(similar_store(7)[0], OWN, LENGTH, 4)(1)  # three examples, and one that fills up
    return config, model, params, batch


def test_the_vectors_of_both_orders_are_added_before_the_classes(both_orders):
    """The loss and all gradients are those of a sum over rows written out, the language model's over both rows."""
    config, model, params, batch = both_orders
    assert model.orders == 2 and objectives.task_logits(config) == "class_logits"
    forward = make_forward(config, model)
    made = make_corrupt(config, OWN)(batch)

    def ours(params):
        terms = forward(params, made, {})[1]
        assert set(terms) == {"classify", "clm"}
        return terms["classify"].sum / terms["classify"].weight + 0.5 * terms["clm"].sum / terms["clm"].weight

    trunk = model.clone(heads=("clm",))
    alone = {name: x for name, x in params.items() if name != "classifier"}

    def plainly(params):
        loss, asked = 0.0, []
        dense = params["classifier"]["dense"]
        for n in range(3):
            vectors = []
            for order in range(2):
                length = int(batch["mask"][n, order].sum())
                row = {name: batch[name][n, order][None, :length] for name in ("tokens", "mask", "segments")}
                out = trunk.apply({"params": {name: params[name] for name in alone}}, row)
                vectors.append(out["encoded"][0, -1])
                log_p = jax.nn.log_softmax(out["clm_logits"][0, :-1])
                asked.append(-log_p[np.arange(length - 1), row["tokens"][0, 1:]])
            logits = (vectors[0] + vectors[1]) @ dense["kernel"] + dense["bias"]
            loss -= jax.nn.log_softmax(logits)[batch["label"][n]] / 3
        return loss + 0.5 * jnp.concatenate(asked).mean()

    (value, gradients), (expected, theirs) = (
        jax.jit(jax.value_and_grad(function))(params) for function in (ours, plainly)
    )
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), gradients, theirs)
    assert float(jnp.abs(gradients["classifier"]["dense"]["kernel"]).max()) > 0.01


def test_examples_and_not_rows_are_counted(both_orders):
    config, model, params, batch = both_orders
    flat = flatten_choices(batch)
    assert flat["mask"].shape == (8, LENGTH)
    out = {"class_logits": jnp.array([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0], [9.0, 0.0]]), "teacher": {}}
    term = objectives.classify(out, flat)
    assert float(term.weight) == 3 and float(term.metrics["accuracy"][1]) == 3
    out["teacher"]["class_logits"] = out["class_logits"]
    assert float(objectives.soft_labels(out, flat, temperature=1.0).weight) == 3
    scored = flat | {"label": np.array([0.0, np.nan, 5.0, 0.0], np.float32)}
    term = objectives.regress({"class_logits": jnp.full((4, 1), 0.5)}, scored, scale=5.0)
    assert (float(term.sum), float(term.weight)) == (0.25 + 0.25, 2)
    # Every example has one row of logits, in its place; however it is cut, the loss is the same.
    alike = {}
    for devices in (1, 2):
        config.parallel.devices = devices
        parallel = build_parallel(config.parallel)
        predict = parallel.compile(make_predict(config, model, OWN))
        sums, logits = predict(parallel.adopt(params), parallel.put_batch(batch))
        alike[devices] = (parallel.read(logits), {name: parallel.read(pair[0]) for name, pair in sums.items()})
    assert alike[1][0].shape == (4, 2)
    np.testing.assert_allclose(alike[1][0], alike[2][0], rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), alike[1][1], alike[2][1])


def test_what_reads_both_orders_at_once_is_refused_where_one_is_expected(both_orders):
    config = both_orders[0].copy_and_resolve_references()
    config.parallel.devices = 1
    parallel = build_parallel(config.parallel)
    refused = {
        "task.inputs=gpt1 reads several texts .* set corruption.rate=0":
            {"corruption.rate": 0.1, "losses.mlm": 1.0, "losses.clm": 0.0, "model.causal": False},
        "teacher.cache keeps .* a pair in both orders is two": {"teacher.cache": "x"},
        "task.scale=0.0: above 0": {"task.scale": 0.0},
    }  # fmt: skip
    for message, changes in refused.items():
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        with pytest.raises(UserError, match=message):
            check_values(changed)
            check(changed, plan_phases(changed), parallel)
    other = config.copy_and_resolve_references()
    other.task.update(orders=1, inputs="bert")
    run = SimpleNamespace(workdir=Path("t"), tokenizer_hash="x", config=other, model=build_model(other))
    with pytest.raises(UserError, match="t reads each example in 1 orders and the student in 2: set task.inputs=bert"):
        distill.check_teacher(config, ["class_logits"], run, "x")


@pytest.mark.parametrize("release", [True, False])
def test_the_released_code_drops_the_same_of_all_endings_before_the_classifier(release):
    """Equal endings get equal logits then, whatever is dropped; other examples lose other numbers."""
    config = finetune.get_config("gpt1-base,rocstories,smoke" + ",release" * release)
    config.update_from_flattened_dict(
        {"model.vocab_size": 60, "model.layers": 1, "model.dropout": 0.0, "model.attention_dropout": 0.0,
         "task.dropout": 0.5, "task.classes": 3, "losses.clm": 0.0}
    )  # fmt: skip
    model = build_model(config)
    params = jax.jit(lambda: initial_params(model, config.seed))()
    tokens_of_row = np.arange(5, 5 + LENGTH, dtype=np.int32)
    rows = {"tokens": tokens_of_row, "mask": np.ones(LENGTH, bool), "segments": np.zeros(LENGTH, np.int32)}
    batch = {name: np.broadcast_to(x, (4, 3, LENGTH)) for name, x in rows.items()}
    batch |= {"label": np.zeros(4, np.int32), "index": np.arange(4, dtype=np.int32)}
    forward = make_forward(config, model)
    dropped, whole = (
        np.asarray(forward(params, batch, rngs)[0]["choice_logit"]).reshape(4, 3)
        for rngs in ({"dropout": jax.random.key(0)}, {})
    )
    assert np.ptp(whole) < 1e-6
    assert (np.ptp(dropped, axis=1) < 1e-6).all() == release
    assert len(np.unique(dropped[:, 0].round(4))) == 4


PAIRS = [
    ("it is london .", "london it is .", "1"),
    ("it is rome .", "paris was old .", "0"),
    ("one river", "a sea", "0"),
]


def write_mrpc(folder):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text(header + "".join(f"{label}\t1\t2\t{a}\t{b}\n" for a, b, label in PAIRS))


def write_stsb(folder):
    header = "\t".join(["index", *"abcdef", "sentence1", "sentence2", "score"]) + "\n"
    for name in ("train", "dev"):
        lines = (f"{n}\t" + "x\t" * 6 + f"{a}\t{b}\t{2.5 * int(label)}\n" for n, (a, b, label) in enumerate(PAIRS))
        (folder / f"{name}.tsv").write_text(header + "".join(lines))


@pytest.mark.parametrize("task, write", [("mrpc", write_mrpc), ("stsb", write_stsb)])
def test_the_release_of_electra_trains_on_both_orders_as_two_examples(task, write, tmp_path):
    write(tmp_path)
    config = finetune.get_config(f"electra-small,{task},release,smoke")
    config.task.folder = str(tmp_path)
    assert (config.task.inputs, config.task.scale) == ("doubled", 5.0 if task == "stsb" else 1.0)
    made = tasks.read(config).splits
    told = [(one.text, one.text2) for one in made["train"]]
    assert told == [(a, b) for a, b, _ in PAIRS] + [(b, a) for a, b, _ in PAIRS]
    assert [one.label for one in made["train"][3:]] == [one.label for one in made["heldout"]]
    assert len(made["heldout"]) == 3
    config.task.epochs = 8.0
    resolved = tasks.resolve(config)
    assert (resolved.steps, resolved.task.orders) == (6, 1)  # 8 epochs of 6 examples in batches of 8
    plain = finetune.get_config(f"electra-small,{task},smoke")
    assert (plain.task.inputs, plain.task.scale) == ("bert", 1.0)
    config.task.inputs = "double"
    with pytest.raises(UserError, match="unknown task.inputs 'double'; did you mean 'doubled'"):
        tasks.read(config)


def test_there_must_be_pairs_to_double(tmp_path):
    for name in ("train", "heldout"):
        lines = [json.dumps({"text": label, "label": label}) for label in "ab"]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    config = finetune.get_config("bert-tiny,jsonl,smoke")
    config.task.update(folder=str(tmp_path), inputs="doubled")
    with pytest.raises(UserError, match="doubled swaps the texts of pairs, and task 'jsonl' has none"):
        tasks.read(config)


def test_scores_are_predicted_in_their_own_units():
    config = finetune.get_config("bert-tiny,stsb,smoke")
    config.update_from_flattened_dict({"model.vocab_size": 6000, "task.classes": 1, "model.layers": 1})
    model = build_model(config)
    params = jax.jit(lambda: initial_params(model, config.seed))()
    params["classifier"]["dense"]["bias"] += 0.5
    store = tasks.TaskStore([Example("70 80", "90", 2.5), Example("75", "76", 5.0)], Numbers(), np.float32)
    batch = batches.TaskEvaluation(store, VOCABULARY, 8, 2)(0)
    made = {}
    for scale in (1.0, 5.0):
        config.task.scale = scale
        predict = jax.jit(make_predict(config, model, VOCABULARY), static_argnames=("total", "shard"))
        sums, logits = predict(params, batch, total=unchanged, shard=zero)
        made[scale] = np.asarray(logits)[:, 0]
        error = np.square((made[scale] - store.labels) / scale).sum()
        assert float(sums["regress_loss"][0]) == pytest.approx(error, rel=1e-5)
    np.testing.assert_allclose(made[5.0], 5 * made[1.0], rtol=1e-6)


def unchanged(x):
    return x


def zero():
    return 0


def test_the_recipe_grows_the_vocabulary_by_three():
    for variant, size in {"gpt1-base": 40481, "gpt1-demo": 4099, "gpt2-small": 50260, "gpt1-base,smoke": 515}.items():
        model, *rest = variant.split(",")
        config = finetune.get_config(",".join([model, "mrpc", *rest]))
        assert config.model.vocab_size == config.data.tokenizer.vocab_size == size
        assert (config.task.inputs, config.data.tokenizer.add) == ("gpt1", ADDED)
        assert config.init.grow == ("vocabulary",)
    bert = finetune.get_config("bert-base,mrpc")
    assert (bert.task.inputs, bert.data.tokenizer.add, bert.model.vocab_size) == ("bert", (), 30522)


def test_gpt1_goes_from_its_texts_to_a_task_and_on_to_another(data_root, tmp_path, capfd):
    for name in ("mrpc", "pre"):
        (tmp_path / name).mkdir()
    write_mrpc(tmp_path / "mrpc")
    brief = {"data.root": data_root, "model.layers": 1, "steps": 2, "run.log_every": 2, "run.evaluate_every": 2,
             "run.checkpoint_every": 2, "batch_size": 4, "phases.lengths": (32,), "evals.heldout.max_batches": 1,
             "model.hidden_size": 16, "parallel.devices": 1}  # fmt: skip
    config = gpt1.get_config("base,smoke")
    config.update_from_flattened_dict(brief)
    leave_run(config, tmp_path / "pre")
    source = load_run(tmp_path / "pre")

    config = finetune.get_config("gpt1-base,mrpc,smoke")
    changes = {
        "init.run": str(tmp_path / "pre"),
        "task.folder": str(tmp_path / "mrpc"),
        "seeds": 2,
        "run.accumulate": 2,
    }
    config.update_from_flattened_dict(brief | changes | {"optimizer.warmup": 1.0, "steps": 1})
    capfd.readouterr()
    assert "f1" in loop.train(config, tmp_path / "one")
    assert "grown: embeddings/token 512 -> 515 rows; anew: classifier" in capfd.readouterr().out
    run = load_run(tmp_path / "one/seed-1")
    assert run.config.task.orders == run.model.orders == 2
    known = run.vocabulary
    assert (known.size, known.pad, known.start, known.separator, known.extract) == (515, None, 512, 513, 514)
    start.check_pieces(source, run.tokenizer)
    # The rate of the only step was 0.
    table = run.params["embeddings"]["token"]
    np.testing.assert_array_equal(table[:512], source.params["embeddings"]["token"])
    assert 0.01 < table[512:].std() < 0.03
    assert len((tmp_path / "one/seed-0/predictions-heldout.tsv").read_text().splitlines()) == 4

    config = finetune.get_config("gpt1-base,topics,smoke")
    config.update_from_flattened_dict(brief | {"init.run": str(tmp_path / "one/seed-1")})
    assert np.isfinite(loop.train(config, tmp_path / "two")["loss"])
    after = load_run(tmp_path / "two")
    assert after.tokenizer_hash == run.tokenizer_hash and after.model.orders == 1
    # Nothing was new, and the prepared corpus is that of the first task.
    assert tokens.prepare(after.config.data) == tokens.prepare(run.config.data)

    # As transformers frames a text.
    folders.write(after.tokenizer, tmp_path / "theirs", 32, segments=False)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    ids = [after.tokenizer.encode(text, add_special_tokens=False).ids for text in ("it is rome", "a sea")]
    assert theirs("it is rome")["input_ids"] == [512, *ids[0], 514]
    assert theirs("it is rome", "a sea")["input_ids"] == [512, *ids[0], 513, *ids[1], 514]


@pytest.mark.parametrize("added, larger", [(ADDED, True), ((), False)])
def test_the_tokenizer_that_grows_is_the_sources(added, larger, data_root, tmp_path):
    """Of other documents: its file is read and added to; without `add` the larger one is the run's own."""
    config = gpt1.get_config("base,smoke")
    config.data.update(root=data_root, max_documents=200)
    shutil.copy(Path(tokens.prepare(config.data)) / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"config": json.loads(config.to_json())}))
    tuned = finetune.get_config("gpt1-base,topics,smoke")
    tuned.update_from_flattened_dict({"init.run": str(tmp_path), "data.root": data_root, "data.tokenizer.add": added})
    made = origin.resolve(tuned).data
    assert made.tokenizer.path == (str(tmp_path / "tokenizer.json") if larger else "")
    if larger:
        before = tokenizer_files.load(tmp_path / "tokenizer.json").get_vocab(with_added_tokens=True)
        after = tokenizer_files.load(f"{tokens.prepare(made)}/tokenizer.json")
        assert after.get_vocab(with_added_tokens=True) == before | {piece: 512 + n for n, piece in enumerate(ADDED)}
        made.tokenizer.vocab_size = 512
        with pytest.raises(UserError, match="has 512 pieces and data.tokenizer.add puts 3 more .*vocab_size=515"):
            tokens.prepare(made)
