"""Each task's files are read as they are published, and asked in the words of the papers."""

import json

import numpy as np
import pytest

from ssl_jax import metrics, tasks
from ssl_jax.data import tokens
from ssl_jax.errors import UserError
from ssl_jax.evaluators import prompts
from ssl_jax.tasks import PROMPTED, datasets, generated
from ssl_jax.tasks.base import NORMALISATIONS, PROMPT_KINDS, Item, Source, solved


def json_lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


STORY_HEADER = ",".join(["InputStoryid", *(f"InputSentence{n}" for n in range(1, 5)), "RandomFifthSentenceQuiz1",
                         "RandomFifthSentenceQuiz2", "AnswerRightEnding"])  # fmt: skip
BOOK = "".join(f"{n} `` Sentence {n} , '' she said .\n" for n in range(1, 21))
BOOK += "21 The XXXXX did n't stop .\tking\t\tcat|king|dogs\n\n"
SCHEMA = """<collection><schema><text><txt1>
Grace traded me her sweater for my jacket. She thinks</txt1><pron>it</pron><txt2>looks dowdy on her.</txt2></text>
<answers><answer>The sweater</answer><answer>The jacket</answer></answers><correctAnswer>A.</correctAnswer></schema>
</collection>"""
PRONOUN = "Lions eat sheep. They hid when he heard.\nThey\nThe lions,the sheep\nthe sheep\n\n"
BOMB = "<!DOCTYPE a [" + "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(12))
BOMB = f"{BOMB.replace('&l0;', 'l')}]><collection><schema>&l12;</schema></collection>"
ARC = {"id": "1", "answerKey": "2", "question": {"stem": "Which?", "choices": [
    {"text": "a", "label": "1"}, {"text": "b c", "label": "2"}, {"text": "d", "label": "3"}]}}  # fmt: skip
RACE = {"id": "1", "article": "One.", "questions": ["It is _ .", "Why?"], "answers": ["B", "A"],
        "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]]}  # fmt: skip
BOOLQ = {"question": "is it", "passage": "It -- It is.", "label": True, "idx": 0}
CB = {"premise": "It is.", "hypothesis": "it is", "label": "neutral", "idx": 0}
WIC = {"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": False}
WSC = {"text": "Mark told Pete, and he knew.", "idx": 2, "label": True, "target": {
    "span1_text": "Mark", "span1_index": 0, "span2_text": "he", "span2_index": 4}}  # fmt: skip
COPA = {"premise": "It fell.", "choice1": "It was high.", "choice2": "He let go.", "question": "cause", "label": 1}
SQUAD = {
    "data": [
        {
            "title": "The_Blitz",
            "paragraphs": [
                {
                    "context": "Anna met Bob.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "Who?",
                            "answers": [{"text": "Anna", "answer_start": 0}],
                            "is_impossible": False,
                        },
                        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
                        {
                            "id": "3",
                            "question": "Whom?",
                            "answers": [{"text": "Bob", "answer_start": 9}],
                            "is_impossible": False,
                        },
                    ],
                },
                {
                    "context": "It ended.",
                    "qas": [{"id": "4", "question": "What?", "answers": [], "is_impossible": True}],
                },
            ],
        }
    ]
}
COQA = {"data": [{"id": "s1", "story": "Anna met Bob.",
                  "questions": [{"input_text": "Who?"}, {"input_text": "Whom?"}],
                  "answers": [{"input_text": "Anna"}, {"input_text": "Bob"}],
                  "additional_answers": {"0": [{"input_text": "Anna met"}, {"input_text": "him"}]}}]}  # fmt: skip
MULTIRC = {"idx": 3, "passage": {"text": "It fell.", "questions": [
    {"question": "Why?", "idx": 5, "answers": [{"text": "wind", "idx": 7, "label": 1},
                                               {"text": "rain", "idx": 8, "label": 0}]},
    {"question": "When?", "idx": 6, "answers": [{"text": "now", "idx": 9, "label": 0}]}]}}  # fmt: skip
RECORD = {"idx": 0, "passage": {"text": "Anna met Bob.\n@highlight\nShe left.\n@highlight\nBob stayed.", "entities": [
    {"start": 9, "end": 11}, {"start": 0, "end": 3}, {"start": 46, "end": 48}]}, "qas": [
    {"query": "It is @placeholder.", "idx": 0, "answers": [{"start": 0, "end": 3, "text": "Anna"}]}]}  # fmt: skip
ANLI = {"uid": "1", "context": "It is.", "hypothesis": "It was.", "label": "n", "reason": ""}
GRANDE = {"qID": "1", "sentence": "Johnny likes fruits, not roots, because the _ are sweet.", "option1": "fruits",
          "option2": "roots", "answer": "1"}  # fmt: skip
SAT = "# By E. Littman\n\nSource\nlull trust v:n\nbalk fortitude v:n\nbetray loyalty v:n\ncajole compliance v:n\n"
SAT += "hinder destination v:n\nsoothe passion v:n\nc\n"
QUAC = {"data": [{"title": "Anna", "section_title": "Life", "background": "", "paragraphs": [{
    "context": "Anna met Bob. CANNOTANSWER", "id": "1", "qas": [
        {"id": "1_q#0", "question": "Who?", "answers": [{"text": "Bob", "answer_start": 9}]},
        {"id": "1_q#1", "question": "Why?", "answers": [{"text": "CANNOTANSWER", "answer_start": 14}]},
        {"id": "1_q#2", "question": "So?", "answers": [{"text": "met", "answer_start": 5}]}]}]}]}  # fmt: skip
