"""The tasks of GPT-2's and GPT-3's evaluations, by name.

    articles.py     topic title, of the demo corpus
    generated.py    2D+ 2D- 3D+ 3D- 4D+ 4D- 5D+ 5D- 2Dx 1DC CL A1 A2 RI RW, made here
"""

from ssl_jax.fewshot.tasks import articles, generated

TASKS = {}
for _family in (articles, generated):
    TASKS |= _family.TASKS
