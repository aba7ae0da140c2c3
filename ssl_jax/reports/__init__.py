"""What finished and unfinished runs say: the report of a sweep or of any run folders, and few-shot figures.

study.py reads the folders, measure.py compares rows, text.py and page.py write; fewshot.py draws GPT-3's figures.
"""