NO_DATE = {"day": "", "month": "", "year": ""}
DROP = {"nfl_1": {"passage": "Bob ran 4 yards.", "qa_pairs": [
    {"question": "How many?", "query_id": "a", "answer": {"number": "4", "date": NO_DATE, "spans": []},
     "validated_answers": [{"number": "", "date": NO_DATE, "spans": ["4 yards", "Bob"]},
                           {"number": "4", "date": NO_DATE, "spans": []}]},
    {"question": "When?", "query_id": "b", "answer": {
        "number": "", "date": {"day": "", "month": "May", "year": "1625"}, "spans": []}}]}}  # fmt: skip
TRIVIA = {"Data": [{"Question": "Who painted it?", "Answer": {"Value": "Duchamp", "Aliases": ["duchamp", "Duchamp"]}}]}
WEB = [{"utterance": "what school?", "targetValue": '(list (description Yale) (description "School of Arts"))'}]
UNANSWERED = "Title: The Blitz\n\nBackground: Anna met Bob.\n\nQ: Who?\n\nA: Anna\n\nQ: When?\n\nA:"
BOTH = {"test.en": "No.\nNo way.\n", "test.fr": "Non.\nPas question.\n"}
SANDWICH = "she put the ham on the bread . `` do n't eat the ham , '' he said"

