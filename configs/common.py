"""What the papers' configs share: every key there is, at its most neutral, and the suffixes of variants."""

import ast
import functools
import inspect
import io
import tokenize

from ml_collections import ConfigDict

from ssl_jax.errors import check_choice
from ssl_jax.models import spec
from ssl_jax.objectives import OBJECTIVES

# Google's miniatures of BERT (Turc et al. 2019, arXiv 1908.08962, and google-research/bert's README): heads of 64. Every
# paper has them under these names, but for names that are sizes of its own.
MINIATURES = {
    "tiny": dict(layers=2, hidden_size=128, heads=2),
    "mini": dict(layers=4, hidden_size=256, heads=4),
    "small": dict(layers=4, hidden_size=512, heads=8),
    "medium": dict(layers=8, hidden_size=512, heads=8),
}


def parse(variant, sizes, suffixes):
    """Splits 'tiny,smoke' into 'tiny', a key of `sizes`, and the functions that `suffixes` has for the rest.

    Raises:
      UserError: no such size or suffix, with the near match.
    """
    size, *names = variant.split(",")
    check_choice(size, sizes, "variant")
    for name in names:
        check_choice(name, suffixes, "suffix")
    return size, [suffixes[name] for name in names]


def finish(config, variant, name, demo, changes):
    """Applies the demo's values, if `name` is one ('few' is GPT-3's second), and then the suffixes' changes, in order.

    `variant` is the config's own name, 'bert:base,smoke'.
    """
    if name in ("demo", "few"):
        config.update_from_flattened_dict(demo)
    for change in changes:
        change(config, name)
    config.variant = variant
    return config


