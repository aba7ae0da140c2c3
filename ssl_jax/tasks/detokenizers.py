"""Invertible de-tokenizers: benchmarks' tokenized text as people write it, and exactly back (GPT-2, section 3.1).

A likelihood of the de-tokenized text is one of the original, because each determines the other; perplexities are still
per original word. GPT-2's own rules are not published: these are ours.

Both directions are invertible by construction, place by place. Words that belong together are joined only where the
inverse, which only sees the joined piece, cuts it into exactly these words again; where it does not ('3 - 4' in a set
that joins hyphens by @-@), they stay apart. A single word that the inverse would cut is marked by an extra space before
it. So every line is restored, whatever is in it.
"""

import re
from collections.abc import Callable
from typing import NamedTuple


class Detokenizer(NamedTuple):
    """The rules of a set. Lines are words with single spaces between them; `\\n` separates lines.

    Attributes:
      joined: list of words -> list of bool, whether a word is joined to the next one.
      written: word -> how it stands in a joined piece.
      cut: piece -> its words; the inverse of both.
      framed: whether the set's lines begin and end with a space, which is left out.
    """

    joined: Callable
    written: Callable
    cut: Callable
    framed: bool = False

    def detokenise(self, text):
        """The text as people write it."""
        return "\n".join(self._detokenise(line) for line in text.split("\n"))

    def retokenise(self, text):
        """Exactly what `detokenise` was given."""
        return "\n".join(self._retokenise(line) for line in text.split("\n"))

    def _detokenise(self, line):
        framed = self.framed and len(line) > 1 and line[0] == line[-1] == " "
        if self.framed and line == " ":
            return ""
        words = (line[1:-1] if framed else line).split(" ")
        chunks, joined, start = [], self.joined(words), 0
        while start < len(words):
            end = start
            while end < len(words) - 1 and joined[end]:
                end += 1
            # The longest beginning that the inverse restores.
            while end > start and self.cut(self._piece(words[start : end + 1])) != words[start : end + 1]:
                end -= 1
            chunks += self._single(words[start]) if end == start else [self._piece(words[start : end + 1])]
            start = end + 1
        # A space at the end, which marks no word, says that the line has no frame.
        return " ".join(chunks) + (" " if self.framed and not framed else "")

    def _piece(self, words):
        return "".join(map(self.written, words))

    def _single(self, word):
        written = self.written(word)
        if written and self.cut(written) == [word]:
            return [written]
        return ["", word]

    def _retokenise(self, line):
        if self.framed and line == "":
            return " "
        chunks, words, place = line.split(" "), [], 0
        framed = self.framed
        while place < len(chunks):
            if chunks[place]:
                words += self.cut(chunks[place])
            elif place + 1 < len(chunks):
                place += 1
                words.append(chunks[place])
            else:
                framed = False
            place += 1
        return f" {' '.join(words)} " if framed else " ".join(words)


def count_words(text):
    """Words between spaces, and the end of each line as one more: the units of a perplexity per word.

    The published perplexities of WikiText, PTB and One Billion Words count like that: they predict the end of a line,
    too.
    """
    text = text.removesuffix("\n")
    return len(text.split()) + text.count("\n") + 1


# Not 'no.', which ends sentences.
ABBREVIATIONS = frozenset(
    "mr. mrs. ms. dr. st. jr. sr. prof. gen. col. lt. capt. sgt. rev. gov. sen. rep. inc. co. corp. ltd. bros. vs. "
    "jan. feb. mar. apr. aug. sept. oct. nov. dec. ft. mt. etc.".split()
)
_INITIALS = re.compile(r"(?:[A-Za-z]\.)+")
_OPENING, _CLOSING = "([$£#", ".,;:!?)]%"


def _cut_ends(piece, clitics, quotes):
    """A piece's words: marks at its ends one by one, clitics at its end.

    Args:
      clitics: pattern of what ends a word, such as 's.
      quotes: (opening, closing), how the set spells quotation marks.
    """
    front, back = [], []
    while len(piece) > 1 and piece[0] in _OPENING + '"':
        front.append(quotes[0] if piece[0] == '"' else piece[0])
        piece = piece[1:]
    while len(piece) > 1 and (cut := _end(piece, clitics)):
        back.append(quotes[1] if piece[cut:] == '"' else piece[cut:])
        piece = piece[:cut]
    return [*front, piece, *reversed(back)]


