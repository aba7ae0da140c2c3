"""The demos: recipes of our own for five minutes on two CPU cores, to show that the machinery learns.

    make demo PAPER=bert

Each changes its paper's config (`common.finish`). docs/demos.md has what they print and what was tried.
"""

COMMON = {
    "batch_size": 16,
    "phases.lengths": (64,),
    "phases.shares": (1.0,),
    "model.max_positions": 64,
    "model.dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.embedding_range": 0.05,
    "data.tokenizer.vocab_size": 4096,
    "data.heldout": 0.03,
}

BERT = COMMON | {
    "steps": 5500,
    "model.norm": "pre",
    "model.final_norm": True,
    "model.neighbours": (-1, 1, -2, 2),
    "corruption.rate": 0.4,
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup": 100,
    "optimizer.b2": 0.98,
}

GPT1 = COMMON | {
    "steps": 4500,
    "model.neighbours": (0, -1, -2, -3),
    "optimizer.learning_rate": 1e-3,
    "optimizer.warmup": 200,
}

GPT2 = COMMON | {
    "steps": 4500,
    "model.neighbours": (0, -1, -2, -3),
    "optimizer.warmup": 100,
}

GPT3 = COMMON | {
    "steps": 4500,
    "ramp.start": 4,
    "ramp.share": 0.05,
    "model.neighbours": (0, -1, -2, -3),
    "model.local_window": 16,
    "optimizer.warmup": 0.02,
}
# Its context has room for examples.
GPT3_FEW = GPT3 | {
    "steps": 2000,
    "batch_size": 8,
    "phases.lengths": (256,),
    "model.max_positions": 256,
    "model.local_window": 64,
}

ALBERT = COMMON | {
    "steps": 4500,
    "model.neighbours": (-1, 1, -2, 2),
    "model.embedding_size": 0,
    "model.norm": "pre",
    "model.final_norm": True,
    "corruption.rate": 0.4,
    "optimizer.name": "bert_adam",
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup": 100,
    "optimizer.b2": 0.98,
}

ELECTRA = COMMON | {
    "steps": 2200,
    "model.norm": "pre",
    "model.final_norm": True,
    "model.neighbours": (-1, 1, -2, 2),
    "generator.size": 1.0,
    "generator.tying": "all",
    "losses.rtd": 5.0,
    "corruption.rate": 0.4,
    "corruption.max_predictions": 64,  # the length: no limit
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup": 100,
    "optimizer.b2": 0.98,
}

# Tasks as questions: those of the demo corpus and those composed for it.
DECANLP = {
    "steps": 900,
    "questions.tasks": ("topics", "titles", "dialogue"),
    "mixture.sampling": "weights",
    "mixture.weights": (1.0, 1.0, 2.0),
    # One shape, which is compiled once.
    "questions.lengths": (64,),
    "questions.question_lengths": (40,),
    "questions.tokens": 2048,
    "questions.multiple": 32,
    "data.tokenizer.vocab_size": 12_000,
    "data.heldout": 0.03,
    "model.layers": 1,
    "model.hidden_size": 64,
    "model.heads": 2,
    "model.ffn_size": 64,
    "model.max_positions": 64,
    "model.dropout": 0.1,
    "mqan.generative": 2000,
    "mqan.vector_size": 64,
    "mqan.coattention_dropout": 0.1,
    "optimizer.learning_rate": 4e-3,
    "optimizer.warmup": 100.0,
    "evals.heldout.max_length": 12,
}

# Students: all that their teacher's demo has, and
DISTILBERT = BERT | {
    "steps": 800,
    "corruption.frequency_smoothing": 0.0,  # the loss is compared with that of students and teachers masked evenly
    "teacher.runs": ("runs/demo-bert",),
    "optimizer.warmup": 100,
}

TINYBERT = BERT | {
    "steps": 500,
    "corruption.rate": 0.0,
    "data.unlabelled": "segments",  # as docs/demos.md was measured: adjacent segments
    "teacher.runs": ("runs/demo-bert",),
    "teacher.hidden_size": 128,
    "optimizer.warmup": 0.1,
}

# Any paper's demo, fine-tuned: keeps its batch and rate.
FINETUNE = {
    "batch_size": 16,
    "optimizer.learning_rate": 5e-4,
}
