"""Tasks written for decaNLP's demo: sentences of small grammars, which a small network learns in minutes.

    dialogue       the turns of bookings at a restaurant, and what each changes, in WOZ's words
    pronouns       Winograd schemas: a cause says whom a pronoun means
    phrases_en_de  sentences in English and German; phrases_de_en is the other direction

Each has the first SIZES different examples of a grammar, the same each time they are read. What is held out:

    dialogue       a sixteenth of the pairs of food and area, and some dialogues of the other pairs
    pronouns       pairs of names, or nouns, that are never together in training
    phrases        a fortieth of the sentences
"""

import functools
import itertools
import zlib

import numpy as np

from ssl_jax.tasks.base import QA, QuestionView, Task, alternatives, as_it_is
from ssl_jax.tasks.decanlp import change

SIZES = {"train": 20_000, "heldout": 500}
SEED = 0


@functools.cache
def examples(grammar):
    """'train' and 'heldout' -> the first SIZES different QAs.

    Args:
      grammar: rng -> yields (split, list of QA) without end; a list is kept whole, unless it is the last.
    """
    splits, seen = {split: [] for split in SIZES}, set()
    for split, qas in grammar(np.random.default_rng(SEED)):
        texts = tuple((qa.question, qa.context) for qa in qas)
        if texts not in seen and len(splits[split]) < SIZES[split]:
            splits[split] += qas
            seen.add(texts)
            if all(len(splits[part]) >= size for part, size in SIZES.items()):
                return {part: splits[part][:size] for part, size in SIZES.items()}


def draw(rng, options):
    """An option at random; a tenth of the time of rng.choice."""
    return options[int(rng.random() * len(options))]


def _is_heldout(text, parts):
    """Whether a text is among the 1 / `parts` that a hash chooses."""
    return zlib.crc32(text.encode()) % parts == 0


def _sentence(text):
    return text[0].upper() + text[1:]


def _with_article(words):
    """'a cheap place', 'an old one': no word here is spelt with a vowel that it does not begin with, or the reverse."""
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


# ---- Dialogues
FOODS = ("chinese", "french", "greek", "indian", "italian", "japanese", "korean", "lebanese", "mexican", "moroccan",
         "polish", "portuguese", "spanish", "thai", "turkish", "vietnamese")  # fmt: skip
