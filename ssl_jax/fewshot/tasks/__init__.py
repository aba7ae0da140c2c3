"""The tasks of GPT-2's and GPT-3's evaluations, by name.

    articles.py     topic title, of the demo corpus
    generated.py    2D+ 2D- 3D+ 3D- 4D+ 4D- 5D+ 5D- 2Dx 1DC CL A1 A2 RI RW, made here
    language.py     lambada cbt_cn cbt_ne wikitext2 wikitext103 ptb 1bw enwik8 text8
    choices.py      winograd hellaswag storycloze piqa arc_easy arc_challenge openbookqa race_middle race_high copa
    classes.py      boolq cb rte wic wsc
    answers.py      squad2 coqa triviaqa naturalqs webqs
    writing.py      en_fr fr_en en_de de_en en_ro ro_en cnn_dailymail

The first two need no files. All others are published sets, read from their own files in Source.folder, or, without a
folder, from Source.root/tfds, where TensorFlow Datasets put them.
"""

from ssl_jax.fewshot.tasks import answers, articles, choices, classes, generated, language, writing

TASKS = {}
for _family in (articles, generated, language, choices, classes, answers, writing):
    TASKS |= _family.TASKS
