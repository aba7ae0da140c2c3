"""Fine-tunes any paper's model on a task, with the paper's own recipe.

    .venv/bin/python scripts/train.py --config configs/finetune.py:bert-base,topics --workdir runs/topics
    ... --config configs/finetune.py:bert-base,jsonl --config.task.folder=FOLDER    # or mnli, squad, race, ...
    ... --config configs/finetune.py:electra-small,rte --config.init.run=runs/electra    # 'none': from scratch
    ... --config configs/finetune.py:gpt1-base,mnli --config.optimizer.lr_multipliers='^classifier=10'
    .venv/bin/python scripts/sweep.py --config configs/finetune.py:bert-base,mrpc --sweep bert --workdir runs/mrpc --workers 1

The fourth gives the new output layer (named choice for choices) ten times the rate of the pre-trained layers; the last
trains every point of one of SWEEPS.

A variant is PAPER-SIZE,TASK: a size of configs/PAPER.py and a row of TASKS in ssl_jax/tasks. Further suffixes are the
paper's, such as `smoke`, `seeds`, or one of the two below. It starts from runs/PAPER-SIZE unless `init.run` says otherwise,
the demo from the run of `make demo`, runs/demo-PAPER. On topics, PAPER-tiny is the demo, for every paper: on that
corpus, the demo is the tiny size that is trained. Sizes missing from a paper are those of common.MINIATURES. Where a
recipe has no row, BERT's applies.

`features` is BERT's feature-based approach (section 5.3, Table 7), for any model: the trunk is frozen bit for bit,
without dropout; two BiLSTMs of 768 in each direction read its last four layers, concatenated, and feed the head.
Other rows of Table 7 are --config.task.features=embeddings, last, second_to_last, weighted_sum_last_four
and weighted_sum_all (`heads.Features`). BERT gives neither rate nor epochs for this: the rate of 1e-3 is ours, the
rest as in fine-tuning. `bilstm` puts the two BiLSTMs on a fine-tuned trunk, as in Table 5's last row, there with
--config.model.causal=True; the depth and width, not given there, are section 5.3's.

BERT (Devlin et al. 2018, sections 4 and A.3); DistilBERT and TinyBERT follow it. Section 4.1: a dense layer on the
pooled vector, batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 as the learning rate (here the last one; the
sweep `bert` has all of them, `bert-ranges` the ranges of A.3); SQuAD and SWAG, sections 4.2 to 4.4, are rows of BERT.
A.3: everything else, dropout included, as in pre-training. From run_classifier.py and run_squad.py
(google-research/bert, eedf5716), which settle the rest: warm-up over the first 10 %, decay to 0, lengths of 128 and
384, nothing masked. CoNLL-2003, section 5.3: a cased model, so it starts from runs/bert-SIZE-cased, a run of
configs/bert.py:SIZE,cased; and "the maximal document context provided by the data": neighbouring sentences fill each
row of 512 tokens, by tokens and equally on both sides, which the paper does not say (`features.WordRows`; other papers'
recipes do so, too). Dropout is the paper's own, 0.1 in BERT; there is none before spans (run_squad.py), except
DistilBERT's (DistilBertForQuestionAnswering in huggingface/transformers). DistilBERT's `release` reads classes as
DistilBertForSequenceClassification does: dense, ReLU, dropout of 0.2, dense. Of several seeds, BERT reports the best on
the development set (section 4.1), ALBERT (section 4.2.2), ELECTRA (section 3.1) and DistilBERT (section 3) the median,
of 5, 10 and 5 (`seeds`). `scripts/ensemble.py` averages the predictions of finished runs.

ALBERT (Lan et al. 2019, Table 14): a row for each task, with the trunk's dropout and the classifier's. Adam's variant
and decay are BERT's (google-research/albert, optimization.py). `v2` changes one row: RACE at 1e-5 without dropout in the
trunk, since v1's values make the models of v2 diverge (google-research/albert, README).
For SQuAD 2.0 a span extractor and a classifier of answerability are trained together; squad_utils.py
supplies the layers (`heads.JointSpanHead`), the classifier's weight of 0.5, beams of 5 starts and 5 ends (run_squad_v2.py)
and the rule of the lowest score of no answer. For 1.1 both ends are predicted independently, as in BERT.

ELECTRA (Clark et al. 2020, Table 7): layer-wise rate decay, 10 epochs of RTE and STS-B, no weight
decay. The rates of small and base are the best of several, the same for all tasks (appendix B, in SWEEPS). There is no
pooler: classes are read from [CLS], after dropout (finetune/classification/classification_tasks.py in
google-research/electra, 8a46635f). `release` is where configure_finetuning.py and model/optimization.py differ:
a rate of 1e-4 for small, weight decay 0.01, and one level too many between the head and the top layer, which its author
calls a bug (`optimizers.factors`); classes and scores start glorot uniform, TensorFlow's default
(classification_tasks.py, tagging_tasks.py); each training pair of MRPC and STS-B in both orders, as two examples; and scores
of STS-B divided by 5 in the loss (classification_tasks.py). SQuAD uses XLNet's module (section 3.1): the end of a span
is predicted from its start; for 2.0 a classifier says whether there is an answer. The paper says no more; finetune/qa
supplies the layers of both (`heads.JointSpanHead`), the classifier's weight of 0.5, the search for the
likeliest spans among the 20 likeliest starts and 20 ends of each (`task.n_best`), and the rule that the window with
the lowest score of no answer decides (`spans.choose_candidates`). The release trains the classifier even for 1.1,
where it is unused.

GPT-1 (Radford et al. 2018, sections 3.2 and 4.1; opt.py and train.py in openai/finetune-transformer-lm, a69b5c43):
rate 6.25e-5, batch 32, 3 epochs, warm-up over 0.2 %, decay to 0; the classes are read from the last token's vector,
and language modelling continues with half the weight (section 3.2, equation 5), one mean over all tokens of the batch, so
that longer texts weigh more. `release`, as the released code (lm_losses and clf_h in train.py): the mean over each
sequence comes first, and the choices of an example share one dropout mask before the classifier. Its sequences are as
long as the longest example, at most 512; ours are 512. GPT-2 and GPT-3 were not fine-tuned: here as GPT-1.

GPT-1's texts (section 3.3, Figure 1; train.py, transform_roc): Start, text, Extract; Start, A, Delim, B, Extract; for
similarity (MRPC, QQP, STS-B) also Start, B, Delim, A, Extract, and the two vectors at Extract are added before the
classes; for choices Start, context and question, Delim, answer, Extract for each answer, with contexts cut on the left
if too long (the paper does not say; the released code cuts the end of every field). The three are separate tokens,
new rows of the table, appended to the vocabulary of the run to start from, unless it has them already from an earlier
fine-tuning. There is no [PAD]: padding is id 0, masked, as in the released code.

PKD (Patient Knowledge Distillation; Sun et al. 2019, arXiv 1908.09355): `pkd3`, `pkd4` and `pkd6` train the first
layers of a pre-trained BERT on a task, with a fine-tuned BERT as the teacher. `pkd4` and `pkd6` are BERT4-PKD and
BERT6-PKD of TinyBERT's Tables 1 and 6:

    .venv/bin/python scripts/train.py --config configs/finetune.py:bert-base,mnli --config.init.run=runs/bert-base \
        --config.task.folder=MNLI --workdir runs/mnli
    .venv/bin/python scripts/train.py --config configs/finetune.py:bert-base,mnli,pkd6 --config.init.run=runs/bert-base \
        --config.teacher.runs=runs/mnli --config.task.folder=MNLI --workdir runs/pkd

The loss is (1 - a) times that of the answers, a times the cross-entropy with the teacher's classes at a temperature T,
and b times `patience` (section 3). The layers are PKD-Skip's, for 6 of 12 layers 2, 4, 6, 8 and 10;
--config.teacher.layer_map=top is PKD-Last, 7 to 11. Section 4.2: batch 32, 4 epochs; T of 5, 10 and 20 and a of 0.2,
0.5 and 0.7 were searched first, then rates and b, the sweep `pkd`. It does not say which won: a = 0.7, T = 10, b = 500
and a rate of 1e-5 are the repository's example (intersun/PKD-for-BERT-Model-Compression, 9e9e8609,
src/argument_parser.py). Another a is --config.losses.classify and soft_labels. `release` multiplies the soft labels by
T^2 and divides them by the number of classes (src/KD_loss.py, KLDivLoss with a mean over all elements). PKD has no
SQuAD and no scores: spans have `soft_span`, a KL divergence times T^2, and scores (STS-B) only the answers and
`patience`.

The demos keep their batch of 16 and their rate (docs/demos.md).

An encoder reads its first token, a causal model its last; the tokenizer needs [CLS] and [SEP], or those in `add`.
"""

