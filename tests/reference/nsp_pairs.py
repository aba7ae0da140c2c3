"""BERT's and ALBERT's sentence pairs, one document and one token at a time: an independent statement.

Written from the description of create_instances_from_document and truncate_seq_pair in the
create_pretraining_data.py of BERT and of ALBERT (`swap`), to compare with ssl_jax.data.pairs.
"""


def document_pairs(documents, number, length, short, rng, swap=False, right=False):
    """Pairs of one document.

    Args:
      documents: list of documents, each a list of sentences, each a list of tokens.
      number: the document.
      length: of an example with its three special tokens.
      short: probability of a shorter target.
      rng: random.Random.
      swap: whether a pair of two sentences or more is made wrong by exchanging A and B.
      right: whether no pair is made wrong.

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
            label = int(not right and (len(chunk) == 1 or rng.random() < 0.5))
            if label and not (swap and len(chunk) > 1):
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
                if label:
                    a, b = b, a
            size = len(chunk)
            while len(a) + len(b) > most:
                longer = a if len(a) > len(b) else b
                del longer[0 if rng.random() < 0.5 else -1]
            pairs.append((a, b, label, size))
            chunk = []
        i += 1
    return pairs
