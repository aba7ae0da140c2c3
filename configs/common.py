"""Fragments that the papers' configs share, and the suffixes that any variant takes."""

from ssl_jax.errors import check_choice


def parse(variant, sizes):
    """Splits 'tiny,smoke' into 'tiny', a key of `sizes`, and the list of suffixes.

    Raises:
      UserError: no such size or suffix, with the near match.
    """
    size, *suffixes = variant.split(",")
    check_choice(size, sizes, "variant")
    for suffix in suffixes:
        check_choice(suffix, SUFFIXES, "suffix")
    return size, suffixes


def finish(config, suffixes):
    """Applies the suffixes in order and returns the config."""
    for suffix in suffixes:
        SUFFIXES[suffix](config)
    return config


def data():
    """Text to token ids to examples. Every config starts from the demo corpus, so that it runs at once."""
    return dict(
        corpus="demo",  # 'demo', 'text:FOLDER', or a TensorFlow Datasets name
        root="data",  # prepared corpora live in this folder, one folder each
        tokenizer=dict(
            path="",  # a tokenizer.json to use as it is; empty: train one on the corpus
            kind="wordpiece",
            vocab_size=30522,
            lowercase=True,
        ),
        max_documents=0,  # use the first so many documents; 0: all
        heldout=0.02,  # share of the documents, chosen by a hash of their text, never trained on
        pairs="nsp",  # how a document is cut into examples
        short=0.1,  # share of documents cut to a random shorter length
        passes=10,  # walks over the corpus, each with new pairs (the originals' dupe_factor)
    )


def run():
    """How a run is cut over devices, watched and saved: nothing that changes what is computed."""
    return dict(
        evals=dict(heldout=dict(module="mean", split="heldout", max_batches=0)),
        parallel=dict(
            mode="pmap",  # 'pmap' replicates; 'mesh' shards parameters by fsdp and tensor
            devices=0,  # 0: all
            fsdp=1,
            tensor=1,
        ),
        log_every=100,
        evaluate_every=10_000,
        checkpoint_every=1_000,
        keep_checkpoints=3,
    )


def smoke(config):
    """The same recipe shrunk to seconds on a CPU: smaller in every size, equal in every choice."""
    config.steps = 20
    config.batch_size = 8
    config.phases.lengths = tuple(32 * 2**i for i in range(len(config.phases.lengths)))
    config.model.neighbours = ()
    config.model.update(layers=2, hidden_size=32, heads=2, vocab_size=512, positions=64)
    config.data.tokenizer.vocab_size = 512
    config.data.max_documents = 300
    config.data.heldout = 0.1
    config.data.passes = 2
    config.optimizer.learning_rate = 1e-3
    config.log_every = 5
    config.evaluate_every = 10
    config.checkpoint_every = 5


SUFFIXES = {"smoke": smoke}
