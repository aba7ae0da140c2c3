"""ELECTRA's examples, one document and one token at a time: an independent statement of the rules.

Written from the behaviour of ExampleBuilder in ELECTRA's build_pretraining_dataset.py, to compare with
ssl_jax.data.pairs. `gaps` keeps what ours leaves out: a sentence after B's first one that goes to A.
"""


def document_examples(document, length, short, rng, gaps=False):
    """Examples of one document.

    Args:
      document: list of sentences, each a list of tokens.
      length: of an example with its special tokens.
      short: probability of a shorter target.
      rng: random.Random.
      gaps: whether A may go on after B has begun.

    Returns:
      List of (tokens of A, tokens of B).
    """
    examples, taken = [], []
    target = rng.randint(5, length) if rng.random() < short else length
    for number, sentence in enumerate(document):
        taken.append(sentence)
        if number < len(document) - 1 and sum(map(len, taken)) < target:
            continue
        half = 10**9 if rng.random() < 0.1 else (target - 3) // 2
        a, b = [], []
        for part in taken:
            fits = len(a) + len(part) < half and (gaps or not b)
            if not a or fits or (not b and len(a) < half and rng.random() < 0.5):
                a = a + part
            else:
                b = b + part
        a = a[: length - 2]
        examples.append((a, b[: max(length - 3 - len(a), 0)]))
        taken = []
        target = rng.randint(5, length) if rng.random() < short else length
    return examples