AREAS = ("north", "south", "east", "west", "centre", "suburbs", "old town")
DAYS = ("today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# A price and how it is said.
PRICES = {
    "cheap": ("cheap", "inexpensive", "affordable"),
    "moderate": ("moderate", "moderately priced", "mid-priced"),
    "expensive": ("expensive", "fancy", "upscale"),
}
SLOTS = {"food": FOODS, "area": AREAS, "price": tuple(PRICES), "day": DAYS}
REQUESTS = {"phone": ("phone number", "telephone number"), "address": ("address",), "postcode": ("postcode", "zip code"),
            "menu": ("menu",)}  # fmt: skip
ANY = "any"  # the value of a slot that the guest leaves open

GREETINGS = ("", "", "Hello.", "Hi.", "Good morning.", "Good evening.")
WISHES = ("I am looking for {}.", "I would like to book {}.", "Can you find {}?", "We want to try {}.", "Is there {}?",
          "I need {}.", "Do you know {}?", "Please book {}.", "My friends are looking for {}.")  # fmt: skip
PLACES = ("restaurant", "place")
ASK = {
    "food": ("What kind of food would you like?", "Which cuisine do you prefer?", "Do you have a cuisine in mind?"),
    "area": ("Which part of town?", "Where should it be?", "In what area would you like to eat?"),
    "price": ("What price range do you have in mind?", "How much would you like to spend?", "How expensive may it be?"),
    "day": ("For which day?", "When would you like to come?", "On which day should I book?"),
}
AGREED = ("", "Very well.", "Certainly.", "Of course.", "Let me see.", "With pleasure.")  # before it
MUSING = ("", "", "Hm.", "Oh.", "Well.", "Let me think.")  # before the reply
REPLIES = {
    "food": ("{}, please.", "{} food, please.", "I would like {} food.", "Let us try {}.", "We are in the mood for {} food.",
             "Maybe {}?"),
    "area": ("The {}, please.", "In the {}.", "Somewhere in the {}.", "The {} would be best.", "We live in the {}, so there."),
    "price": ("Something {}, please.", "It should be {}.", "I would prefer something {}.", "It has to be {}."),
    "day": ("For {}, please.", "{} would suit us.", "Let us say {}.", "We are free {}.", "I think {} is best."),
}  # fmt: skip
MORE = {
    "food": ("And {} food, if possible.", "I would like it to be {}."),
    "area": ("And it should be in the {}.", "The {} would be nice."),
    "price": ("And it should be {}.", "I want something {}, too."),
    "day": ("Book it for {}.", "We would come {}."),
}
OPEN = ("I do not care.", "That does not matter.", "Anything is fine.", "It is up to you.", "I have no preference.")
# What may be changed, and how it is called where two values are compared.
CHANGED = {"food": "{}", "area": "the {}", "day": "{}"}
READY = ("Anything else?", "Shall I book it?", "I have a table for you.", "What else can I do for you?", "Here we are.")
CHANGES = ("{new} would be better than {old}.", "Not {old} after all: {new}, please.", "Let us change {old} to {new}.",
           "Forget {old}, make it {new}.", "Sorry, I meant {new}, not {old}.", "{new} instead of {old}, please.")  # fmt: skip
OFFERS = ("I am sorry, {old} is not possible. How about {new}?", "I find nothing for {old}. Would {new} be all right?",
          "{old} is difficult. Shall we say {new}?")  # fmt: skip
ACCEPTED = ("Yes, that is fine.", "Sure, why not?", "All right.", "That works for us.", "Yes, please.")
DECLINED = ("No, thank you.", "No, then leave it.", "No, I will ask somewhere else.", "That will not do.")
OTHERS = ("No, then {}, please.", "No. What about {}?", "Not that. We could do {}.", "No, {} would be better.")
ASKED_FOR = ("What is the {}?", "Can you give me the {}?", "I also need the {}.", "Tell me the {}, please.")
WAITING = (
    "One moment, please.",
    "Could you say that again?",
    "Let me ask my wife.",
    "I have to think about it.",
    "Hold on.",
)
GOODBYES = ("Thank you, that is all.", "Great, thank you.", "Goodbye.", "No, that was all.", "Thanks for your help.")

# Of food and area, never together in training.
UNSEEN = {(food, area) for n, food in enumerate(FOODS) for m, area in enumerate(AREAS) if (n + 2 * m) % len(FOODS) == 0}


def spoken(rng, slot, value):
    """How a guest says a value."""
    if slot == "price":
        return draw(rng, PRICES[value])
    return value if slot == "area" or value in ("today", "tomorrow") else value.capitalize()


def _say(rng, sentences, *values, **named):
    return _sentence(draw(rng, sentences).format(*values, **named))


def _turns(rng):
    """Yields a dialogue's turns: what the host said, what the guest says, the new goals, slot -> value, and requests."""
    goal = {slot: draw(rng, values) for slot, values in SLOTS.items()}
    slots = [str(slot) for slot in rng.permutation(list(SLOTS))]
    first = draw(rng, (0, 1, 1, 2, 2, 3))
    yield _opening(rng, {slot: goal[slot] for slot in slots[:first]})
    yield from _answers(rng, goal, slots[first:])
    for _ in range(draw(rng, (0, 1, 2))):
        slot = draw(rng, tuple(CHANGED))
        if goal[slot] != ANY:
            yield _second_thought(rng, goal, slot)
    if requests := [str(name) for name in rng.permutation(list(REQUESTS))[: draw(rng, (0, 1, 1, 2))]]:
        names = " and the ".join(draw(rng, REQUESTS[name]) for name in requests)
        yield draw(rng, READY), _say(rng, ASKED_FOR, names), {}, requests
    if rng.random() < 0.5:
        yield draw(rng, READY), draw(rng, GOODBYES), {}, ()


def _opening(rng, goal):
    """The first turn, with some goals: 'Hi. Is there a cheap place in the north for Monday?'"""
    words = {slot: spoken(rng, slot, value) for slot, value in goal.items()}
    place = [words[slot] for slot in ("price", "food") if slot in words] + [draw(rng, PLACES)]
    place += [f"{before} {words[slot]}" for slot, before in (("area", "in the"), ("day", "for")) if slot in words]
    wish = _say(rng, WISHES, _with_article(" ".join(place)))
    return "", f"{draw(rng, GREETINGS)} {wish}".strip(), goal, ()


def _answers(rng, goal, missing):
    """Yields turns in which the host asks for each missing slot, unless the guest says it before; `goal` may become ANY."""
    missing = list(missing)
    while missing:
        asked, way = f"{draw(rng, AGREED)} {draw(rng, ASK[missing[0]])}".strip(), rng.random()
        if way < 0.12:
            yield asked, draw(rng, WAITING), {}, ()
            continue
        told = [missing.pop(0)]
        if way < 0.24:
            goal[told[0]], reply = ANY, draw(rng, OPEN)
        else:
            reply = f"{draw(rng, MUSING)} {_say(rng, REPLIES[told[0]], spoken(rng, told[0], goal[told[0]]))}".strip()
            if missing and way < 0.5:
                told.append(missing.pop(0))
                reply += f" {_say(rng, MORE[told[1]], spoken(rng, told[1], goal[told[1]]))}"
        yield asked, reply, {slot: goal[slot] for slot in told}, ()


def _second_thought(rng, goal, slot):
    """A turn in which guest or host would rather have another value; changes `goal`."""
    values = [goal[slot], *(str(value) for value in rng.permutation(SLOTS[slot]) if value != goal[slot])]
    old, new, other = (CHANGED[slot].format(spoken(rng, slot, value)) for value in values[:3])
    way = rng.random()
    if way < 0.5:
        host, guest = draw(rng, READY), f"{draw(rng, MUSING)} {_say(rng, CHANGES, old=old, new=new)}".strip()
        goal[slot] = values[1]
    else:
        host = _say(rng, OFFERS, old=old, new=new)
        if way < 0.7:
            guest, goal[slot] = draw(rng, ACCEPTED), values[1]
        elif way < 0.9:
            guest, goal[slot] = _say(rng, OTHERS, other), values[2]
        else:
            return host, draw(rng, DECLINED), {}, ()
    return host, guest, {slot: goal[slot]}, ()


def dialogues(rng):
    """Yields (split, the QAs of a dialogue's turns): 'food: thai, area: north; phone' of what host and guest say."""
    for number in itertools.count():
        qas, goals, unseen = [], {}, False
        for place, (host, guest, changed, requests) in enumerate(_turns(rng)):
            goals |= changed
            unseen |= (goals.get("food"), goals.get("area")) in UNSEEN
            pairs = [(slot, changed[slot]) for slot in SLOTS if slot in changed]
            qas.append(QA("What is the change in state?", f"{host}{' -- ' if host else ''}{guest}",
                          (change(pairs, requests),), gold={"dialogue": str(number), "turn": place}))  # fmt: skip
        held_out = unseen or _is_heldout(" ".join(qa.context for qa in qas), 16)
        yield "heldout" if held_out else "train", qas


# ---- Pronouns
MEN = ("Adam", "Ben", "Carl", "David", "Eric", "Frank", "George", "Henry", "Jack", "Kevin", "Leo", "Mark", "Noah", "Oscar",
       "Paul", "Ralph", "Simon", "Tom", "Victor", "Walter")  # fmt: skip
WOMEN = ("Anna", "Bella", "Clara", "Diana", "Emma", "Fiona", "Grace", "Helen", "Iris", "Julia", "Kate", "Laura", "Maria",
         "Nora", "Olivia", "Paula", "Rosa", "Sarah", "Tina", "Vera")  # fmt: skip
ANIMALS = ("the bear", "the cow", "the dog", "the donkey", "the fox", "the goat", "the horse", "the lion", "the pig",
           "the wolf")  # fmt: skip
VEHICLES = ("the ambulance", "the bus", "the car", "the jeep", "the motorbike", "the taxi", "the tractor", "the tram",
            "the truck", "the van")  # fmt: skip
CONTAINERS = ("the bag", "the basket", "the box", "the bucket", "the case", "the chest", "the crate", "the jar", "the pot",
              "the tin")  # fmt: skip
# Nouns, any two of which may be in a sentence; their pronoun; how they are asked about.
PEOPLE = ((MEN, "he", "Who"), (WOMEN, "she", "Who"))
ANIMAL, VEHICLE, CONTAINER = ((nouns, "it", "What") for nouns in (ANIMALS, VEHICLES, CONTAINERS))

# Groups of nouns; a clause and its converse, in which {a} and {b} change places; what is true of {a}, and what of {b}.
FRAMES = (
    (PEOPLE, ("{a} lent {b} some money", "{b} borrowed some money from {a}"),
     ("was rich", "was generous", "had enough"), ("was poor", "was in debt", "had lost a purse")),
    (PEOPLE, ("{a} envied {b}", "{b} was envied by {a}"),
     ("was poor", "had lost the race", "had nothing"), ("was rich", "had won the race", "had everything")),
    (PEOPLE, ("{a} asked {b} for help", "{b} was asked for help by {a}"),
     ("was lost", "needed advice", "was a beginner"), ("knew the way", "gave good advice", "was an expert")),
    (PEOPLE, ("{a} followed {b} through the forest", "{b} led {a} through the forest"),
     ("was lost", "had no map"), ("knew the way", "had a map")),
    (PEOPLE, ("{a} taught {b} to play chess", "{b} learned to play chess from {a}"),
     ("was an expert", "liked to teach"), ("was a beginner", "wanted to learn")),
    (PEOPLE, ("{a} beat {b} at chess", "{b} lost to {a} at chess"),
     ("was an expert", "had practised every day"), ("was a beginner", "had made a mistake")),
    (PEOPLE, ("{a} thanked {b}", "{b} was thanked by {a}"),
     ("had been rescued", "had received a gift"), ("had brought a gift", "had offered help")),
    (PEOPLE, ("{a} apologised to {b}", "{b} received an apology from {a}"),
     ("was late", "had told a lie", "had made a mistake"), ("was offended", "had waited for hours", "was angry")),
    (PEOPLE, ("{a} scolded {b}", "{b} was scolded by {a}"),
     ("was angry", "had waited for hours"), ("was late", "had told a lie", "had broken a window")),
    (PEOPLE, ("{a} visited {b} in hospital", "{b} was visited in hospital by {a}"),
     ("was worried", "wanted to bring flowers"), ("was ill", "had broken a leg")),
    (PEOPLE, ("{a} carried {b} home", "{b} was carried home by {a}"),
     ("was strong", "wanted to be of help"), ("was tired", "had broken a leg", "was ill")),
    (PEOPLE, ("{a} hired {b}", "{b} was hired by {a}"),
     ("needed a cook", "had too much work"), ("needed a job", "was a good cook")),
    (PEOPLE, ("{a} sold {b} a house", "{b} bought a house from {a}"),
     ("was moving away", "was in debt", "wanted to live elsewhere"), ("was new in town", "needed a home")),
    (PEOPLE, ("{a} comforted {b}", "{b} was comforted by {a}"),
     ("was kind", "could not bear the tears"), ("was sad", "had lost the race")),
    ((ANIMAL,), ("{a} frightened {b}", "{b} ran away from {a}"), ("was fierce", "was loud"), ("was timid", "was weak")),
    ((ANIMAL,), ("{a} carried {b} across the river", "{b} crossed the river on {a}"),
     ("was strong", "could swim"), ("was weak", "could not swim")),
    ((VEHICLE,), ("{a} overtook {b}", "{b} was overtaken by {a}"),
     ("was fast", "was in a hurry"), ("was slow", "had a flat tyre")),
    ((VEHICLE,), ("{a} towed {b}", "{b} was towed by {a}"),
     ("was strong", "had a strong engine"), ("had a flat tyre", "had run out of petrol")),
    ((CONTAINER,), ("{a} does not fit into {b}", "{b} has no room for {a}"),
     ("is too big", "is too wide", "is too long"), ("is too small", "is too narrow", "is too short")),
    ((CONTAINER,), ("{a} crushed {b}", "{b} was crushed by {a}"),
     ("was heavy", "was full of stones"), ("was made of paper", "was fragile")),
)  # fmt: skip


def schema(clause, cause, pronoun, asked, nouns, right, order):
    """The QA of a Winograd schema.

    Args:
      clause: with {a} and {b}.
      cause: a verb phrase that is true of noun `right`.
      pronoun, asked: 'he' and 'Who'.
      nouns: of {a} and of {b}.
      right, order: 0 or 1; `order`: the noun that the question names first.
    """
    context = _sentence(f"{clause.format(a=nouns[0], b=nouns[1])} because {pronoun} {cause}.")
    return QA(f"{asked} {cause}? {alternatives((nouns[order], nouns[1 - order]))}?", context, (nouns[right],))


def pronouns(rng):
    """Yields (split, a QA): 'Who was rich? Anna or Emma?' of 'Emma lent Anna some money because she was rich.'"""
    while True:
        groups, clauses, *causes = draw(rng, FRAMES)
        nouns, pronoun, asked = draw(rng, groups)
        places = range(len(nouns))
        first = draw(rng, places)
        pair = first, draw(rng, [place for place in places if place != first])
        right, order = draw(rng, (0, 1)), draw(rng, (0, 1))
        qa = schema(
            draw(rng, clauses), draw(rng, causes[right]), pronoun, asked, [nouns[n] for n in pair], right, order
        )
        yield "heldout" if sum(pair) % 8 == 0 else "train", [qa]


# ---- English and German
# English and German, each with its plural; the gender. Their accusative is their nominative.
PERSONS = (
    ("aunt", "aunts", "Tante", "Tanten", "f"),
    ("baker", "bakers", "Bäcker", "Bäcker", "m"),
    ("brother", "brothers", "Bruder", "Brüder", "m"),
    ("child", "children", "Kind", "Kinder", "n"),
    ("cook", "cooks", "Koch", "Köche", "m"),
    ("daughter", "daughters", "Tochter", "Töchter", "f"),
    ("doctor", "doctors", "Arzt", "Ärzte", "m"),
    ("father", "fathers", "Vater", "Väter", "m"),
    ("gardener", "gardeners", "Gärtner", "Gärtner", "m"),
    ("girl", "girls", "Mädchen", "Mädchen", "n"),
    ("guest", "guests", "Gast", "Gäste", "m"),
    ("king", "kings", "König", "Könige", "m"),
    ("man", "men", "Mann", "Männer", "m"),
    ("mother", "mothers", "Mutter", "Mütter", "f"),
    ("queen", "queens", "Königin", "Königinnen", "f"),
    ("sister", "sisters", "Schwester", "Schwestern", "f"),
    ("son", "sons", "Sohn", "Söhne", "m"),
    ("teacher", "teachers", "Lehrer", "Lehrer", "m"),
    ("thief", "thieves", "Dieb", "Diebe", "m"),
    ("uncle", "uncles", "Onkel", "Onkel", "m"),
    ("woman", "women", "Frau", "Frauen", "f"),
)
BEASTS = (
    ("bird", "birds", "Vogel", "Vögel", "m"),
    ("cat", "cats", "Katze", "Katzen", "f"),
    ("cow", "cows", "Kuh", "Kühe", "f"),
    ("dog", "dogs", "Hund", "Hunde", "m"),
    ("goat", "goats", "Ziege", "Ziegen", "f"),
    ("horse", "horses", "Pferd", "Pferde", "n"),
    ("mouse", "mice", "Maus", "Mäuse", "f"),
    ("pig", "pigs", "Schwein", "Schweine", "n"),
)
THINGS = (
    ("apple", "apples", "Apfel", "Äpfel", "m"),
    ("bag", "bags", "Tasche", "Taschen", "f"),
    ("ball", "balls", "Ball", "Bälle", "m"),
    ("basket", "baskets", "Korb", "Körbe", "m"),
    ("bicycle", "bicycles", "Fahrrad", "Fahrräder", "n"),
    ("boat", "boats", "Boot", "Boote", "n"),
    ("book", "books", "Buch", "Bücher", "n"),
    ("bottle", "bottles", "Flasche", "Flaschen", "f"),
    ("cake", "cakes", "Kuchen", "Kuchen", "m"),
    ("car", "cars", "Auto", "Autos", "n"),
    ("chair", "chairs", "Stuhl", "Stühle", "m"),
    ("clock", "clocks", "Uhr", "Uhren", "f"),
    ("coat", "coats", "Mantel", "Mäntel", "m"),
    ("cup", "cups", "Tasse", "Tassen", "f"),
    ("dress", "dresses", "Kleid", "Kleider", "n"),
    ("egg", "eggs", "Ei", "Eier", "n"),
    ("flower", "flowers", "Blume", "Blumen", "f"),
    ("glass", "glasses", "Glas", "Gläser", "n"),
    ("guitar", "guitars", "Gitarre", "Gitarren", "f"),
    ("hat", "hats", "Hut", "Hüte", "m"),
    ("key", "keys", "Schlüssel", "Schlüssel", "m"),
    ("knife", "knives", "Messer", "Messer", "n"),
    ("lamp", "lamps", "Lampe", "Lampen", "f"),
    ("letter", "letters", "Brief", "Briefe", "m"),
    ("mirror", "mirrors", "Spiegel", "Spiegel", "m"),
    ("newspaper", "newspapers", "Zeitung", "Zeitungen", "f"),
    ("picture", "pictures", "Bild", "Bilder", "n"),
    ("plate", "plates", "Teller", "Teller", "m"),
    ("ring", "rings", "Ring", "Ringe", "m"),
    ("shirt", "shirts", "Hemd", "Hemden", "n"),
    ("suitcase", "suitcases", "Koffer", "Koffer", "m"),
    ("table", "tables", "Tisch", "Tische", "m"),
    ("tent", "tents", "Zelt", "Zelte", "n"),
    ("umbrella", "umbrellas", "Regenschirm", "Regenschirme", "m"),
)
# English, and the German stem that endings are added to.
OF_ALL = (
    ("beautiful", "schön"),
    ("big", "groß"),
    ("famous", "berühmt"),
    ("old", "alt"),
    ("small", "klein"),
    ("strange", "seltsam"),
)
OF_LIVING = (*OF_ALL, ("brave", "mutig"), ("clever", "klug"), ("friendly", "freundlich"), ("happy", "glücklich"),
             ("hungry", "hungrig"), ("lazy", "faul"), ("sad", "traurig"), ("strong", "stark"), ("tired", "müd"),
             ("young", "jung"))  # fmt: skip
OF_THINGS = (*OF_ALL, ("black", "schwarz"), ("blue", "blau"), ("cheap", "billig"), ("green", "grün"), ("heavy", "schwer"),
             ("new", "neu"), ("red", "rot"), ("white", "weiß"), ("yellow", "gelb"))  # fmt: skip
# Forms of German words: masculine, feminine, neuter, plural; and the masculine accusative, the only one that differs.
FORMS, PLURAL, ACCUSATIVE = "mfn", 3, 4
# The endings of adjectives, after the determiners that have these forms.
WEAK, MIXED, STRONG = ("e", "e", "e", "en", "en"), ("er", "e", "es", "en", "en"), ("er", "e", "es", "e", "en")
# English, its plural, the German forms, the endings of what follows.
DETERMINERS = (
    ("the", "the", ("der", "die", "das", "die", "den"), WEAK),
    ("this", "these", ("dieser", "diese", "dieses", "diese", "diesen"), WEAK),
    ("every", "", ("jeder", "jede", "jedes", "", "jeden"), WEAK),
    ("a", "", ("ein", "eine", "ein", "", "einen"), MIXED),
    ("my", "my", ("mein", "meine", "mein", "meine", "meinen"), MIXED),
    ("our", "our", ("unser", "unsere", "unser", "unsere", "unseren"), MIXED),
    ("his", "his", ("sein", "seine", "sein", "seine", "seinen"), MIXED),
    ("her", "her", ("ihr", "ihre", "ihr", "ihre", "ihren"), MIXED),
    ("", "two", ("", "", "", "zwei", ""), STRONG),
    ("", "many", ("", "", "", "viele", ""), STRONG),
    ("", "some", ("", "", "", "einige", ""), STRONG),
)
OF_NUMBER = tuple([row for row in DETERMINERS if row[plural]] for plural in (False, True))
# English, German, whether the verb is plural.
PRONOUNS = (("he", "er", False), ("she", "sie", False), ("we", "wir", True), ("they", "sie", True))
# English: base, third person, past; German: infinitive, which is the plural, third person, participle; all with `haben`.
OF_ANYTHING = (
    ("draw", "draws", "drew", "zeichnen", "zeichnet", "gezeichnet"),
    ("find", "finds", "found", "finden", "findet", "gefunden"),
    ("forget", "forgets", "forgot", "vergessen", "vergisst", "vergessen"),
    ("look for", "looks for", "looked for", "suchen", "sucht", "gesucht"),
    ("paint", "paints", "painted", "malen", "malt", "gemalt"),
    ("photograph", "photographs", "photographed", "fotografieren", "fotografiert", "fotografiert"),
    ("see", "sees", "saw", "sehen", "sieht", "gesehen"),
)
WITH_LIVING = (
    *OF_ANYTHING,
    ("admire", "admires", "admired", "bewundern", "bewundert", "bewundert"),
    ("ask", "asks", "asked", "fragen", "fragt", "gefragt"),
    ("call", "calls", "called", "rufen", "ruft", "gerufen"),
    ("greet", "greets", "greeted", "begrüßen", "begrüßt", "begrüßt"),
    ("hear", "hears", "heard", "hören", "hört", "gehört"),
    ("meet", "meets", "met", "treffen", "trifft", "getroffen"),
    ("protect", "protects", "protected", "beschützen", "beschützt", "beschützt"),
    ("visit", "visits", "visited", "besuchen", "besucht", "besucht"),
    ("wake", "wakes", "woke", "wecken", "weckt", "geweckt"),
)
WITH_THINGS = (
    *OF_ANYTHING,
    ("bring", "brings", "brought", "bringen", "bringt", "gebracht"),
    ("buy", "buys", "bought", "kaufen", "kauft", "gekauft"),
    ("hide", "hides", "hid", "verstecken", "versteckt", "versteckt"),
    ("keep", "keeps", "kept", "behalten", "behält", "behalten"),
    ("lose", "loses", "lost", "verlieren", "verliert", "verloren"),
    ("sell", "sells", "sold", "verkaufen", "verkauft", "verkauft"),
    ("steal", "steals", "stole", "stehlen", "stiehlt", "gestohlen"),
    ("take", "takes", "took", "nehmen", "nimmt", "genommen"),
)
HABITS = (("", ""), ("every day", "jeden Tag"), ("every week", "jede Woche"), ("in summer", "im Sommer"),
          ("in the evening", "am Abend"), ("sometimes", "manchmal"))  # fmt: skip
PAST = (("", ""), ("last week", "letzte Woche"), ("last year", "letztes Jahr"), ("this morning", "heute Morgen"),
        ("two days ago", "vor zwei Tagen"), ("yesterday", "gestern"))  # fmt: skip
SOON = (("", ""), ("next week", "nächste Woche"), ("now", "jetzt"), ("on Monday", "am Montag"), ("today", "heute"),
        ("tomorrow", "morgen"))  # fmt: skip
# English, singular and plural; what a question begins with, singular and plural, and its verb; German, singular and plural;
# the end of the clause; adverbs. {0} {1} {2} are the English forms of a verb, {3} {4} {5} the German ones.
TENSES = {
    "present": ("{1}", "{0}", "does", "do", "{0}", "{4}", "{3}", "", HABITS),
    "past": ("{2}", "{2}", "did", "did", "{0}", "hat", "haben", "{5}", PAST),
    "can": ("can {0}", "can {0}", "can", "can", "{0}", "kann", "können", "{3}", SOON),
    "must": ("must {0}", "must {0}", "must", "must", "{0}", "muss", "müssen", "{3}", SOON),
    "should": ("should {0}", "should {0}", "should", "should", "{0}", "soll", "sollen", "{3}", SOON),
    "want": ("wants to {0}", "want to {0}", "does", "do", "want to {0}", "will", "wollen", "{3}", SOON),
}
# What a sentence begins with: its subject; its adverb, if it has one; the verb, which asks.
ORDERS = ("subject", "adverb", "question")


def noun_phrase(determiner, adjective, noun, plural, accusative=False):
    """(English, German) of rows of DETERMINERS and of nouns, and of an adjective or None."""
    english, german = adjective or ("", "")
    form = PLURAL if plural else FORMS.index(noun[4])
    if accusative and noun[4] == "m" and not plural:
        form = ACCUSATIVE
    german = " ".join(filter(None, (determiner[2][form], german and german + determiner[3][form], noun[2 + plural])))
    words = " ".join(filter(None, (english, noun[plural])))
    return _with_article(words) if determiner[0] == "a" else f"{determiner[plural]} {words}", german


def clause(subject, plural, verb, thing, tense, adverb, order):
    """(English, German) sentences.

    Args:
      subject, thing, adverb: (English, German); `thing`, the object, in the accusative.
      plural: whether the verb is.
      verb, tense: a row of verbs, a key of TENSES.
      order: one of ORDERS.
    """
    *forms, _ = TENSES[tense]
    says, say, does, do, base, third, infinitive, end = (form.format(*verb) for form in forms)
    says, does, third = (say, do, infinitive) if plural else (says, does, third)
    if order == "question":
        english, german = (does, subject[0], base, thing[0], adverb[0]), (third, subject[1], adverb[1], thing[1], end)
    elif order == "adverb" and adverb[0]:
        english, german = (adverb[0], subject[0], says, thing[0]), (adverb[1], third, subject[1], thing[1], end)
    else:
        english, german = (subject[0], says, thing[0], adverb[0]), (subject[1], third, adverb[1], thing[1], end)
    mark = "?" if order == "question" else "."
    return tuple(_sentence(" ".join(filter(None, words))) + mark for words in (english, german))


def sentences(rng):
    """Yields (English, German) without end, some of them more than once."""
    while True:
        nouns, adjectives, verbs = draw(
            rng, ((PERSONS + BEASTS, OF_LIVING, WITH_LIVING), (THINGS, OF_THINGS, WITH_THINGS))
        )
        noun, verb, tense, order = draw(rng, nouns), draw(rng, verbs), draw(rng, tuple(TENSES)), draw(rng, ORDERS)
        thing, _ = _phrase(rng, noun, adjectives, accusative=True)
        if rng.random() < 0.2:
            *subject, plural = draw(rng, PRONOUNS)
        else:
            subject, plural = _phrase(rng, draw(rng, PERSONS), OF_LIVING)
        yield clause(subject, plural, verb, thing, tense, draw(rng, TENSES[tense][-1]), order)


def _phrase(rng, noun, adjectives, accusative=False):
    """A noun phrase, and whether it is in the plural."""
    plural = bool(rng.random() < 0.3)
    determiner = draw(rng, OF_NUMBER[plural])
    adjective = draw(rng, adjectives) if rng.random() < 0.4 else None
    return noun_phrase(determiner, adjective, noun, plural, accusative), plural


def phrases(rng):
    """Yields (split, a QA): a sentence to be translated into German."""
    for english, german in sentences(rng):
        split = "heldout" if _is_heldout(english, 40) else "train"
        yield split, [QA("Translate from English to German", english, (german,))]


def _reversed(qa, labels):
    del labels
    return QA("Translate from German to English", qa.answers[0], (qa.context,))


# ---- Rows
def _row(grammar, *metrics, ask=as_it_is):
    metric, *also = metrics
    return Task(lambda source: examples(grammar), question=QuestionView(ask, metric, tuple(also)))


TASKS = {
    "dialogue": _row(dialogues, "joint_goal_em", "turn_request_em", "turn_goal_em", "em"),
    "pronouns": _row(pronouns, "em"),
    "phrases_en_de": _row(phrases, "bleu", "em"),
    "phrases_de_en": _row(phrases, "bleu", "em", ask=_reversed),
}
