"""BERT's tokenizer, one character at a time: an independent statement of google-research/bert's tokenization.py."""

import unicodedata

# The blocks that the original calls Chinese: CJK ideographs, no kana and no hangul.
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_space(letter):
    return letter in " \t\n\r" or unicodedata.category(letter) == "Zs"


def is_control(letter):
    return letter not in "\t\n\r" and unicodedata.category(letter) in ("Cc", "Cf")


def is_punctuation(letter):
    ascii_sign = "!" <= letter <= "~" and not letter.isalnum()
    return ascii_sign or unicodedata.category(letter).startswith("P")


def is_ideograph(letter):
    return any(first <= ord(letter) <= last for first, last in IDEOGRAPHS)


def strip_accents(word):
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if unicodedata.category(letter) != "Mn")


def split_words(text, lowercase):
    """The words and the single punctuation marks of a text: list of str."""
    spaced = ""
    for letter in text:
        if letter in "\0\ufffd" or is_control(letter):
            continue
        spaced += " " if is_space(letter) else f" {letter} " if is_ideograph(letter) else letter
    words = []
    for word in spaced.split():
        if lowercase:
            word = strip_accents(word.lower())
        cut = "".join(f" {letter} " if is_punctuation(letter) else letter for letter in word)
        words += cut.split()
    return words


def encode(text, ids, lowercase=True, letters=200):
    """Token ids of a text: list of int; words of more than `letters` letters are [UNK].

    Args:
      ids: dict from piece to id, as in vocab.txt.
    """
    encoded = []
    for word in split_words(text, lowercase):
        found, start = [], 0
        while start < len(word) <= letters:
            for end in range(len(word), start, -1):
                piece = "##" * (start > 0) + word[start:end]
                if piece in ids:
                    break
            else:
                found = []
                break
            found.append(ids[piece])
            start = end
        encoded += found or [ids["[UNK]"]]
    return encoded
