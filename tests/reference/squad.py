"""The rules of SQuAD's evaluate-v1.1.py and evaluate-v2.0.py, one step and one question at a time."""


def normalise(text):
    """Lower case; each of ASCII's punctuation goes; a, an and the go as words; runs of white space are one space."""
    kept = "".join(c for c in text.lower() if not (ord(c) < 128 and c.isprintable() and not c.isalnum() and c != " "))
    words, word = [], ""
    for c in kept + " ":
        # A word, for an article, ends where letters, digits and underlines do.
        if c.isalnum() or c == "_":
            word += c
            continue
        words.append("" if word in ("a", "an", "the") else word)
        words.append(c)
        word = ""
    made = "".join(" " if part == "" else part for part in words)
    return " ".join(made.split())


def f1(answer, gold, both_empty):
    """F1 of two bags of words; `both_empty` is what two empty ones get."""
    answer, gold = normalise(answer).split(), normalise(gold).split()
    if not answer and not gold:
        return both_empty
    left, shared = list(gold), 0
    for word in answer:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def version1(answers, golds):
    """`exact` and `f1` of version 1.1, of 1."""
    exact = [max(normalise(answers[q]) == normalise(g) for g in golds[q]) for q in golds]
    words = [max(f1(answers[q], g, both_empty=0.0) for g in golds[q]) for q in golds]
    return sum(exact) / len(golds), sum(words) / len(golds)


def raw_scores(answers, golds):
    """question -> (exact, f1) of version 2.0, before any threshold."""
    made = {}
    for q, texts in golds.items():
        real = [text for text in texts if normalise(text) != ""]
        if not real:
            real = [""]
        made[q] = (
            max(float(normalise(answers[q]) == normalise(text)) for text in real),
            max(f1(answers[q], text, both_empty=1.0) for text in real),
        )
    return made


def at_threshold(scores, golds, na_probs, threshold):
    """The scores when all answers less sure than a threshold are withheld."""
    return {q: (float(golds[q] == []) if na_probs[q] > threshold else value) for q, value in scores.items()}


def best(scores, answers, golds, na_probs):
    """Best mean score and its threshold: answers come in one by one, and only a better score counts."""
    now = top = sum(texts == [] for texts in golds.values())
    where = 0.0
    for q in sorted(na_probs, key=lambda q: na_probs[q]):
        if golds[q]:
            now += scores[q]
        elif answers[q] != "":
            now -= 1
        if now > top:
            top, where = now, na_probs[q]
    return top / len(scores), where