def base():
    """All keys. A paper's config changes those that its methods section is about.

    The comments are what `--help` says of the keys, those of `model` in `spec.Trunk`; `ssl_jax/bounds.py` has their bounds.
    """
    config = ConfigDict(
        dict(
            variant="",  # which config this is, filled in: 'bert:base,smoke'
            seed=0,  # of the initial values, the order of the examples, the masks and dropout
            seeds=1,  # so many, from `seed` on, are trained together (seeds.py); of tasks alone
            seeds_together=True,  # False: one after the other, as where they do not fit in memory together
            steps=100_000,  # how many updates; phases, warm-up and decay are shares of them
            batch_size=256,  # sequences, or a task's examples, that an update sees, over all devices
            accumulate=1,  # micro-batches per step: less memory, the same numbers
            phases=dict(lengths=(512,), shares=(1.0,)),  # sequence lengths, and the share of the steps at each
            ramp=dict(start=0, share=0.0),  # the batch grows from `start` over this share of the tokens; 0: no ramp
            model=dict(  # see spec.Trunk
                vocab_size=0,  # one number with data.tokenizer.vocab_size
                layers=12,
                hidden_size=768,
                heads=12,
                head_size=0,
                ffn_size=0,
                embedding_size=0,
                positions=512,
                segments=0,
                causal=False,
                band=0,
                share="none",
                share_groups=1,
                norm="post",
                embedding_norm=False,
                final_norm=False,
                norm_epsilon=1e-5,
                activation="gelu_tanh",
                pooler="none",
                dropout=0.1,
                attention_dropout=0.1,
                dropped_embeddings="sum",
                predict_positions=False,
                initializer="truncated_normal",
                initializer_range=0.02,
                embedding_range=0.0,
                position_range=0.0,
                residual_scale=False,
                projection_initializer="matrices",
                neighbours=(),
                dtype="float32",
                scan=False,
                remat=False,
            ),
            generator=dict(  # what makes up replaced tokens; see build_generator
                kind="none",  # what it is: 'transformer', 'unigram' or 'uniform'
                size=1.0,  # of the trunk's width
                layers=1.0,  # of the trunk's depth
                heads=0,  # of attention; 0: 64 wide, at least one
                ffn_size=0,  # of its feed-forward networks; 0: four times its width
                tying="embeddings",  # what it shares with the trunk: 'none', 'embeddings' or 'all'
                temperature=1.0,  # of the sampling
                average_duplicates=False,  # positions drawn twice get the mean of two ids, as in the released code
                first_stage=0.0,  # share of the steps that train it alone (two_stage.py); 0: both at once
            ),
            losses=dict(  # the weight of each of OBJECTIVES
                mlm=0.0,  # masked tokens (BERT)
                clm=0.0,  # the next token (GPT)
                nsp=0.0,  # whether a second segment follows the first (BERT)
                sop=0.0,  # the order of two segments (ALBERT)
                rtd=0.0,  # which tokens were replaced (ELECTRA)
                rtd_masked=0.0,  # which tokens were replaced, at the chosen ones alone (ELECTRA 15 %)
                replaced_mlm=0.0,  # chosen tokens, others shown in their places (Replace MLM)
                all_tokens=0.0,  # every token, from a text with some replaced (All-Tokens MLM)
                adversarial=0.0,  # the generator against the discriminator (ELECTRA, appendix F)
                classify=0.0,  # a task's class
                regress=0.0,  # a task's score
                choose=0.0,  # which of a task's choices
                span=0.0,  # where an answer begins and ends
                joint_span=0.0,  # where an answer begins, and where it ends given that (ELECTRA)
                answerable=0.0,  # whether there is an answer (ELECTRA)
                classify_tokens=0.0,  # each word's label
                soft_targets=0.0,  # a teacher's distribution over tokens, at every token (DistilBERT)
                soft_predictions=0.0,  # a teacher's distribution over tokens, at the predicted ones alone
                cosine=0.0,  # the direction of a teacher's last states (DistilBERT)
                embedding=0.0,  # a teacher's embeddings (TinyBERT)
                hidden=0.0,  # a teacher's layers (TinyBERT)
                attention=0.0,  # a teacher's attention (TinyBERT)
                soft_labels=0.0,  # a teacher's classes (TinyBERT)
                soft_span=0.0,  # a teacher's distributions over where an answer begins and ends
            ),
            heads=(),  # of models.spec.HEADS, besides those that the losses read
            teacher=dict(  # what the losses of distillation compare with; see distill.py
                runs=(),  # folders of finished runs; of several the outputs are averaged
                layer_map="uniform",  # which of its layers teaches each of ours: 'top', 'bottom', or a list '3,6,9,12'
                projection="two",  # from our width to its: 'two' (embeddings, layers), 'one', 'each' or 'none'
                hidden_size=0,  # its width; what `runs` have is filled in
                temperature=1.0,  # of the soft targets
                cache="",  # folder that scripts/cache_teacher.py made of these runs' outputs; empty: they run along
            ),
            init_from="",  # a finished run to start from; 'teacher': the first of teacher.runs; 'none' as '': none
            init_layers=(),  # which of its layers, from 0; (): all of them
            init_drop=(),  # its parameters that are left out, by name or part: 'pair', 'embeddings/segment'
            init_anew=(),  # parameters that start from initial values, whatever the source has
            init_rename=(),  # its parameters that have another name here: 'generator_encoder=encoder'
            init_optimizer=False,  # True: its optimizer's state and step, too: this run continues that one
            init_grow=(),  # what may have more rows here than there: 'positions', 'vocabulary'
            loss_average="global",  # 'device': the originals' mean of per-core means
            corruption=dict(  # see corruption.py
                rate=0.15,  # share of the tokens that are predicted; 0: the model sees the text as it is
                mask=0.8,  # share of the predicted tokens that are shown as [MASK]
                random=0.1,  # share of the predicted tokens that are shown as a random token
                max_predictions=0,  # of a sequence, at most; 0: no limit
                unit="token",  # what is chosen: 'token', 'word' or 'ngram'
                max_ngram=3,  # words of the longest n-gram
                with_replacement=False,  # a token may be drawn more than once (ELECTRA)
                smoothing=0.0,  # tokens are chosen in proportion to 1 / count ** smoothing
            ),
            data=dict(
                corpus="demo",  # 'demo', 'text:FOLDER', or a TensorFlow Datasets name
                root="data",  # prepared corpora live in this folder, one folder each
                tokenizer=dict(
                    path="",  # a tokenizer.json, or a model's folder, to use as it is; empty: train one on the corpus
                    kind="wordpiece",  # what is trained: 'wordpiece', 'unigram', 'byte_bpe' or 'gpt1_bpe'
                    vocab_size=30522,  # how many pieces it has, and the model's table has rows; of `path` what is there
                    lowercase=True,  # whether 'A' and 'a' are the same
                    add=(),  # special tokens put at its end, which vocab_size counts
                ),
                max_documents=0,  # use the first so many documents; 0: all
                max_examples=0,  # use so many of a task's training examples, chosen by a hash of their texts; 0: all
                heldout=0.02,  # share of the documents, chosen by a hash of their text, never trained on
                # 'single' texts, 'windows' of the running text, or a 'task'; what pairs are labelled with, the losses say
                examples="pairs",
                short=0.1,  # share of documents cut to shorter pairs
                passes=10,  # walks over the corpus, each with new pairs (the originals' dupe_factor)
                borders=False,  # attention in windows stops at the borders of documents
            ),
            task=dict(  # read where data.examples is 'task'; see ssl_jax/tasks
                name="topics",  # one of TASKS
                folder="",  # where the task's files are; empty: TensorFlow Datasets' are in data.root/tfds
                # What the files of task 'jsonl' call text, text2 and label, where not that: 'text=sentence', 'label=gold'.
                fields=(),
                augmented="",  # a .jsonl whose examples take the place of those trained on
                epochs=0.0,  # passes over the examples, which set `steps`; 0: `steps` says how long
                classes=0,  # how many labels there are, 1 of a regression; filled in by the run
                labels=(),  # their names; filled in by the run
                inputs="bert",  # how texts are put together, one of INPUTS: 'gpt1', 'doubled'
                orders=1,  # how many a pair is read in at once; filled in by the run
                scale=1.0,  # the loss of a regression divides scores by it; what is reported has their own units
                stride=128,  # tokens from one window of a context to the next (spans)
                max_question=64,  # tokens of a question, which is cut there (spans)
                # Spans: the likeliest first and last tokens of a window that are combined; of losses.joint_span the beam.
                n_best=20,
                max_answer=30,  # tokens of an answer (spans)
                activation="none",  # of the pooled vector, before the classes are read from it; 'relu' and so on
                bias=True,  # added to the classes
                statistic="median",  # of several seeds, which one the paper reports, one of bounds.STATISTICS
                dropout=-1.0,  # before the classes or spans, but losses.joint_span's; below 0: model.dropout
                share_dropout=False,  # all choices of an example have one mask of it
                features="",  # what heads read of each token, one of spec.FEATURES; '': the trunk's output
                lstm=0,  # bidirectional LSTMs between that and the heads
                lstm_size=768,  # their width, in each direction
            ),
            optimizer=dict(
                name="bert_adam",  # 'bert_adam', 'gpt1_adam', 'adamw' or 'lamb', see build_optimizer
                learning_rate=1e-4,  # at the peak
                schedule="linear",  # 'linear', 'linear_warmed', 'linear_peaked', 'cosine' or 'constant'
                clock="steps",  # what the schedule counts: 'steps' or 'tokens'
                warmup=0.01,  # share of the clock's total
                decay_until=1.0,  # share at which the decay ends
                floor=0.0,  # share of the learning rate that is left when the decay ends
                b1=0.9,  # how much of the first moment is kept from one step to the next
                b2=0.999,  # how much of the second moment is kept from one step to the next
                epsilon=1e-6,  # added to the second moment's root
                weight_decay=0.01,  # times the rate, of every parameter but those of no_decay
                no_decay=r"norm|bias",  # regex of the names of parameters without decay
                clip=1.0,  # the largest norm of the gradients
                clip_by="global",  # the norm of all gradients; 'tensor': each one's own
                # Rates of parts, which are called by their names, as in init_drop; see optimizers.scale_by_part.
                layer_decay=1.0,  # a level's rate as a share of that of the level above it; the head has the whole
                layer_decay_gap=0,  # levels counted between head and top layer though nothing is there
                rates=(),  # 'REGEX=MULTIPLIER' of the rate, the first that matches: '^classifier=10'
                frozen="",  # regex of what does not move at all
                unfreeze=0.0,  # share of the run after which the next level down starts to move; 0: all move at once
            ),
            evals=dict(  # what measures the run, by name: a module of ssl_jax/evaluators and its options
                heldout=dict(
                    module="mean",  # 'mean' of all losses, or of a task its own metrics, 'task'
                    split="heldout",  # what is measured: 'heldout', 'train', or a task's other splits
                    max_batches=0,  # measure so many batches; 0: all
                )
            ),
            # How a run is cut over devices, watched and saved: nothing that changes what is computed.
            parallel=dict(
                mode="pmap",  # 'pmap' replicates; 'mesh' shards parameters by fsdp and tensor
                devices=0,  # how many devices; 0: all
                fsdp=1,  # into how many pieces parameters are cut by their width
                tensor=1,  # into how many pieces attention heads and feed-forward networks are cut
            ),
            log_every=0,  # steps between lines of metrics; 0: 20 in all, but at least every 100 steps
            evaluate_every=0,  # steps between evaluations; 0: 4 in all, but at least every 10,000 steps
            checkpoint_every=0,  # steps between checkpoints; 0: 4 in all, but at least every 1,000 steps
            keep_checkpoints=3,  # how many are kept, the newest
            run=dict(  # what else may change from one start of a run to the next
                checkpoint_minutes=10.0,  # at least this often there is a checkpoint, whatever checkpoint_every; 0: not so
                extend=False,  # True: a run of other `steps` continues to these, with its optimizer and order of examples
            ),
        )
    )
    # One number with two names: whoever sets one of them sets both.
    config.model.vocab_size = config.data.tokenizer.get_ref("vocab_size")
    return config


