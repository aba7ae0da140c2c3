"""Trains the tokenizer that a config asks for, on its corpus, into a file that other configs can use.

    scripts/train_tokenizer.py --config configs/bert.py:base --output vocabulary.json
    scripts/train.py --config configs/bert.py:base --config.data.tokenizer.path=vocabulary.json ...

Only needed to share one vocabulary between corpora: prepare_data.py trains one where none is given.
"""

from ssl_jax import command_line
from ssl_jax.data import corpora, tokens
from ssl_jax.tokenization import files as tokenizer_files

CONFIG = command_line.define_config()
OUTPUT = command_line.define_path("output", "tokenizer.json", "the file to write")


def main():
    data = CONFIG.value.data
    corpus = corpora.open_corpus(data.corpus, data.root)
    tokenizer_files.save(tokens.train_on(corpus, data), OUTPUT.value)
    print(
        f"{OUTPUT.value}: {data.tokenizer.kind}, {data.tokenizer.vocab_size} pieces from corpus "
        f"{data.corpus!r}, SHA-256 {tokenizer_files.fingerprint(OUTPUT.value)}"
    )


if __name__ == "__main__":
    command_line.run(main)
