"""Zero-, one- and few-shot evaluation: tasks as data, which know nothing of models.

    items.py          what a task, a protocol and an item are
    tasks/            the tasks, by family
    prompts.py        which examples are shown, and the text they make
    detokenizers.py   GPT-2's invertible de-tokenizers
    scores.py         what answers are measured by
"""