# (task, prompt) -> its files, what the first item to be asked is with nothing shown.
ASKED = {
    ("lambada", "gpt2_last_token"): (
        {"lambada_test.jsonl": json_lines({"text": "“Eat,” he said to Bob"})},
        Item('\n"Eat," he said to', (" Bob",), answers=("Bob",), units=1)),
    ("lambada", "gpt2_stop_words"): (
        {"lambada_test_plain_text.txt": f"{SANDWICH}\n"},
        Item('\nshe put the ham on the bread. "don\'t eat the ham," he', (" said",), answers=("said",), units=1)),
    ("lambada", "last_word"): (
        {"lambada_test_plain_text.txt": f"{SANDWICH}\n"},
        Item('she put the ham on the bread. "don\'t eat the ham," he', (" said",), answers=("said",), units=1)),
    ("lambada", "gpt3"): (
        {"lambada_test.jsonl": json_lines({"text": "Alice went to visit her friend Bob"})},
        Item("Fill in blank:\n\nAlice went to visit her friend ____. ->", (" Bob",), answers=("Bob",), units=1)),
    ("cbt_cn", "gpt2"): (
        {"cbtest_CN_valid_2000ex.txt": BOOK},
        Item(" ".join(f'"Sentence {n}," she said.' for n in range(1, 21)) + " The",
             (" cat didn't stop.", " king didn't stop.", " dogs didn't stop."), 1)),
    ("cbt_ne", "gpt2"): (
        {"cbtest_NE_valid_2000ex.txt": BOOK.replace("cat|king|dogs", "king")},
        Item(" ".join(f'"Sentence {n}," she said.' for n in range(1, 21)) + " The king didn't", (" stop.",))),
    ("wikitext2", "gpt2"): (
        {"wiki.test.tokens": " \n = A @-@ B = \n \n It cost $ 1 @,@ 000 . \n"},
        Item("", ("\n= A-B =\n\nIt cost $1,000.",), units=16)),
    ("wikitext103", "plain"): (
        {"wiki.test.tokens": " \n = A @-@ B = \n"}, Item("", (" \n = A @-@ B = ",), units=7)),
    ("ptb", "gpt2"): ({"ptb.test.txt": " it was n't N <unk> \n so \n"}, Item("", ("it wasn't N <unk>\nso",), units=8)),
    ("1bw", "gpt2"): (
        {"news.en.heldout-00000-of-00050": '" No , " he said .\nYes .\n'}, Item("", ('"No," he said.',), units=8)),
    ("enwik8", "gpt2"): ({"enwik8": "a" * 36 + "éé"}, Item("", ("é",), units=2)),
    ("text8", "gpt2"): ({"text8": "a" * 38 + "bc"}, Item("", ("bc",), units=2)),
    ("winograd", "full"): (
        {"WSCollection.xml": SCHEMA},
        Item("Grace traded me her sweater for my jacket. She thinks",
             (" the sweater looks dowdy on her.", " the jacket looks dowdy on her."))),
    ("winograd", "gpt3"): (
        {"WSCollection.xml": SCHEMA},
        Item("", (" looks dowdy on her.",), contexts=(
            "Grace traded me her sweater for my jacket. She thinks the sweater",
            "Grace traded me her sweater for my jacket. She thinks the jacket"))),
    ("winograd", "gpt1"): (
        {"WSCollection.xml": SCHEMA},
        Item("", (" looks dowdy on her.",), contexts=(
            "Grace traded me her sweater for my jacket. She thinks the sweater",
            "Grace traded me her sweater for my jacket. She thinks the jacket"))),
    ("dprd", "gpt1"): (
        {"test.c.txt": PRONOUN},
        Item("", (" hid when he heard.",), 1, contexts=("Lions eat sheep. The lions", "Lions eat sheep. The sheep"))),
    ("cola", "gpt1"): (
        {f"{name}.tsv": "s\t1\t\tIt is fine.\n" for name in ("train", "dev")}, Item("", ("It is fine.",), 1)),
    ("sst2", "gpt1"): (
        {f"{name}.tsv": "sentence\tlabel\na fine film \t1\n" for name in ("train", "dev")},
        Item("a fine film very", (" negative", " positive"), 1)),
    ("hellaswag", "gpt3"): (
        {"hellaswag_val.jsonl": json_lines({"ctx": "A girl [step] makes it. they", "activity_label": "Making a cake",
                                            "endings": ["bake.", "run [title] it."], "label": 1})},
        Item("Making a cake: A girl makes it. They", (" bake.", " run. it."), 1)),
    ("rocstories", "gpt3"): (
        {f"cloze_test_{name}__spring2016.csv": f'{STORY_HEADER}\ni,A.,B.,"C, c.",D.,E.,F.,2\n'
         for name in ("val", "test")},
        Item("A. B. C, c. D.", (" E.", " F."), 1)),
    ("piqa", "gpt3"): (
        {"valid.jsonl": json_lines({"goal": "Seal wood. ", "sol1": " Brush.", "sol2": "Drip."}),
         "valid-labels.lst": "1\n"},
        Item("Seal wood.", (" Brush.", " Drip."), 1)),
    ("piqa", "lm_eval"): (
        {"dev.jsonl": json_lines({"goal": "Seal wood.", "sol1": "Brush.", "sol2": "Drip."}), "dev-labels.lst": "0\n"},
        Item("Question: Seal wood.\nAnswer:", (" Brush.", " Drip."))),
    ("arc_easy", "gpt3"): (
        {"ARC-Easy-Test.jsonl": json_lines(ARC)}, Item("Question: Which?\nAnswer:", (" a", " b c", " d"), 1)),
    ("arc_challenge", "lm_eval"): (
        {"ARC-Challenge-Test.jsonl": json_lines(ARC)}, Item("Question: Which?\nAnswer:", (" a", " b c", " d"), 1)),
    ("openbookqa", "gpt3"): ({"test.jsonl": json_lines(ARC)}, Item("Which?", (" a", " b c", " d"), 1)),
    ("race_middle", "gpt3"): (
        {"test/middle/1.txt": json.dumps(RACE)},
        Item("Article:\nOne.\n\nQ: It is _ .\n\nA:", (" a", " b", " c", " d"), 1)),
    ("race_high", "gpt1"): (
        {"test/high/1.txt": json.dumps(RACE)}, Item("One. It is _ .", (" a", " b", " c", " d"), 1)),
    ("race_high", "tokens"): (
        {"test/high/1.txt": json.dumps(RACE)},
        Item("Article:\nOne.\n\nQ: It is _ .\n\nA:", (" a", " b", " c", " d"), 1)),
    ("copa", "gpt3"): (
        {f"{name}.jsonl": json_lines(COPA) for name in ("train", "val")},
        Item("It fell because", (" it was high.", " he let go."), 1)),
    ("multirc", "gpt3"): (
        {f"{name}.jsonl": json_lines(MULTIRC) for name in ("train", "val")},
        Item("READING COMPREHENSION ANSWER KEY\n\nIt fell.\n\nWhy?", ("\n- [False] wind", "\n- [True] wind"), 1,
             answers=("\n- [True] wind", "\n- [False] rain"), group="3/5")),
    ("record", "gpt3"): (
        {"val.jsonl": json_lines(RECORD)},
        Item("Anna met Bob.\n- She left.\n- Bob stayed.", ("\n- It is Bob.", "\n- It is Anna."), 1,
             answers=("Anna",), texts=("Bob", "Anna"))),
    **{(f"anli_r{n}", "gpt3"): (
        {"test.jsonl": json_lines(ANLI)},
        Item(f"anli {n}: anli {n}: It is.\nQuestion: It was. True, False, or Neither?", (" True", " False", " Neither"),
             2)) for n in (1, 2, 3)},
    ("winogrande", "gpt3"): (
        {"dev.jsonl": json_lines(GRANDE)},
        Item("", (" are sweet.",), contexts=("Johnny likes fruits, not roots, because the fruits",
                                             "Johnny likes fruits, not roots, because the roots"))),
    ("sat_analogies", "gpt3"): (
        {"SAT-package-V3.txt": SAT},
        Item("lull is to trust as", (" balk is to fortitude", " betray is to loyalty", " cajole is to compliance",
                                     " hinder is to destination", " soothe is to passion"), 2)),
    ("quac", "gpt3"): (
        {"val_v0.2.json": json.dumps(QUAC)},
        Item("TITLE: Anna - Life\nPARAGRAPH: Anna met Bob.\n\nQ: Who?\n\nA:", (" Bob",), answers=("Bob",))),
    ("drop", "gpt3"): (
        {"drop_dataset_dev.json": json.dumps(DROP)},
        Item("Passage: Bob ran 4 yards.\nQuestion: How many?\nAnswer:", (" 4",),
             answers=(("4",), ("4 yards", "Bob")))),
    ("boolq", "gpt3"): (
        {f"{name}.jsonl": json_lines(BOOLQ) for name in ("train", "val")},
        Item("It -- It is.\nquestion: is it?\nanswer:", (" no", " yes"), 1)),
    ("cb", "gpt3"): (
        {f"{name}.jsonl": json_lines(CB) for name in ("train", "val")},
        Item("It is.\nquestion: it is. true, false, or neither?\nanswer:", (" true", " false", " neither"), 2)),
    ("rte", "gpt3"): (
        {f"{name}.tsv": "index\tsentence1\tsentence2\tlabel\n0\tIt is.\tIs it.\tnot_entailment\n"
         for name in ("train", "dev")},
        Item("It is.\nquestion: Is it. True or False?\nanswer:", (" True", " False"), 1)),
    ("wic", "gpt3"): (
        {f"{name}.jsonl": json_lines(WIC) for name in ("train", "val")},
        Item("A bank.\nThe bank.\nquestion: Is the word 'bank' used in the same way in the two sentences above?\n"
             "answer:", (" no", " yes"))),
    ("wsc", "gpt3"): (
        {f"{name}.jsonl": json_lines(WSC) for name in ("train", "val")},
        Item("Final Exam with Answer Key\nInstructions: Please carefully read the following passages. For each "
             "passage, you must identify which noun the pronoun marked in *bold* refers to.\n=====\n"
             "Passage: Mark told Pete, and *he* knew.\nQuestion: In the passage above, what does the pronoun \"*he*\" "
             "refer to?\nAnswer:", (" mark",), 1, answers=("mark",))),
    ("squad2", "gpt3"): (
        {"dev-v2.0.json": json.dumps(SQUAD)},
        Item("Title: The Blitz\n\nBackground: Anna met Bob.\n\nQ: Who?\n\nA:", (" Anna",), answers=("Anna",))),
    ("coqa", "gpt2"): (
        {"coqa-dev-v1.0.json": json.dumps(COQA)},
        Item("Anna met Bob.\n\nQ: Who?\n\nA:", (" Anna",), answers=("Anna", "Anna met"))),
    ("triviaqa_unfiltered", "unfiltered"): (
        {"unfiltered-web-dev.json": json.dumps(TRIVIA)},
        Item("Q: Who painted it?\n\nA:", (" Duchamp",), answers=("Duchamp", "duchamp"))),
    ("triviaqa", "gpt3"): (
        {"wikipedia-dev.json": json.dumps(TRIVIA)},
        Item("Q: Who painted it?\n\nA:", (" Duchamp",), answers=("Duchamp", "duchamp"))),
    ("naturalqs", "gpt2"): (
        {"NQ-open.dev.jsonl": json_lines({"question": "who is it", "answer": ["Bob"]})},
        Item("Q: who is it?\n\nA:", (" Bob",), answers=("Bob",))),
    ("webqs", "gpt3"): (
        {"webquestions.examples.test.json": json.dumps(WEB)},
        Item("Q: what school?\n\nA:", (" Yale",), answers=("Yale", "School of Arts"))),
    ("en_fr", "gpt2"): (BOTH, Item("No. =", (" Non.",), answers=("Non.",))),
    ("fr_en", "gpt3"): (BOTH, Item("Non. =", (" No.",), answers=("No.",))),
    ("en_fr", "gpt3_zero_shot"): (
        BOTH, Item("Q: What is the French translation of No. A:", (" Non.",), answers=("Non.",))),
    ("en_de", "gpt3"): ({"test.en": "No.\n", "test.de": "Nein.\n"}, Item("No. =", (" Nein.",), answers=("Nein.",))),
    ("de_en", "gpt3"): ({"test.en": "No.\n", "test.de": "Nein.\n"}, Item("Nein. =", (" No.",), answers=("No.",))),
    ("en_ro", "gpt3"): ({"test.en": "No.\n", "test.ro": "Nu.\n"}, Item("No. =", (" Nu.",), answers=("Nu.",))),
    ("ro_en", "gpt3"): ({"test.en": "No.\n", "test.ro": "Nu.\n"}, Item("Nu. =", (" No.",), answers=("No.",))),
    ("cnn_dailymail", "gpt2"): (
        {"test/cnn/1.story": "It rained.\n\nAll day.\n\n@highlight\n\nRain\n\n@highlight\n\nLots of it\n"},
        Item("It rained. All day.\nTL;DR:", (" Rain\nLots of it",), answers=("Rain\nLots of it",))),
    **{(name, "gpt3"): (
        {f"{file}.jsonl": json_lines({"context": "\n\nQ: What is 98 plus 45?\n\nA:", "completion": " 143"})},
        Item("Q: What is 98 plus 45?\n\nA:", (" 143",), answers=("143",)))
       for name, (file, *_) in generated.ARITHMETIC.items()},
    **{(name, "gpt3"): (
        {f"{file}.jsonl": json_lines({"context": "asinoc =", "completion": " casino"})},
        Item("Please unscramble the letters into a word, and write that word:\nasinoc =", (" casino",),
             answers=("casino",)))
       for name, (file, _) in generated.SCRAMBLES.items()},
}  # fmt: skip
NO_FILES = ("topic", "title")


