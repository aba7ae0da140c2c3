"""BERT's sentence pairs, one document and one token at a time: an independent statement of the rules.

Written from the description of create_instances_from_document and truncate_seq_pair in BERT's
create_pretraining_data.py, to compare statistics with ssl_jax.data.pairs.
"""


def document_pairs(documents, number, length, short, rng):
    """Pairs of one document.

    Args:
      documents: list of documents, each a list of sentences, each a list of tokens.
      number: the document.
      length: of an example with its three special tokens.
      short: probability of a shorter target.
      rng: random.Random.

    Returns:
      List of (tokens of A, tokens of B, label, sentences in the chunk).
    """
    document, most = documents[number], length - 3
    target = rng.randint(2, most) if rng.random() < short else most
    pairs, chunk, i = [], [], 0
    while i < len(document):
        chunk.append(document[i])
        if i == len(document) - 1 or sum(map(len, chunk)) >= target:
            a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
            a = sum(chunk[:a_end], [])
            label = int(len(chunk) == 1 or rng.random() < 0.5)
            if label:
                b, other = [], number
                while other == number:
                    other = rng.randrange(len(documents))
                for sentence in documents[other][rng.randrange(len(documents[other])) :]:
                    b = b + sentence
                    if len(b) >= target - len(a):
                        break
                i -= len(chunk) - a_end
            else:
                b = sum(chunk[a_end:], [])
            size = len(chunk)
            while len(a) + len(b) > most:
                longer = a if len(a) > len(b) else b
                del longer[0 if rng.random() < 0.5 else -1]
            pairs.append((a, b, label, size))
            chunk = []
        i += 1
    return pairs