import functools
import importlib
import pkgutil

import configs
from configs import common, demos
from ssl_jax import tasks
from ssl_jax.errors import check_choice
from ssl_jax.objectives import loss_of
from ssl_jax.sweeps.points import product

SHARED = ("ablations", "common", "decanlp", "demos", "fewshot", "finetune")
PAPERS = [m.name for m in pkgutil.iter_modules(configs.__path__) if m.name not in SHARED]

# Parts outside the trunk, in any run to start from, including generators and a student's projection.
HEADS = (
    "mlm", "clm", "pair", "replaced", "restored", "copied", "fit", "choice", "token_classes", "span", "joint_span",
    "features", "generator_embeddings", "generator_encoder", "generator_mlm", "generator_baseline",
)  # fmt: skip

# BERT by task: learning rate, batch, epochs, length; section 4.1's for all others.
BERT = {"squad": (5e-5, 32, 3.0, 384), "squad2": (5e-5, 48, 2.0, 384), "swag": (2e-5, 16, 3.0, 128),
        "conll2003": (2e-5, 32, 3.0, 512)}  # fmt: skip
GLUE = (2e-5, 32, 3.0, 128)
# ALBERT's Table 14 by task: learning rate, batch, dropout, the classifier's dropout, steps, warm-up steps, length.
ALBERT = {
    "cola": (1e-5, 16, 0.0, 0.1, 5336, 320, 512),
    "stsb": (2e-5, 16, 0.0, 0.1, 3598, 214, 512),
    "sst2": (1e-5, 32, 0.0, 0.1, 20935, 1256, 512),
    "mnli": (3e-5, 128, 0.0, 0.1, 10000, 1000, 512),
    "qnli": (1e-5, 32, 0.0, 0.1, 33112, 1986, 512),
    "qqp": (5e-5, 128, 0.1, 0.1, 14000, 1000, 512),
    "rte": (3e-5, 32, 0.1, 0.1, 800, 200, 512),
    "mrpc": (2e-5, 32, 0.0, 0.1, 800, 200, 512),
    "wnli": (2e-5, 16, 0.1, 0.1, 2000, 250, 512),
    "squad": (5e-5, 48, 0.0, 0.1, 3649, 365, 384),
    "squad2": (3e-5, 48, 0.0, 0.1, 8144, 814, 512),
    "race": (2e-5, 32, 0.1, 0.1, 12000, 1000, 512),
}
ALBERT_SQUAD2 = {
    "losses.span": 0.0, "losses.joint_span": 1.0, "losses.answerable": 0.5, "task.joint_span": "albert", "task.n_best": 5,
}  # fmt: skip
# ELECTRA's Table 7 by size: learning rate, layer decay; epochs and length by task.
ELECTRA = {"small": (3e-4, 0.8), "base": (1e-4, 0.8), "large": (5e-5, 0.9), "demo": (1e-4, 0.8)}
ELECTRA_TASKS = {"rte": (10.0, 128), "stsb": (10.0, 128), "squad": (2.0, 512), "squad2": (2.0, 512)}

