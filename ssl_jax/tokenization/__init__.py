"""Subword tokenizers: trained here or read from files, run by the `tokenizers` library. Nothing here imports JAX.

vocabulary.py   the ids of a tokenizer: pieces, roles, identity
checks.py       what any tokenizer must pass before it is used
train.py        the papers' kinds, and training
words.py        what GPT-1's released code does to texts first: ftfy and spaCy
classes.py      tokenizer classes of `transformers`, built from their vocabulary files
folders.py      folders of `transformers` and of the original releases, read and written
files.py        load and save: a tokenizer.json or a folder
"""
