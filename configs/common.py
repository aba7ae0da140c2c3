"""What the papers' configs share: every key there is, at its most neutral, and the suffixes of variants."""

from ml_collections import ConfigDict

from ssl_jax import objectives
from ssl_jax.errors import check_choice


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


def finish(config, name, demo, changes):
    """Applies the demo's values, if `name` is one ('few' is GPT-3's second), and then the suffixes' changes, in order."""
    if name in ("demo", "few"):
        config.update_from_flattened_dict(demo)
    for change in changes:
        change(config, name)
    return config


def base():
    """All keys. A paper's config changes those that its methods section is about."""
    return ConfigDict(
        dict(
            seed=0,
            seeds=1,  # so many, from `seed` on, are trained together (seeds.py); of tasks alone
            seeds_together=True,  # False: one after the other, as where they do not fit in memory together
            steps=100_000,
            batch_size=256,
            accumulate=1,  # micro-batches per step: less memory, the same numbers
            phases=dict(lengths=(512,), shares=(1.0,)),  # sequence lengths, and the share of the steps at each
            ramp=dict(start=0, share=0.0),  # the batch grows from `start` over this share of the tokens; 0: no ramp
            model=dict(  # see TransformerConfig
                vocab_size=30522,
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
                kind="none",  # 'transformer', 'unigram' or 'uniform'
                size=1.0,  # of the trunk's width
                layers=1.0,  # of the trunk's depth
                heads=0,  # 0: 64 wide, at least one
                ffn_size=0,  # 0: four times its width
                tying="embeddings",
                temperature=1.0,
                average_duplicates=False,
                first_stage=0.0,  # share of the steps that train it alone (two_stage.py); 0: both at once
            ),
            losses=dict(  # the weight of each of OBJECTIVES
                mlm=0.0,
                clm=0.0,
                nsp=0.0,
                sop=0.0,
                rtd=0.0,
                rtd_masked=0.0,
                replaced_mlm=0.0,
                all_tokens=0.0,
                adversarial=0.0,
                classify=0.0,
                regress=0.0,
                choose=0.0,
                span=0.0,
                joint_span=0.0,
                answerable=0.0,
                classify_tokens=0.0,
                soft_targets=0.0,
                soft_predictions=0.0,
                cosine=0.0,
                embedding=0.0,
                hidden=0.0,
                attention=0.0,
                soft_labels=0.0,
                soft_span=0.0,
            ),
            heads=(),  # of models.model.HEADS, besides those that the losses read
            teacher=dict(  # what the losses of distillation compare with; see distill.py
                runs=(),  # folders of finished runs; of several the outputs are averaged
                layer_map="uniform",  # which of its layers teaches each of ours: 'top', 'bottom', or a list '3,6,9,12'
                projection="two",  # from our width to its: 'two' (embeddings, layers), 'one', 'each' or 'none'
                hidden_size=0,  # its width; what `runs` have is filled in
                temperature=1.0,
                cache="",  # folder that scripts/cache_teacher.py made of these runs' outputs; empty: they run along
            ),
            init_from="",  # a finished run to start from; 'teacher': the first of teacher.runs; 'none' as '': none
            init_layers=(),  # which of its layers, from 0; (): all of them
            init_drop=(),  # its parameters that are left out, by name or part: 'pair', 'embeddings/segment'
            init_anew=(),  # ours that start from initial values, whatever it has
            init_rename=(),  # its parameters that have another name here: 'generator_encoder=encoder'
            init_optimizer=False,  # True: its optimizer's state and step, too: this run continues that one
            init_grow=(),  # what may have more rows here than there: 'positions', 'vocabulary'
            loss_average="global",  # 'device': the originals' mean of per-core means
            corruption=dict(  # see mask_tokens
                rate=0.15,  # 0: the model sees the text as it is
                mask=0.8,
                random=0.1,
                max_predictions=0,
                unit="token",  # 'word', 'ngram'
                max_ngram=3,
                with_replacement=False,
                smoothing=0.0,  # tokens are chosen in proportion to 1 / count ** smoothing
            ),
            data=dict(
                corpus="demo",  # 'demo', 'text:FOLDER', or a TensorFlow Datasets name
                root="data",  # prepared corpora live in this folder, one folder each
                tokenizer=dict(
                    path="",  # a tokenizer.json to use as it is; empty: train one on the corpus
                    kind="wordpiece",
                    vocab_size=30522,
                    lowercase=True,
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
            task=dict(  # read where data.examples is 'task'; see ssl_jax/data/tasks
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
                statistic="median",  # of several seeds, which one the paper reports, one of seeds.STATISTICS
                dropout=-1.0,  # before the classes or spans, but losses.joint_span's; below 0: model.dropout
                share_dropout=False,  # all choices of an example have one mask of it
                features="",  # what heads read of each token, one of heads.FEATURES; '': the trunk's output
                lstm=0,  # bidirectional LSTMs between that and the heads
                lstm_size=768,  # their width, in each direction
            ),
            optimizer=dict(
                name="bert_adam",  # 'gpt1_adam', 'adamw', 'lamb'
                learning_rate=1e-4,
                schedule="linear",  # 'linear_warmed', 'cosine', 'constant'
                clock="steps",  # what the schedule counts; 'tokens'
                warmup=0.01,  # share of the clock's total
                decay_until=1.0,  # share at which the decay ends
                floor=0.0,  # share of the learning rate that is left then
                b1=0.9,
                b2=0.999,
                epsilon=1e-6,
                weight_decay=0.01,
                no_decay=r"norm|bias",
                clip=1.0,
                clip_by="global",  # the norm of all gradients; 'tensor': each one's own
                # Rates of parts, which are called by their names, as in init_drop; see optimizers.scale_by_part.
                layer_decay=1.0,  # a level's rate as a share of that of the level above it; the head has the whole
                layer_decay_gap=0,  # levels counted between head and top layer though nothing is there
                rates=(),  # 'REGEX=MULTIPLIER' of the rate, the first that matches: '^classifier=10'
                frozen="",  # regex of what does not move at all
                unfreeze=0.0,  # share of the run after which the next level down starts to move; 0: all move at once
            ),
            evals=dict(heldout=dict(module="mean", split="heldout", max_batches=0)),
            # How a run is cut over devices, watched and saved: nothing that changes what is computed.
            parallel=dict(
                mode="pmap",  # 'pmap' replicates; 'mesh' shards parameters by fsdp and tensor
                devices=0,  # 0: all
                fsdp=1,
                tensor=1,
            ),
            log_every=0,  # steps between lines of metrics; 0: 20 in all, but at least every 100 steps
            evaluate_every=0,  # steps between evaluations; 0: 4 in all, but at least every 10,000 steps
            checkpoint_every=0,  # steps between checkpoints; 0: 4 in all, but at least every 1,000 steps
            keep_checkpoints=3,
            run=dict(  # what else may change from one start of a run to the next
                checkpoint_minutes=10.0,  # at least this often there is a checkpoint, whatever checkpoint_every; 0: not so
                extend=False,  # True: a run of other `steps` goes on to these, with its optimizer and order of examples
            ),
        )
    )


# What the papers' demos have in common: sizes for five minutes on two CPU cores.
DEMO = {
    "batch_size": 16,
    "phases.lengths": (64,),
    "phases.shares": (1.0,),
    "model.vocab_size": 4096,
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
    for loss in objectives.TAUGHT:
        config.losses[loss] = 0.0


def smoke(config, name):
    """The same recipe shrunk to seconds on a CPU: smaller in every size, equal in every choice."""
    del name
    config.steps = 20
    config.batch_size = 8
    if config.ramp.start:
        config.ramp.update(start=4, share=0.5)
    config.phases.lengths = tuple(32 * 2**i for i in range(len(config.phases.lengths)))
    model = config.model
    model.update(layers=2, hidden_size=32, heads=2, head_size=0, ffn_size=0, vocab_size=512, positions=64)
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