# The papers' search spaces (development set), for scripts/sweep.py. BERT, section 4.1 and appendix A.3; ELECTRA, appendix B;
# PKD, section 4.2.
# TinyBERT's is in configs/tinybert.py.
SWEEPS = {
    "bert": product({
        "optimizer.learning_rate": (5e-5, 4e-5, 3e-5, 2e-5), "batch_size": (32,), "task.epochs": (3.0,),
    }),
    "bert-ranges": product({
        "optimizer.learning_rate": (5e-5, 3e-5, 2e-5), "batch_size": (16, 32), "task.epochs": (2.0, 3.0, 4.0),
    }),
    "electra-small": product({"optimizer.learning_rate": (1e-4, 2e-4, 3e-4, 5e-3)}),
    "electra-base": product({
        "optimizer.learning_rate": (3e-5, 5e-5, 1e-4, 1.5e-4), "optimizer.layer_decay": (0.9, 0.8, 0.7),
    }),
    "pkd": product({"optimizer.learning_rate": (5e-5, 2e-5, 1e-5), "losses.patience": (10.0, 100.0, 500.0, 1000.0)}),
}  # fmt: skip


def bert(size, task, suffixes):
    """BERT's values by key, which the other papers override; `length` is the sequence length."""
    del size, suffixes
    learning_rate, batch_size, epochs, length = BERT.get(task, GLUE)
    return {
        "batch_size": batch_size,
        "length": length,
        "task.epochs": epochs,
        "task.context": "document" if tasks.TASKS[task].kind == "token_labels" else "sentence",
        "task.dropout": 0.0 if tasks.TASKS[task].kind == "spans" else -1.0,
        "model.pooler": "tanh",
        "optimizer.name": "bert_adam",
        "optimizer.learning_rate": learning_rate,
        "optimizer.schedule": "linear",
        "optimizer.warmup": 0.1,
        "optimizer.epsilon": 1e-6,
        "optimizer.weight_decay": 0.01,
    }