@pytest.fixture
def reading(tmp_path):
    """`reading(name, files)`: a task's records, of files, path -> text, that are written first."""

    def read(name, files):
        for path, content in files.items():
            path = tmp_path / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tasks.records(name, Source(str(tmp_path)))

    return read


@pytest.mark.parametrize(("name", "prompt"), ASKED, ids=["-".join(key) for key in ASKED])
def test_a_published_set_is_asked_in_the_papers_words(reading, name, prompt):
    files, expected = ASKED[name, prompt]
    records, prompt = reading(name, files), PROMPTED[name].prompts[prompt]
    item = prompt.item(records["heldout"][0])
    assert item._replace(context=prompts.compose(prompt, [], item.context)) == expected
    # As an example of the next one it is shown with its right target, MultiRC's with all answers.
    context, target = item.pairs[item.gold if max(len(item.targets), len(item.contexts)) > 1 else 0]
    assert solved(item) == context + target
    assert prompt.shown(item) == solved(item) + (item.answers[1] if name == "multirc" else "")
    assert prompts.compose(prompt, [item], "next").endswith(f"{prompt.shown(item)}{prompt.separator}next")


def test_every_task_is_asked_once_and_says_what_it_needs():
    assert {name for name, _ in ASKED} | set(NO_FILES) == set(PROMPTED)
    for name, task in PROMPTED.items():
        for prompt in task.prompts.values():
            assert prompt.kind in PROMPT_KINDS and prompt.normalise in NORMALISATIONS, name
            assert prompt.metrics and set(prompt.metrics) <= set(metrics.OF_ITEMS), name
            assert bool(prompt.answer_context) == (prompt.normalise == "unconditional"), name
            assert bool(prompt.max_tokens) == (prompt.kind == "generate"), name
            assert bool(prompt.unit) == (prompt.kind == "perplexity"), name


