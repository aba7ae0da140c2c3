"""decaNLP's metrics by their definitions, in loops: McCann et al. 2018, section 2, and salesforce/decaNLP's metrics.py.

Texts are those of the tests: ASCII, with single spaces. Of ROUGE, words are their own stems.
"""

import math
import string


def normalised(text):
    """Lower case, no punctuation, no articles: list of words."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return [word for word in text.split() if word not in ("a", "an", "the")]


def f1(text, gold):
    left, shared, words = normalised(gold), 0, normalised(text)
    for word in words:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(normalised(gold))
    return 2 * precision * recall / (precision + recall)


def nf1(predictions, answers):
    return sum(max(f1(text, gold) for gold in golds) for text, golds in zip(predictions, answers)) / len(answers)


def em(predictions, answers):
    return sum(any(text.lower() == gold.lower() for gold in golds) for text, golds in zip(predictions, answers)) / len(
        answers
    )


def corpus_f1(predictions, answers):
    """Precision over the questions that got an answer, recall over those that have one."""
    right = given = due = 0
    for text, golds in zip(predictions, answers):
        words = {word for word in normalised(text) if word != "and"}
        gold = {word for one in golds for word in normalised(one) if word != "and"}
        given += words != {"unanswerable"}
        due += gold != {"unanswerable"}
        right += gold != {"unanswerable"} and words == gold
    if not right:
        return 0.0
    precision, recall = right / given, right / due
    return 2 * precision * recall / (precision + recall)


def rouge(text, gold):
    """Mean F1 of ROUGE-1, ROUGE-2 and summary-level ROUGE-L (Lin 2004, sections 2 and 3.2)."""
    sides = [[sentence.split() for sentence in one.lower().split(".")] for one in (text, gold)]
    values = []
    for n in (1, 2):
        grams = []
        for sentences in sides:
            words = [word for sentence in sentences for word in sentence]
            grams.append([tuple(words[start : start + n]) for start in range(len(words) - n + 1)])
        shared = sum(min(grams[0].count(one), grams[1].count(one)) for one in set(grams[0]))
        values.append(_f(shared, len(grams[0]), len(grams[1])))
    words = [[word for sentence in sentences for word in sentence] for sentences in sides]
    left, hits = [list(one) for one in words], 0
    for sentence in sides[1]:
        union = set()
        for other in sides[0]:
            union |= set(common(sentence, other))
        for place in sorted(union):
            if all(sentence[place] in one for one in left):  # each word of a side counts once
                hits += 1
                for one in left:
                    one.remove(sentence[place])
    return (sum(values) + _f(hits, len(words[0]), len(words[1]))) / 3


def _f(shared, given, due):
    return 2 * shared / (given + due) if shared else 0.0


def common(sentence, other):
    """The places in a sentence of a longest common subsequence, a list; of several, what a table is traced back to."""
    best = [[0] * (len(other) + 1) for _ in range(len(sentence) + 1)]
    for i in range(len(sentence)):
        for j in range(len(other)):
            same = sentence[i] == other[j]
            best[i + 1][j + 1] = best[i][j] + 1 if same else max(best[i][j + 1], best[i + 1][j])
    places, i, j = [], len(sentence), len(other)
    while i and j:
        if sentence[i - 1] == other[j - 1]:
            places, i, j = [i - 1, *places], i - 1, j - 1
        elif best[i][j - 1] > best[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places


def bleu(predictions, answers):
    """Corpus BLEU in lower case with one reference each and matches of all orders (Papineni et al. 2002, section 2)."""
    matches, totals = [0] * 4, [0] * 4
    given = due = 0
    for text, (gold,) in zip(predictions, answers):
        words, golds = text.lower().split(), gold.lower().split()
        given, due = given + len(words), due + len(golds)
        for n in range(4):
            grams, of_gold = ([" ".join(one[k : k + n + 1]) for k in range(len(one) - n)] for one in (words, golds))
            totals[n] += len(grams)
            matches[n] += sum(min(grams.count(one), of_gold.count(one)) for one in set(grams))
    precision = math.exp(sum(math.log(match / total) for match, total in zip(matches, totals)) / 4)
    return precision * min(1.0, math.exp(1 - due / given))


def dialogue(predictions, answers, turns):
    """Fractions of turns with the right joint goals, the right requests and the right goals of the turn.

    Args:
      predictions, answers: [N], 'slot: value, slot: value; request, request'.
      turns: [N], (dialogue, number).
    """
    joint = request = goal = 0
    for name in {name for name, _ in turns}:
        states = {}, {}
        for _, place in sorted((number, place) for place, (one, number) in enumerate(turns) if one == name):
            changes = []
            for state, text in zip(states, (predictions[place], answers[place])):
                goals, requests = parsed(text.lower())
                for slot in goals:
                    state[slot] = goals[slot]
                changes.append((goals, requests))
            joint += states[0] == states[1]
            goal += changes[0][0] == changes[1][0]
            request += changes[0][1] == changes[1][1]
    return joint / len(turns), request / len(turns), goal / len(turns)


def parsed(text):
    """A turn's goals and requests. No semicolon, or more than one, or nothing else: neither, which is not one empty request."""
    if text.count(";") != 1 or text.strip() == ";":
        return {}, "nothing"
    before, after = text.split(";")
    goals = {}
    for part in before.split(","):
        if part.count(":") == 1:
            slot, value = part.split(":")
            goals[slot.strip()] = value.strip()
    return goals, [part.strip() for part in after.split(",")]


def logical_form(text, header):
    """A query, read word by word: (column, aggregate, [(column, operator, value)]), None if it is none.

    A condition begins where a column's name, the longest that fits, has an operator behind it, and ends before the next
    one, without `and`. Where nothing stands between two such, the second one is the value of the first.
    """
    aggregates, operators = ["", "max", "min", "count", "sum", "avg"], ["=", ">", "<", "op"]
    names = [name.lower().split() for name in header]
    words = text.lower().split()
    where = words.index("where") if "where" in words else len(words)
    selected, aggregate = words[:where][1:-2], 0
    if selected not in names:
        if not selected or selected[0] not in aggregates:
            return None
        aggregate, selected = aggregates.index(selected[0]), selected[1:]
    column = max((number for number, name in enumerate(names) if name == selected), default=None)
    conditions, place = [], where + 1
    while place < len(words):
        fits = [number for number, name in enumerate(names)
                if words[place : place + len(name)] == name and words[place + len(name) :][:1]
                and words[place + len(name)] in operators]  # fmt: skip
        number = max(fits, key=lambda one: (len(" ".join(names[one])), -one), default=None)
        end = place + 1 if number is None else place + len(names[number]) + 1
        if number is not None and not (conditions and not conditions[-1][2]):
            conditions.append((number, operators.index(words[end - 1]), []))
            whole = False
        elif not conditions or whole:
            return None
        else:
            conditions[-1][2].extend(words[place:end])
            whole = number is not None
        place = end
    if any(not value for *_, value in conditions):
        return None
    return column, aggregate, [(number, operator, " ".join(value[:-1] if value[-1] == "and" else value))
                               for number, operator, value in conditions]  # fmt: skip
