"""The options of tasks."""

import dataclasses

from ssl_jax.models.spec import ACTIVATIONS, FEATURES, INITIALIZERS
from ssl_jax.options import ABOVE_0, BOOL, DEEPEST, TEXT, WIDEST, number, one_of, option, several, whole

# How texts are put together, `task.inputs`: 'bert' [CLS] A [SEP] B [SEP]; 'gpt1' as GPT-1's section 3.3, unordered
# pairs in both orders and questions with their contexts; 'doubled' as 'bert', each pair of the training examples
# a second time in the other order (`double_unordered` in ELECTRA's release).
INPUTS = ("bert", "gpt1", "doubled")
# What a row of words has, `task.context`: its sentence, or also as much of its document on both sides as fits.
CONTEXTS = ("sentence", "document")


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """What a model is fine-tuned on; read where data.examples is 'task'."""

    BLOCK = "task"

    name: str = option("topics", TEXT, "one of TASKS")
    folder: str = option("", TEXT, "where the task's files are; empty: TensorFlow Datasets' are in data.root/tfds")
    fields: tuple = option(
        (),
        several(str),
        "What the files of task 'jsonl' call text, text2 and label, where not that: 'text=sentence', 'label=gold'.",
    )
    augmented: str = option("", TEXT, "a .jsonl whose examples take the place of those trained on")
    epochs: float = option(0.0, number(0), "passes over the examples, which set `steps`; 0: `steps` says how long")
    classes: int = option(0, whole(0, WIDEST), "how many labels there are, 1 of a regression; filled in by the run")
    labels: tuple = option((), several(str), "their names; filled in by the run")
    inputs: str = option("bert", one_of(*INPUTS), "how texts are put together, one of INPUTS: 'gpt1', 'doubled'")
    context: str = option(
        "sentence", one_of(*CONTEXTS), "what is read of token labels: 'document' fills rows with neighbouring sentences"
    )
    orders: int = option(1, whole(1, 2), "how many a pair is read in at once; filled in by the run")
    scale: float = option(
        1.0, ABOVE_0, "the loss of a regression divides scores by it; what is reported has their own units"
    )
    stride: int = option(128, whole(1), "tokens from one window of a context to the next (spans)")
    max_question: int = option(64, whole(1), "tokens of a question, which is cut there (spans)")
    n_best: int = option(
        20,
        whole(1),
        "Spans: the likeliest first and last tokens of a window that are combined; of losses.joint_span the beam.",
    )
    joint_span: str = option("electra", one_of("electra", "albert"), "whose layers losses.joint_span has")
    max_answer: int = option(30, whole(1), "tokens of an answer (spans)")
    activation: str = option(
        "none", one_of(*ACTIVATIONS), "of the pooled vector, before the classes are read from it; 'relu' and so on"
    )
    bias: bool = option(True, BOOL, "added to the classes")
    initializer: str = option(
        "matrices", one_of(*INITIALIZERS), "of the classes' kernel: 'matrices' (as the trunk's) or 'glorot_uniform'"
    )
    statistic: str = option("median", one_of("mean", "median", "best"), "which of several seeds the paper reports")
    dropout: float = option(
        -1.0,
        number(high=1, below=True),
        "before the classes or spans, but ELECTRA's joint_span; below 0: model.dropout",
    )
    share_dropout: bool = option(False, BOOL, "all choices of an example have one mask of it")
    language_mean: str = option(
        "tokens", one_of("tokens", "sequences"), "losses.clm is a mean over these; a sequence's is its tokens' mean"
    )
    features: str = option(
        "", one_of(*FEATURES), "what heads read of each token, one of FEATURES; '': the trunk's output"
    )
    lstm: int = option(0, whole(0, DEEPEST), "bidirectional LSTMs between that and the heads")
    lstm_size: int = option(768, whole(1, WIDEST), "their width, in each direction")