def test_what_comes_before_in_a_passage_is_shown_with_its_answers(reading):
    race = reading("race_middle", {"test/middle/1.txt": json.dumps(RACE)})["heldout"]
    assert PROMPTED["race_middle"].prompts["gpt3"].item(race[1]).context == (
        "Article:\nOne.\n\nQ: It is _ .\n\nA: b\n\nQ: Why?\n\nA:"
    )
    records = reading("squad2", {"dev-v2.0.json": json.dumps(SQUAD)})["heldout"]
    squad = [PROMPTED["squad2"].prompts["gpt3"].item(record) for record in records]
    assert squad[1].context == UNANSWERED and squad[1].answers == () and squad[1].targets == (" unanswerable",)
    assert squad[2].context == f"{UNANSWERED} unanswerable\n\nQ: Whom?\n\nA:"
    assert squad[3].context == "Title: The Blitz\n\nBackground: It ended.\n\nQ: What?\n\nA:"
    coqa = reading("coqa", {"coqa-dev-v1.0.json": json.dumps(COQA)})["heldout"][1]
    item = PROMPTED["coqa"].prompts["gpt3"].item(coqa)
    assert (item.context, item.answers) == ("Anna met Bob.\n\nQ: Who?\n\nA: Anna\n\nQ: Whom?\n\nA:", ("Bob", "him"))

    quac = reading("quac", {"val_v0.2.json": json.dumps(QUAC)})["heldout"][2]
    assert (
        PROMPTED["quac"]
        .prompts["gpt3"]
        .item(quac)
        .context.endswith("Q: Who?\n\nA: Bob\n\nQ: Why?\n\nA: CANNOTANSWER\n\nQ: So?\n\nA:")
    )
    drop = reading("drop", {"drop_dataset_dev.json": json.dumps(DROP)})["heldout"][1]
    assert PROMPTED["drop"].prompts["gpt3"].item(drop).answers == (("May 1625",),)


def test_an_example_of_multirc_is_a_question(reading):
    records = reading("multirc", {f"{name}.jsonl": json_lines(MULTIRC) for name in ("train", "val")})
    prompt = PROMPTED["multirc"].prompts["gpt3"]
    shown = [prompt.shown(prompt.item(record)) for record in filter(prompt.shows, records["train"])]
    assert shown == ["It fell.\n\nWhy?\n- [True] wind\n- [False] rain", "It fell.\n\nWhen?\n- [False] now"]
    assert [prompt.item(record).group for record in records["heldout"]] == ["3/5", "3/5", "3/6"]


# A record, and another one's label.
SHOWN = {"boolq": (BOOLQ, False), "cb": (CB, "entailment"), "wic": (WIC, True), "copa": (COPA, 0)}


@pytest.mark.parametrize("name", SHOWN)
def test_examples_have_labels_or_are_refused(reading, name):
    record, label = SHOWN[name]
    lines = json_lines(record, record | {"label": label})
    records = reading(name, {"train.jsonl": lines, "val.jsonl": lines})
    item = PROMPTED[name].prompts["gpt3"].item
    golds = [[item(one).gold for one in records[split]] for split in ("train", "heldout")]
    assert golds[0] == golds[1] and len(set(golds[0])) == 2 and min(golds[0]) >= 0
    with pytest.raises(UserError, match="train.jsonl, line 1: no key 'label'"):
        reading(
            name, {"train.jsonl": json_lines({k: x for k, x in record.items() if k != "label"}), "val.jsonl": lines}
        )


def test_examples_of_glues_rte_have_labels(reading):
    lines = "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tnot_entailment\n1\tC.\tD.\tentailment\n"
    records = reading("rte", {"train.tsv": lines, "dev.tsv": lines})
    shown = [solved(PROMPTED["rte"].prompts["gpt3"].item(record))[-6:] for record in records["train"]]
    assert shown == [" False", ": True"]


def test_a_last_word_in_a_line_of_its_own(reading):
    records = reading("lambada", {"lambada_test.jsonl": json_lines({"text": "Go,\nhe said to\nBob"})})["heldout"]
    items = {name: PROMPTED["lambada"].prompts[name].item(records[0]) for name in ("last_word", "gpt3")}
    assert items["last_word"].pairs == [("Go,\nhe said to", "\nBob")]
    assert items["gpt3"].pairs == [("Go,\nhe said to ____. ->", " Bob")]


def test_wsc_shows_only_examples_whose_noun_is_right(reading):
    other = WSC | {"label": False}
    records = reading("wsc", {"train.jsonl": json_lines(WSC, other), "val.jsonl": json_lines(WSC, other)})
    prompt = PROMPTED["wsc"].prompts["gpt3"]
    assert [len(list(filter(prompt.shows, records["train"]))), len(records["heldout"])] == [1, 2]
    items = [prompt.item(record) for record in records["heldout"]]
    assert [one.gold for one in items] == [1, 0] and all(solved(one).endswith("Answer: mark") for one in items)