def distilbert(size, task, suffixes):
    del size
    made = {"task.dropout": -1.0}
    if "release" in suffixes and tasks.TASKS[task].kind in ("classification", "regression", "choices"):
        made |= {"model.pooler": "relu", "task.dropout": 0.2}
    return made


def albert(size, task, suffixes):
    del size
    if task not in ALBERT:
        return {}
    learning_rate, batch_size, dropout, classifier_dropout, steps, warmup, length = ALBERT[task]
    if task == "race" and "v2" in suffixes:
        learning_rate, dropout = 1e-5, 0.0
    return {
        "steps": steps,
        "batch_size": batch_size,
        "length": length,
        "task.epochs": 0.0,
        "task.dropout": classifier_dropout,
        "model.dropout": dropout,
        "model.attention_dropout": dropout,
        "optimizer.learning_rate": learning_rate,
        "optimizer.warmup": warmup,
        **(ALBERT_SQUAD2 if task == "squad2" else {}),
    }


def electra(size, task, suffixes):
    release = "release" in suffixes
    learning_rate, layer_decay = ELECTRA.get(size, ELECTRA["small"])
    epochs, length = ELECTRA_TASKS.get(task, (3.0, 128))
    return {
        "batch_size": 32,
        "length": length,
        "task.epochs": epochs,
        "model.pooler": "plain",
        "optimizer.learning_rate": 1e-4 if release and size == "small" else learning_rate,
        "optimizer.schedule": "linear_warmed",
        "optimizer.weight_decay": 0.01 if release else 0.0,
        "optimizer.layer_decay": layer_decay,
        "optimizer.layer_decay_gap": int(release),
        "task.inputs": "doubled" if release and task in ("mrpc", "stsb") else "bert",
        "task.initializer": "glorot_uniform" if release else "matrices",
        "task.scale": 5.0 if release and task == "stsb" else 1.0,
        "losses.span": 0.0,
        "losses.joint_span": float(tasks.TASKS[task].kind == "spans"),
        "losses.answerable": 0.5 if task == "squad2" else 0.0,
    }


def gpt(size, task, suffixes):
    del size, task
    return {
        "batch_size": 32,
        "length": 512,
        "task.epochs": 3.0,
        "task.inputs": "gpt1",
        "task.share_dropout": "release" in suffixes,
        "task.language_mean": "sequences" if "release" in suffixes else "tokens",
        "data.tokenizer.add": ("_start_", "_delimiter_", "_classify_"),
        "init.grow": ("vocabulary",),
        "model.pooler": "plain",
        "losses.clm": 0.5,
        "optimizer.name": "gpt1_adam",
        "optimizer.learning_rate": 6.25e-5,
        "optimizer.schedule": "linear_warmed",
        "optimizer.warmup": 0.002,
        "optimizer.epsilon": 1e-8,
    }


RECIPES = {"distilbert": distilbert, "albert": albert, "electra": electra, "gpt1": gpt, "gpt2": gpt, "gpt3": gpt}


def bilstm(config, name):
    """BERT, Table 5: two BiLSTMs between trunk and head; for whole texts their last states are read."""
    del name
    config.task.lstm = 2
    if config.model.pooler != "none":
        config.model.pooler = "plain"
        config.init.drop = (*config.init.drop, "pooler")


def features(config, name):
    """BERT, section 5.3: the same on the last four layers of a frozen trunk."""
    bilstm(config, name)
    if config.task.dropout < 0:
        config.task.dropout = config.model.dropout  # kept before the classes
    config.task.features = "concat_last_four"
    config.model.update(dropout=0.0, attention_dropout=0.0)
    config.optimizer.update(frozen="^(embeddings|encoder)/", learning_rate=1e-3)
    config.losses.clm = 0.0  # useless for a frozen trunk


SEEDS = {"albert": 5, "distilbert": 5, "electra": 10}  # of which the papers report the median
TOPS = {"bilstm": bilstm, "features": features}


def pkd(config, name, *, layers, release):
    """PKD: a student of the first layers, whose losses on the answers, `classify` and so on, have a rest of 1 - a."""
    del name
    kind = tasks.TASKS[config.task.name].kind
    soft = {"classification": "soft_labels", "spans": "soft_span", "regression": ""}
    check_choice(kind, soft, "kind of tasks for pkd")
    share, temperature = 0.7, 10.0
    if soft[kind]:
        scale = temperature**2 if release and kind == "classification" else 1.0
        config.losses.update({loss_of(kind): round(1 - share, 2), soft[kind]: share * scale})
    config.losses.patience = 500.0
    config.update(
        dict(
            model=dict(layers=layers),
            init=dict(layers=tuple(range(layers))),
            teacher=dict(projection="none", temperature=temperature, mean_over_classes=release),
            batch_size=32,
            task=dict(epochs=4.0),
            optimizer=dict(learning_rate=1e-5),
        )
    )


