"""What the demo's composed tasks should answer, stated without their grammars: a slow reader of dialogues, and sentences
written by hand."""

import re

FOOD = "Chinese French Greek Indian Italian Japanese Korean Lebanese Mexican Moroccan Polish Portuguese Spanish Thai Turkish "
FOOD += "Vietnamese"
VALUES = {word: ("food", word) for word in FOOD.lower().split()}
VALUES |= {word: ("area", word) for word in ("north", "south", "east", "west", "centre", "suburbs", "old town")}
VALUES |= {word: ("price", "cheap") for word in ("cheap", "inexpensive", "affordable")}
VALUES |= {word: ("price", "moderate") for word in ("moderate", "moderately priced", "mid-priced")}
VALUES |= {word: ("price", "expensive") for word in ("expensive", "fancy", "upscale")}
VALUES |= {word: ("day", word) for word in ("today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday",
                                            "saturday", "sunday")}  # fmt: skip
NAMES = {
    "phone": "phone",
    "telephone": "phone",
    "address": "address",
    "postcode": "postcode",
    "zip": "postcode",
    "menu": "menu",
}
TOPICS = {"food": "food|cuisine", "area": "town|where|area", "price": "price|spend|expensive", "day": "day|when"}
# What stands before a value that no longer holds.
AGAINST = "(?:than|not|change|forget|instead of)(?: the)? "


def change_in_state(context):
    """'food: thai, area: north; phone' of a turn, by looking for words."""
    host, _, guest = context.lower().rpartition(" -- ")
    said, offered = _mentions(guest), _mentions(host)
    goals = {}
    for place, (slot, value) in said:
        if not re.search(AGAINST + "$", guest[:place]):
            assert slot not in goals, context
            goals[slot] = value
    agreed = re.match(r"yes|sure|all right|that works", guest)
    if not said and agreed and len(offered) == 2:
        slot, value = offered[1][1]
        goals[slot] = value
    if not said and re.search("not care|not matter|anything is|up to you|no preference", guest):
        [slot] = [slot for slot, words in TOPICS.items() if re.search(words, host)]
        goals[slot] = "any"
    requests = [NAMES[word] for word in re.findall(r"[a-z]+", guest) if word in NAMES]
    told = ", ".join(f"{slot}: {goals[slot]}" for slot in TOPICS if slot in goals)
    return "None" if not goals and not requests else f"{told}; {', '.join(requests)}".strip()


def _mentions(text):
    """List of (place, (slot, value)) in a text, in its order."""
    return sorted((found.start(), VALUES[words]) for words in VALUES for found in re.finditer(rf"\b{words}\b", text))


# A and B in the order in which a sentence has them, and whom the pronoun means.
SCHEMAS = {
    "A lent B some money because he was rich.": "A",
    "A lent B some money because he was in debt.": "B",
    "A borrowed some money from B because he was in debt.": "A",
    "A borrowed some money from B because he had enough.": "B",
    "A envied B because she had won the race.": "B",
    "A was envied by B because she had nothing.": "B",
    "A asked B for help because he was an expert.": "B",
    "A was asked for help by B because he was lost.": "B",
    "A led B through the forest because she knew the way.": "A",
    "A followed B through the forest because she knew the way.": "B",
    "A beat B at chess because he had made a mistake.": "B",
    "A lost to B at chess because he was a beginner.": "A",
    "A thanked B because she had brought a gift.": "B",
    "A apologised to B because he was late.": "A",
    "A scolded B because he was late.": "B",
    "A carried B home because she was strong.": "A",
    "A was carried home by B because she had broken a leg.": "A",
    "A sold B a house because he was in debt.": "A",
    "A bought a house from B because he was moving away.": "B",
    "A frightened B because it was timid.": "B",
    "A ran away from B because it was timid.": "A",
    "A crossed the river on B because it could swim.": "B",
    "A overtook B because it was slow.": "B",
    "A was towed by B because it had a flat tyre.": "A",
    "A does not fit into B because it is too big.": "A",
    "A does not fit into B because it is too small.": "B",
    "A has no room for B because it is too small.": "A",
    "A has no room for B because it is too long.": "B",
    "A crushed B because it was fragile.": "B",
}