# Name -> task, its files, and words of the one line that says what is wrong and where.
FAULTS = {
    "no-file": ("piqa", {}, ["valid.jsonl", "get the files from https://yonatanbisk.com"]),
    "not-in-tfds": ("wikitext2", {}, ["wiki.test.tokens", "get the files"]),
    "lambada-one-word": ("lambada", {"lambada_test.jsonl": json_lines({"text": "a b"}, {"text": "word"})},
                         ["lambada_test.jsonl, line 2", "no last word"]),
    "lambada-no-text": ("lambada", {"lambada_test.jsonl": json_lines({"words": 1})}, ["line 1", "no key 'text'"]),
    "cbt-order": ("cbt_cn", {"cbtest_CN_valid_2000ex.txt": "1 A .\n3 B .\n"}, ["line 2", "number 2 should be"]),
    "cbt-cells": ("cbt_cn", {"cbtest_CN_valid_2000ex.txt": BOOK.replace("\tking\t", "")}, ["line 21", "2 cells"]),
    "cbt-end": ("cbt_cn", {"cbtest_CN_valid_2000ex.txt": "1 A .\n"}, ["ends within a block, after sentence 1"]),
    "cbt-answer": ("cbt_cn", {"cbtest_CN_valid_2000ex.txt": BOOK.replace("|king", "")}, ["line 21", "not among"]),
    "cbt-blank": ("cbt_cn", {"cbtest_CN_valid_2000ex.txt": BOOK.replace("XXXXX", "X")}, ["line 21", "no XXXXX"]),
    "text-empty": ("ptb", {"ptb.test.txt": " \n"}, ["ptb.test.txt", "no text"]),
    "xml": ("winograd", {"WSCollection.xml": "<collection>"}, ["WSCollection.xml", "not XML"]),
    "xml-part": ("winograd", {"WSCollection.xml": SCHEMA.replace("pron>", "p>")}, ["schema 1", "no text/pron"]),
    "xml-answers": ("winograd", {"WSCollection.xml": SCHEMA.replace("A.", "C.")}, ["schema 1", "two are needed"]),
    "xml-bomb": ("winograd", {"WSCollection.xml": BOMB}, ["WSCollection.xml", "not XML"]),
    "xml-encoding": ("winograd", {"WSCollection.xml": '<?xml version="1.0" encoding="utf-7"?>' + SCHEMA}, ["not XML"]),
    "dprd-lines": ("dprd", {"test.c.txt": PRONOUN + "A.\n\n"}, ["test.c.txt, line 6", "four lines"]),
    "dprd-answer": ("dprd", {"test.c.txt": PRONOUN.replace("\nthe sheep", "\nsheep")}, ["line 1", "'sheep' is right of"]),
    "dprd-pronoun": ("dprd", {"test.c.txt": PRONOUN.replace("\nThey", "\nThe")}, ["line 1", "pronoun 'The' is not in"]),
    "empty": ("boolq", {"train.jsonl": json_lines(BOOLQ), "val.jsonl": "\n"}, ["val.jsonl has no examples"]),
    "label": ("hellaswag", {"hellaswag_val.jsonl": json_lines({"ctx": "A", "activity_label": "B", "endings": ["c"],
                                                               "label": 1})}, ["line 1", "label is 1", "from 0 to 0"]),
    "null": ("hellaswag", {"hellaswag_val.jsonl": "null\n"},
             ["hellaswag_val.jsonl, line 1", "null is no JSON object"]),
    "ending": ("hellaswag", {"hellaswag_val.jsonl": json_lines({"ctx": "A", "activity_label": "B", "endings": ["c", 4],
                                                                "label": 0})},
               ["line 1", "'endings[1]' is not a string"]),
    "race-options": ("race_high", {"test/high/1.txt": json.dumps(RACE | {"options": ["abcd", "efgh"]})},
                     ["1.txt", "'options[0]' is 'abcd', and should be of type list"]),
    "copa-label": ("copa", {"train.jsonl": json_lines(COPA | {"label": True}), "val.jsonl": ""},
                   ["train.jsonl, line 1", "unknown label True"]),
    "web-object": ("webqs", {"webquestions.examples.test.json": "{}"}, ["test.json: {} is no JSON list"]),
    "trivia-alias": ("triviaqa", {"wikipedia-dev.json": json.dumps({"Data": [
        TRIVIA["Data"][0] | {"Answer": {"Value": "Duchamp", "Aliases": [1]}}]})}, ["question 1", "'Aliases[0]'"]),
    "coqa-others": ("coqa", {"coqa-dev-v1.0.json": json.dumps({"data": [
        COQA["data"][0] | {"additional_answers": [1]}]})}, ["story s1", "'additional_answers' is [1]"]),
    "anli-label": ("anli_r1", {"test.jsonl": json_lines(ANLI | {"label": "x"})}, ["line 1", "unknown label 'x'"]),
    "grande-blank": ("winogrande", {"dev.jsonl": json_lines(GRANDE | {"sentence": "It is."})}, ["line 1", "no _ to fill"]),
    "grande-answer": ("winogrande", {"dev.jsonl": json_lines(GRANDE | {"answer": "3"})}, ["line 1", "unknown label '3'"]),
    "sat-lines": ("sat_analogies", {"SAT-package-V3.txt": SAT.replace("Source\n", "")}, ["line 3", "7 lines"]),
    "sat-pair": ("sat_analogies", {"SAT-package-V3.txt": SAT.replace("balk fortitude v:n", "balk")},
                 ["line 3", "'balk' is no pair"]),
    "sat-letter": ("sat_analogies", {"SAT-package-V3.txt": SAT.replace("\nc\n", "\nf\n")}, ["unknown label 'f'"]),
    "quac-none": ("quac", {"val_v0.2.json": json.dumps(QUAC).replace('[{"text": "Bob", "answer_start": 9}]', "[]")},
                  ["dialogue 1", "no answers"]),
    "drop-none": ("drop", {"drop_dataset_dev.json": json.dumps(DROP).replace('"May"', '""').replace('"1625"', '""')},
                  ["passage nfl_1", "no answers"]),
    "drop-spans": ("drop", {"drop_dataset_dev.json": json.dumps(DROP).replace('["4 yards", "Bob"]', "[1]")},
                   ["passage nfl_1", "'spans[0]'"]),
    "drop-answer": ("drop", {"drop_dataset_dev.json": json.dumps(DROP).replace('"validated_answers": [', '"validated_answers": [5, ')},
                    ["passage nfl_1", "'answer' is 5"]),
    "record-answer": ("record", {"val.jsonl": json_lines(RECORD).replace('"Anna"', '"Eve"')},
                      ["line 1", "no answer is among the entities"]),
    "record-place": ("record", {"val.jsonl": json_lines(RECORD).replace('"start": 9', '"start": "a"')},
                     ["line 1", "'start' is 'a'"]),
    "multirc-label": ("multirc", {f"{name}.jsonl": json_lines(MULTIRC).replace(', "label": 0', "", 1)
                                  for name in ("train", "val")}, ["line 1", "no key 'label'"]),
    "no-story": ("cnn_dailymail", {"test/1.txt": ""}, ["there is no .story file in"]),
    "piqa-labels": ("piqa", {"valid.jsonl": json_lines({"goal": "", "sol1": "", "sol2": ""})}, ["valid-labels.lst"]),
    "piqa-label": ("piqa", {"valid.jsonl": json_lines({"goal": "", "sol1": "", "sol2": ""}), "valid-labels.lst": "1\n2\n"},
                   ["valid-labels.lst, line 2", "label is '2'"]),
    "coqa-id": ("coqa", {"coqa-dev-v1.0.json": json.dumps({"data": [COQA["data"][0] | {"id": "x\n" * 9000, "answers": []}]})},
                ["story x\\nx\\n", "..."]),
    "arc-labels": ("arc_easy", {"ARC-Easy-Test.jsonl": json_lines(ARC | {"answerKey": "E" * 9000, "question": {
        "stem": "?", "choices": [{"text": "a", "label": "x" * 9000}] * 900}})}, ["line 1", "not among the labels xxx"]),
    "piqa-count": ("piqa", {"valid.jsonl": "{}\n", "valid-labels.lst": "0\n1\n"}, ["2 labels for 1 lines"]),
    "arc-key": ("arc_easy", {"ARC-Easy-Test.jsonl": json_lines(ARC | {"answerKey": "E"})},
                ["line 1", "'E'", "1, 2, 3"]),
    "race-count": ("race_high", {"test/high/1.txt": json.dumps(RACE | {"answers": ["A"]})},
                   ["2 questions", "1 answers"]),
    "wic-label": ("wic", {"train.jsonl": json_lines(WIC | {"label": "no"}), "val.jsonl": ""},
                  ["train.jsonl, line 1", "'no'"]),
    "coqa-count": ("coqa", {"coqa-dev-v1.0.json": json.dumps({"data": [COQA["data"][0] | {"answers": []}]})},
                   ["story s1", "2 questions, and 0, 2 answers"]),
    "web-none": ("webqs", {"webquestions.examples.test.json": json.dumps([WEB[0] | {"targetValue": "(list)"}])},
                 ["question 1", "no answers"]),
    "translation": ("en_fr", {"test.en": "A\nB\n", "test.fr": "A\n"}, ["test.en, line 2", "2 lines", "test.fr has 1"]),
    "no-translation": ("en_fr", {"test.en": "A\n"}, ["no file", "test.fr"]),
    "empty-translation": ("en_fr", {"test.en": "A\n", "test.fr": " \n"}, ["test.en, line 1", "empty"]),
    "story": ("cnn_dailymail", {"test/1.story": "It rained.\n"}, ["1.story", "no highlights"]),
    "released": ("2D+", {}, ["two_digit_addition.jsonl", "leave the folder out"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_one_line(reading, fault):
    name, files, words = FAULTS[fault]
    with pytest.raises(UserError) as error:
        reading(name, files)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words) and len(message) < 800, message


def test_what_is_left_out_is_told(reading, capsys):
    assert len(reading("cnn_dailymail", {"test/1.story": "A.\n@highlight\nB", "test/2.txt": ""})["heldout"]) == 1
    told = capsys.readouterr().out
    assert "2.txt" in told
    assert told.startswith("cnn_dailymail, heldout: left out: 1 files that do not end in .story (the first: ")


def test_a_set_of_tensorflow_datasets_that_is_not_there_says_how_to_build_it(tmp_path):
    with pytest.raises(UserError, match="hellaswag is not in .*tfds build hellaswag"):
        tasks.records("hellaswag", Source(root=str(tmp_path)))


def mend(record):
    """A mocked record with labels, places and answers that are possible."""
    if isinstance(record, dict):
        if "pronoun_start" in record or "endings" in record:
            record["label"] = 1
        if "pronoun_start" in record:
            record |= {"pronoun_start": 0, "pronoun_text": record["text"][:1]}
        if "plausible_answers" in record:
            record |= {"is_impossible": True, "answers": {"text": [], "answer_start": []}}
        if "story" in record:
            record |= {"questions": ["Who?", "Whom?"], "answers": {"input_text": ["Anna", "Bob"]}}
        if "options" in record:
            record |= {"questions": ["Who?"], "options": [["a", "b", "c", "d"]], "answers": ["B"]}
        if "hypothesis" in record:
            record["label"] = "c"
        if "option1" in record and "sentence" in record:
            record |= {"sentence": "It is _ here.", "label": "2"}
        if "answerKey" in record and "choices" in record:
            record["choices"]["label"][0] = record["answerKey"]
    return record


TFDS = ["lambada", "1bw", "winograd", "hellaswag", "piqa", "arc_easy", "openbookqa", "race_high", "squad2", "coqa",
        "triviaqa_unfiltered", "naturalqs", "webqs", "anli_r2", "winogrande", "quac", "drop", "fr_en", "en_ro", "cnn_dailymail"]  # fmt: skip


@pytest.mark.parametrize("name", TFDS)
def test_tensorflow_datasets_are_read_by_name(name, monkeypatch, mock_sets):
    """Records of the right types and random content, as `tfds.testing` makes them."""
    monkeypatch.setattr(datasets, "_plain", lambda record, plain=datasets._plain: mend(plain(record)))
    with mock_sets(4):
        records = tasks.records(name, Source())
    assert len(records["heldout"]) == (8 if name == "coqa" else 4)
    for prompt in PROMPTED[name].prompts.values():
        assert all(isinstance(prompt.item(record), Item) for record in records["heldout"])


ANSWERS = {"2D+": lambda a, b: a + b, "3D-": lambda a, b: a - b, "2Dx": lambda a, b: a * b}
WORDS = {"2D+": ("plus", 100), "3D-": ("minus", 1000), "2Dx": ("times", 100)}


@pytest.mark.parametrize("name", ANSWERS)
def test_arithmetic(name):
    splits = tasks.records(name, Source())
    assert [len(splits["train"]), len(splits["heldout"])] == [2000, 2000]
    asked = {record["context"] for split in splits.values() for record in split}
    assert len(asked) == 4000
    numbers = []
    word, top = WORDS[name]
    for record in splits["heldout"]:
        a, b = record["context"].removeprefix("Q: What is ").removesuffix("?\n\nA:").split(f" {word} ")
        assert record["completion"] == str(ANSWERS[name](int(a), int(b)))
        numbers += [int(a), int(b)]
    assert 0 <= min(numbers) < top * 0.01 and top * 0.99 <= max(numbers) < top
    assert np.mean(numbers) == pytest.approx(top / 2, rel=0.05)


def test_three_numbers_in_parentheses():
    signs = set()
    for record in tasks.records("1DC", Source())["heldout"]:
        asked = record["context"].removeprefix("Q: What is ").removesuffix("?\n\nA:")
        assert asked[0] == "(" and asked[6] == ")" and len(asked) == 11
        assert record["completion"] == str(eval(asked))  # our own digits and signs
        signs |= {asked[3], asked[8]}
    assert signs == set("+-*")


SCRAMBLED = {
    "CL": lambda given, word: given in (word + word) and len(given) == len(word),
    "A1": lambda given, word: given[0] == word[0] and given[-1] == word[-1] and sorted(given) == sorted(word),
    "A2": lambda given, word: given[:2] == word[:2] and given[-2:] == word[-2:] and sorted(given) == sorted(word),
    "RI": lambda given, word: given[::2] == word and not any(c.isalnum() for c in given[1::2]),
    "RW": lambda given, word: given[::-1] == word,
}


@pytest.mark.parametrize("name", SCRAMBLED)
def test_scrambled_words(reading, name):
    text = "Volkswagen volkswagen reciprocal reciprocal reciprocal level four inconsequentially casino 12345 breaks"
    records = reading(name, {"words.txt": text})["heldout"]
    assert records == reading(name, {"words.txt": text})["heldout"]
    words = [record["completion"] for record in records]
    assert words == [word for word in ("reciprocal", "volkswagen", "breaks", "casino", "level") if word in words]
    assert words[:2] == ["reciprocal", "volkswagen"]
    for record in records:
        given = record["context"].removesuffix(" =")
        assert given != record["completion"] and SCRAMBLED[name](given, record["completion"])


@pytest.fixture(scope="module")
def articles(data_root):
    return {name: tasks.records(name, Source(root=data_root, heldout=0.1, max_documents=300)) for name in NO_FILES}


def test_articles_that_are_asked_are_held_out_of_training(articles, smoke_config):
    config = smoke_config(("task.name", "topics"), ("data.heldout", 0.1), ("data.max_documents", 300))
    expected = tasks.read(config)
    for split in ("train", "heldout"):
        examples, records = expected.splits[split], articles["topic"][split]
        assert [record["topic"] for record in records] == [expected.labels[one.label] for one in examples]
        assert [record["text"] for record in records[:20]] == [
            tokens.split_sentences(one.text)[0] for one in examples[:20]
        ]


def test_articles_are_asked_for_their_topic_and_title(articles):
    record = articles["topic"]["heldout"][0]
    item = PROMPTED["topic"].prompts["sum"].item(record)
    assert item.context == f"{record['text']}\nTopic:" and item.targets[item.gold] == f" {record['topic']}"
    record = articles["title"]["heldout"][0]
    title, text = (PROMPTED["title"].prompts[name].item(record) for name in ("title", "text"))
    assert title.context == f"{record['text']}\nTitle:" and title.targets[title.gold] == f" {record['title']}"
    assert text.context == f"Title: {record['title']}\nText:" and text.targets[text.gold] == f" {record['text']}"
    golds = [record["gold"] for record in articles["title"]["train"]]
    assert set(golds) == {0, 1, 2, 3} and all(len(set(one["choices"])) == 4 for one in articles["title"]["train"])