@functools.cache
def docs():
    """What the comments of `base` say of each key and block, and those of `spec.Trunk` of `model`: {'model.layers': str}."""
    source = inspect.getsource(base)
    comments = _comments(source)
    call = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.keywords)

    def of(call, prefix):
        found = {}
        for keyword in call.keywords:
            name, value = f"{prefix}{keyword.arg}", keyword.value
            block = isinstance(value, ast.Call)
            found[name] = _beside(comments, keyword.lineno, keyword.lineno if block else value.end_lineno)
            found |= of(value, f"{name}.") if block else {}
        return found

    found = of(call, "")
    source = inspect.getsource(spec.Trunk)
    comments = _comments(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign):
            name = f"model.{node.target.id}"
            found[name] = found.get(name) or _beside(comments, node.lineno, node.end_lineno)
    return found


def _comments(source):
    """The comments of Python code by line, and whether each has its line for itself."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _beside(comments, first, last):
    """The comment at the end of line `last`, or else those on the lines before `first`."""
    if last in comments:
        return comments[last][0]
    above = []
    while (first := first - 1) in comments and comments[first][1]:
        above.insert(0, comments[first][0])
    return " ".join(above)


# What the papers' demos have in common: sizes for five minutes on two CPU cores.
DEMO = {
    "batch_size": 16,
    "phases.lengths": (64,),
    "phases.shares": (1.0,),
    "model.positions": 64,
    "model.dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.embedding_range": 0.05,
    "data.tokenizer.vocab_size": 4096,
    "data.heldout": 0.03,
}


def alone(config, name):
    """The same student without a teacher: what is left are the losses on the text or labels themselves."""
    del name
    tokens = "clm" if config.model.causal else "mlm"
    for soft, hard in (("soft_targets", tokens), ("soft_predictions", tokens), ("soft_labels", "classify"),
                       ("soft_span", "span")):  # fmt: skip
        if config.losses[soft] and not config.losses[hard]:
            config.losses[hard] = 1.0
    config.update(dict(init_from="", init_layers=(), teacher=dict(runs=())))
    config.losses.update({name: 0.0 for name, row in OBJECTIVES.items() if row.teacher})


def smoke(config, name):
    """The same recipe shrunk to seconds on a CPU: smaller in every size, equal in every choice."""
    del name
    config.steps = 20
    config.batch_size = 8
    if config.ramp.start:
        config.ramp.update(start=4, share=0.5)
    config.phases.lengths = tuple(32 * 2**i for i in range(len(config.phases.lengths)))
    model = config.model
    model.update(layers=2, hidden_size=32, heads=2, head_size=0, ffn_size=0, positions=64)
    model.embedding_size = min(model.embedding_size, 16)
    model.band = min(model.band, 8)
    model.neighbours = ()
    config.init_layers = config.init_layers and (0, 1)
    config.task.update(lstm_size=16, stride=16, max_question=16)
    config.data.tokenizer.vocab_size = 512
    config.data.max_documents = 300
    config.data.heldout = 0.1
    config.data.passes = 2
    config.optimizer.learning_rate = 1e-3
    config.log_every = 5
    config.evaluate_every = 10
    config.checkpoint_every = 5