# Subject, verb, object, tense, adverb, order: of them the sentences. A noun phrase is determiner/adjective/noun.
TRANSLATIONS = (
    ("the//man", "see", "the//dog", "present", "", "subject", "The man sees the dog.", "Der Mann sieht den Hund."),
    ("the//woman", "find", "a//cat", "present", "", "subject", "The woman finds a cat.", "Die Frau findet eine Katze."),
    ("a/young/girl", "draw", "a/small/horse", "present", "", "subject", "A young girl draws a small horse.",
     "Ein junges Mädchen zeichnet ein kleines Pferd."),
    ("a/old/uncle", "buy", "a/red/hat", "past", "yesterday", "subject", "An old uncle bought a red hat yesterday.",
     "Ein alter Onkel hat gestern einen roten Hut gekauft."),
    ("the/old/men", "sell", "the/old/chairs", "past", "last week", "subject", "The old men sold the old chairs last week.",
     "Die alten Männer haben letzte Woche die alten Stühle verkauft."),
    ("my//aunt", "lose", "her/yellow/umbrella", "past", "", "subject", "My aunt lost her yellow umbrella.",
     "Meine Tante hat ihren gelben Regenschirm verloren."),
    ("our/clever/brother", "hide", "his/new/key", "past", "this morning", "adverb",
     "This morning our clever brother hid his new key.", "Heute Morgen hat unser kluger Bruder seinen neuen Schlüssel versteckt."),
    ("two//thieves", "steal", "my/blue/bicycle", "past", "last year", "adverb", "Last year two thieves stole my blue bicycle.",
     "Letztes Jahr haben zwei Diebe mein blaues Fahrrad gestohlen."),
    ("he", "look for", "this//book", "past", "two days ago", "subject", "He looked for this book two days ago.",
     "Er hat vor zwei Tagen dieses Buch gesucht."),
    ("they", "visit", "our/friendly/teacher", "past", "", "question", "Did they visit our friendly teacher?",
     "Haben sie unseren freundlichen Lehrer besucht?"),
    ("the//child", "forget", "the//ball", "past", "yesterday", "question", "Did the child forget the ball yesterday?",
     "Hat das Kind gestern den Ball vergessen?"),
    ("every//cook", "take", "many//eggs", "present", "every day", "adverb", "Every day every cook takes many eggs.",
     "Jeden Tag nimmt jeder Koch viele Eier."),
    ("the/tired/king", "wake", "the/lazy/gardener", "present", "sometimes", "adverb",
     "Sometimes the tired king wakes the lazy gardener.", "Manchmal weckt der müde König den faulen Gärtner."),
    ("his//sons", "meet", "some/strange/guests", "present", "in the evening", "subject",
     "His sons meet some strange guests in the evening.", "Seine Söhne treffen am Abend einige seltsame Gäste."),
    ("we", "photograph", "these/white/goats", "present", "in summer", "adverb", "In summer we photograph these white goats.",
     "Im Sommer fotografieren wir diese weißen Ziegen."),
    ("this/famous/queen", "keep", "every//ring", "present", "", "question", "Does this famous queen keep every ring?",
     "Behält diese berühmte Königin jeden Ring?"),
    ("these//sisters", "hear", "many/big/birds", "present", "every week", "question",
     "Do these sisters hear many big birds every week?", "Hören diese Schwestern jede Woche viele große Vögel?"),
    ("she", "admire", "the/brave/horses", "present", "", "subject", "She admires the brave horses.",
     "Sie bewundert die mutigen Pferde."),
    ("the/sad/father", "ask", "his/happy/daughter", "can", "tomorrow", "subject",
     "The sad father can ask his happy daughter tomorrow.", "Der traurige Vater kann morgen seine glückliche Tochter fragen."),
    ("my//guests", "bring", "two//bottles", "can", "on Monday", "adverb", "On Monday my guests can bring two bottles.",
     "Am Montag können meine Gäste zwei Flaschen bringen."),
    ("a//doctor", "call", "her//mother", "must", "today", "adverb", "Today a doctor must call her mother.",
     "Heute muss ein Arzt ihre Mutter rufen."),
    ("we", "sell", "our/heavy/tables", "must", "next week", "question", "Must we sell our heavy tables next week?",
     "Müssen wir nächste Woche unsere schweren Tische verkaufen?"),
    ("her/strong/sister", "protect", "the//mice", "should", "now", "subject", "Her strong sister should protect the mice now.",
     "Ihre starke Schwester soll jetzt die Mäuse beschützen."),
    ("some//bakers", "paint", "a/beautiful/clock", "should", "", "question", "Should some bakers paint a beautiful clock?",
     "Sollen einige Bäcker eine schöne Uhr malen?"),
    ("our//uncle", "paint", "a/green/boat", "present", "every week", "adverb", "Every week our uncle paints a green boat.",
     "Jede Woche malt unser Onkel ein grünes Boot."),
    ("a//son", "find", "the/famous/picture", "past", "", "question", "Did a son find the famous picture?",
     "Hat ein Sohn das berühmte Bild gefunden?"),
    ("he", "buy", "a//apple", "want", "", "subject", "He wants to buy an apple.", "Er will einen Apfel kaufen."),
    ("the//women", "keep", "this/cheap/coat", "want", "today", "subject", "The women want to keep this cheap coat today.",
     "Die Frauen wollen heute diesen billigen Mantel behalten."),
    ("our//king", "greet", "the//brothers", "want", "tomorrow", "question", "Does our king want to greet the brothers tomorrow?",
     "Will unser König morgen die Brüder begrüßen?"),
    ("these//children", "see", "a//mouse", "want", "", "question", "Do these children want to see a mouse?",
     "Wollen diese Kinder eine Maus sehen?"),
    ("every/hungry/thief", "bring", "his//basket", "must", "", "adverb", "Every hungry thief must bring his basket.",
     "Jeder hungrige Dieb muss seinen Korb bringen."),
)  # fmt: skip