PKD = {f"pkd{layers}": functools.partial(pkd, layers=layers) for layers in (3, 4, 6)}


def smoke(config, name):
    """The paper's `smoke` has already shrunk the model; this also fixes the steps and starts from random weights."""
    del name
    config.init.run = ""
    if config.init.layers:
        config.init.layers, config.model.layers = (), 2
    config.steps = 20
    config.batch_size = 8
    config.task.epochs = 0.0
    config.optimizer.learning_rate = 1e-3


def read_kind(config, kind):
    """Replaces the class head with the kind's new head; spans and token labels are read without a pooler."""
    if kind in ("classification", "regression"):
        return
    span = "joint_span" if config.losses.joint_span else "span"
    head = {"choices": "choice", "spans": span, "token_labels": "token_classes"}[kind]
    pooled = kind == "choices"
    kept = {head} | ({"pooler"} if pooled else set()) | ({"clm"} if config.losses.clm else set())
    config.init.drop = tuple(name for name in ("classifier", "pooler", *HEADS) if name not in kept)
    config.init.fresh = (head, "features", *(name for name in config.init.fresh if name == "pooler" and pooled))
    if not pooled:
        config.model.pooler = "none"


def get_config(variant="bert-base,topics"):
    model, *rest = variant.split(",")
    task, *suffixes = rest or ["topics"]
    paper, _, size = model.partition("-")
    check_choice(paper, PAPERS, "paper")
    check_choice(task, tasks.FINE_TUNED, "task")
    kind = tasks.TASKS[task].kind
    if (size, task) == ("tiny", "topics"):
        size = "demo"
    papers = [suffix for suffix in suffixes if suffix not in (*TOPS, *PKD, "seeds")]
    if (paper, task) == ("bert", "conll2003"):
        model, papers = f"{model}-cased", ["cased", *papers]
    config = importlib.import_module(f"configs.{paper}").get_config(",".join([size, *papers]))
    recipe = bert(size, task, suffixes)
    if paper in RECIPES:
        own = gpt if config.model.causal else RECIPES[paper]  # DistilGPT-2 as GPT-2
        # RTE is the same task in GLUE's and SuperGLUE's files.
        recipe |= own(size, task.removeprefix("superglue_"), suffixes)
    length = min(recipe.pop("length"), config.model.max_positions)
    pooled = config.model.pooler != "none" or recipe["model.pooler"] == "plain"  # the pooler is not new
    config.losses.update({name: 0.0 for name in config.losses})
    config.update(
        dict(
            phases=dict(lengths=(length,), shares=(1.0,)),
            ramp=dict(start=0),
            generator=dict(kind="none", first_stage=0.0),
            teacher=dict(runs=()),
            init=dict(
                run=f"runs/demo-{paper}" if size == "demo" else f"runs/{model}",
                layers=(),
                # Keep a language model's head if it is trained further.
                drop=tuple(name for name in HEADS if name != "clm" or not recipe.get("losses.clm")),
                fresh=("classifier", "features") if pooled else ("classifier", "features", "pooler"),
            ),
            losses={loss_of(kind): 1.0},
            corruption=dict(rate=0.0),
            data=dict(examples="task", document_mask=False, static_masks=False),
            task=dict(name=task, statistic="best" if paper == "bert" else "median"),
            optimizer=dict(clock="steps", decay_until=1.0, end_lr_ratio=0.0, b1=0.9, b2=0.999, grad_clip_norm=1.0),
            evals=dict(heldout=dict(module="task")),
        )
    )
    config.update_from_flattened_dict(recipe)
    config.data.tokenizer.vocab_size += len(config.data.tokenizer.add)
    if "seeds" in suffixes:
        check_choice(paper, SEEDS, "paper that says how many seeds it has")
        config.seeds = SEEDS[paper]
    read_kind(config, kind)
    changes = [TOPS[suffix] for suffix in suffixes if suffix in TOPS]
    changes += [functools.partial(PKD[suffix], release="release" in suffixes) for suffix in suffixes if suffix in PKD]
    changes += [smoke] * ("smoke" in suffixes)
    return common.finish(config, f"finetune:{variant}", size, demos.FINETUNE, changes)
