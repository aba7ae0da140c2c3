"""GPT-1: Improving Language Understanding by Generative Pre-Training. Radford et al. 2018.
https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf

    .venv/bin/python scripts/train.py --config configs/gpt1.py:base --workdir runs/gpt1

From the paper: section 4.1. The pre-training code was not released. From the fine-tuning code
(openai/finetune-transformer-lm, a69b5c43), which settles what the paper leaves open: post-norm without a final norm,
epsilon 1e-5 and the tanh GELU (train.py), Adam's constants, the form of its bias correction and decay, the cosine
from step 0 (opt.py).

Steps: the paper counts 100 epochs over BooksCorpus. With the 800 M words that the BERT paper gives it, and about 1.2
tokens a word, 100 epochs are 100 * 0.96e9 / (64 * 512) = 2.9 million steps. The warm-up is 2,000 of them.

Text: the paper has ftfy and spaCy split the words before BPE (section 4.1); here BERT's splitter does (`gpt1_bpe` in
ssl_jax/tokenization/train.py), for which nothing need be installed, so a vocabulary trained here is not OpenAI's;
`release` has both, with the rules of text_utils.py (ssl_jax/tokenization/words.py; pip install 'ssl_jax[gpt1]'). That
vocabulary has no token for the end of a text, so documents follow each other without one. BooksCorpus is no longer
distributed: the default corpus is the demo's.

Figure 2, left, transfers the embeddings and the first k blocks and initialises the others: --config.init.layers=0,1,2
of finetune.py (--n_transfer in train.py); k = 0 is 'encoder' in both init.drop and init.fresh.

`release` is what the fine-tuning code does and the paper does not say: dropout on the embedding tables themselves, so
that all occurrences of a token in a batch lose the same entries; and logits over the position table's rows, too,
because there both tables are one matrix (train.py); and the words of a text from ftfy and spaCy (text_utils.py), in
fine-tuning --config.data.tokenizer.words=bert for a run that was trained without.

`lstm` is the baseline of Table 5: one layer of 2,048 units in the Transformer's place (models/recurrent.py), all else
as it is. Without pre-training (Table 5, "w/o pre-training") is --config.init.run=none in fine-tuning.

Sizes: base is the paper's, tiny to medium have the shapes of BERT's miniatures (common.MINIATURES), demo is ours
(docs/demos.md). Parameters, exact: 116,534,784 (the paper gives none; the GPT-2 paper says 117M).

Published: MNLI 82.1 / 81.4, SNLI 89.9, SciTail 88.3, RACE 59.0, Story Cloze 86.5. Ours: not run.
"""

from configs import common, demos
from ssl_jax.config import base

SIZES = {
    **common.MINIATURES,
    "base": dict(layers=12, hidden_size=768, heads=12),
    "lstm": dict(layers=1, hidden_size=768, heads=12, lstm=2048),
    "demo": dict(layers=2, hidden_size=128, heads=4),
}


def release(config, name):
    del name
    config.model.dropped_embeddings = "tables"
    config.model.predict_positions = True
    config.data.tokenizer.words = "spacy"


def get_config(variant="base"):
    name, changes = common.parse(variant, SIZES, dict(release=release, smoke=common.smoke))
    config = base()
    config.update(
        dict(
            steps=2_900_000,
            batch_size=64,
            phases=dict(lengths=(512,)),
            model=dict(
                max_positions=512,
                causal=True,
                norm="post",
                norm_epsilon=1e-5,
                activation="gelu_tanh",
                dropout=0.1,
                attention_dropout=0.1,
                initializer="normal",
                initializer_range=0.02,
                **SIZES[name],
            ),
            losses=dict(clm=1.0),
            data=dict(  # 40,000 merges
                examples="windows", tokenizer=dict(kind="gpt1_bpe", vocab_size=40478, lowercase=True)
            ),
            optimizer=dict(
                name="gpt1_adam",
                learning_rate=2.5e-4,
                schedule="cosine",
                warmup=2_000,
                b1=0.9,
                b2=0.999,
                epsilon=1e-8,
                weight_decay=0.01,  # on all but biases and gains
                grad_clip_norm=1.0,
            ),
        )
    )
    return common.finish(config, f"gpt1:{variant}", name, demos.GPT1, changes)