def _end(piece, clitics):
    """Where the last word of a piece begins; 0: it is one word."""
    if piece[-1] == "." and (piece.lower() in ABBREVIATIONS or _INITIALS.fullmatch(piece)):
        return 0
    if piece[-1] in _CLOSING + '"':
        return len(piece) - 1
    match = clitics.search(piece)
    return match.start() if match else 0


def _joins(words, quotes, clitics, within=()):
    """Opening marks are joined to the next word, closing ones to the one before, those within to both.

    Quotation marks that are spelt alike open and close in turn.
    """
    joined, inside = [False] * len(words), False
    for number, word in enumerate(words):
        before = after = word in within
        if word in quotes:
            after = not inside if quotes[0] == quotes[1] else word == quotes[0]
            before, inside = not after, not inside
        elif word and word in _OPENING:
            after = True
        elif word and word in _CLOSING or clitics.fullmatch(word):
            before = True
        if before and number:
            joined[number - 1] = True
        if after:
            joined[number] = True
    return joined


def _same(word):
    return word


_APOSTROPHE = r"'(?:s|t|re|ve|ll|d|m)?"
# 'isn 't': WikiText is cut before the apostrophe.
_WIKITEXT_CLITICS = re.compile(rf"(?<=.){_APOSTROPHE}$|^{_APOSTROPHE}$", re.IGNORECASE)
# 'is n't': as the Penn Treebank.
_PENN_CLITICS = re.compile(rf"(?<=.)(?:n't|{_APOSTROPHE})$|^(?:n't|{_APOSTROPHE})$", re.IGNORECASE)
_WITHIN = {"@-@": "-", "@,@": ",", "@.@": "."}
_WITHIN_WORDS = re.compile(r"(?<=.)(-)(?=.)|(?<=\d)([,.])(?=\d)")
_STRAIGHT = ('"', '"')
_HEADING = re.compile(r"=+")


def _wikitext_joined(words):
    """' = = Plot = = ' is '== Plot =='."""
    joined = _joins(words, _STRAIGHT, _WIKITEXT_CLITICS, _WITHIN)
    heading = bool(words) and words[0] == "="
    return [one or heading and pair == ("=", "=")
            for one, pair in zip(joined, zip(words, [*words[1:], ""], strict=True), strict=True)]  # fmt: skip


def _wikitext_cut(piece):
    if _HEADING.fullmatch(piece):
        return list(piece)
    words = []
    for word in _cut_ends(piece, _WIKITEXT_CLITICS, _STRAIGHT):
        parts = re.split(_WITHIN_WORDS, word) if len(word) > 1 else [word]
        words += [f"@{part}@" if number % 3 else part for number, part in enumerate(parts) if part is not None]
    return words


def _penn(quotes, framed, brackets=False):
    """The Penn Treebank's words: n't, quotation marks as the set spells them, -LRB- for ( in older sets."""
    spelt = {"-LRB-": "(", "-RRB-": ")"} if brackets else {}
    cut_back = {mark: word for word, mark in spelt.items()}
    signs = spelt | {quote: '"' for quote in quotes}

    def joined(words):
        return _joins([spelt.get(word, word) for word in words], quotes, _PENN_CLITICS)

    def written(word):
        return signs.get(word, word)

    def cut(piece):
        return [cut_back.get(word, word) for word in _cut_ends(piece, _PENN_CLITICS, quotes)]

    return Detokenizer(joined, written, cut, framed)


WIKITEXT = Detokenizer(_wikitext_joined, lambda word: _WITHIN.get(word, word), _wikitext_cut, framed=True)
# Mikolov's version: lower case, N for numbers, <unk> for rare words, no punctuation; these stay as they are.
PTB = _penn(_STRAIGHT, framed=True)
ONE_BILLION_WORDS = _penn(_STRAIGHT, framed=False)
LAMBADA = _penn(("``", "''"), framed=False)
CBT = _penn(("``", "''"), framed=False, brackets=True)
