"""Maps `transformers` names to ours: config.json keys to our fields, classes to our heads.

`ssl_jax/interop/names.py` has the tensor names. A new family needs an entry here and there.
"""

from typing import NamedTuple

# Their activations -> ours. GPT-1's config calls the tanh form "gelu", which all others call "gelu_new".
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_python": "gelu",
               "relu": "relu", "tanh": "tanh"}  # fmt: skip
GPT1_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}
# Google's BERT and ALBERT (modeling.py, get_activation).
GOOGLE_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "tanh": "tanh", "linear": "none"}


class Family(NamedTuple):
    """One `model_type`.

    Attributes:
      trunk: fixed properties of its trunk, whatever its config.json says, as fields of TransformerConfig.
      fields: ours -> their key in config.json, and their default for a missing key.
      needs: keys -> the only value we support.
      dropouts: keys of further dropout rates: of the embeddings `dropout` here, the others of the heads.
      classes: heads -> their class.
      pooler: our pooler that their whole-text classes use.
    """

    trunk: dict
    fields: dict
    needs: dict
    dropouts: tuple[str, ...]
    classes: dict
    pooler: str


def _fields(names, defaults):
    return {ours: (theirs, defaults.get(ours)) for ours, theirs in names.items()}


def _classes(name):
    """The classes that all encoders have."""
    return {
        (): f"{name}Model",
        ("mlm",): f"{name}ForMaskedLM",
        ("classes",): f"{name}ForSequenceClassification",
        ("choice",): f"{name}ForMultipleChoice",
        ("token_classes",): f"{name}ForTokenClassification",
        ("span",): f"{name}ForQuestionAnswering",
    }


_BERT = dict(
    vocab_size="vocab_size", layers="num_hidden_layers", hidden_size="hidden_size", heads="num_attention_heads",
    ffn_size="intermediate_size", max_positions="max_position_embeddings", type_vocab_size="type_vocab_size",
    norm_epsilon="layer_norm_eps", activation="hidden_act", dropout="hidden_dropout_prob",
    attention_dropout="attention_probs_dropout_prob", initializer_range="initializer_range",
)  # fmt: skip
_BERT_DEFAULTS = dict(
    vocab_size=30522, layers=12, hidden_size=768, heads=12, ffn_size=3072, max_positions=512, type_vocab_size=2,
    norm_epsilon=1e-12, activation="gelu", dropout=0.1, attention_dropout=0.1, initializer_range=0.02,
)  # fmt: skip
_GPT = dict(
    vocab_size="vocab_size", layers="n_layer", hidden_size="n_embd", heads="n_head", max_positions="n_positions",
    norm_epsilon="layer_norm_epsilon", dropout="resid_pdrop", attention_dropout="attn_pdrop",
    initializer_range="initializer_range",
)  # fmt: skip
_GPT_DEFAULTS = dict(
    vocab_size=50257, layers=12, hidden_size=768, heads=12, max_positions=1024, norm_epsilon=1e-5, dropout=0.1,
    attention_dropout=0.1, initializer_range=0.02,
)  # fmt: skip
_ENCODER = dict(norm="post", embedding_norm=True)
_PLAIN = dict(is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
_SUMMARY = dict(summary_type="cls_index", summary_use_proj=True, summary_activation=None)

FAMILIES = {
    "bert": Family(
        trunk=_ENCODER,
        fields=_fields(_BERT, _BERT_DEFAULTS),
        needs=_PLAIN,
        dropouts=(),
        classes=_classes("Bert") | {("mlm", "pair"): "BertForPreTraining", ("pair",): "BertForNextSentencePrediction"},
        pooler="tanh",
    ),
    "albert": Family(
        trunk=_ENCODER | dict(share="all"),
        fields=_fields(
            _BERT | dict(embedding_size="embedding_size", share_groups="num_hidden_groups"),
            _BERT_DEFAULTS
            | dict(vocab_size=30000, embedding_size=128, hidden_size=4096, heads=64, ffn_size=16384, share_groups=1,
                   activation="gelu_new", dropout=0.0, attention_dropout=0.0),
        ),
        needs=_PLAIN | dict(inner_group_num=1),
        dropouts=("classifier_dropout_prob",),
        classes=_classes("Albert") | {("mlm", "pair"): "AlbertForPreTraining"},
        pooler="tanh",
    ),
    "electra": Family(
        trunk=_ENCODER,
        fields=_fields(
            _BERT | dict(embedding_size="embedding_size"),
            _BERT_DEFAULTS | dict(embedding_size=128, hidden_size=256, heads=4, ffn_size=1024),
        ),
        needs=_PLAIN | dict(summary_type="first", summary_use_proj=True, summary_activation="gelu"),
        dropouts=("summary_last_dropout",),
        classes=_classes("Electra") | {("replaced",): "ElectraForPreTraining"},
        pooler="gelu",
    ),
    "distilbert": Family(
        trunk=_ENCODER | dict(type_vocab_size=0, norm_epsilon=1e-12, dropped_sublayers="ffn"),
        fields=_fields(
            dict(
                vocab_size="vocab_size", layers="n_layers", hidden_size="dim", heads="n_heads", ffn_size="hidden_dim",
                max_positions="max_position_embeddings", activation="activation", dropout="dropout",
                attention_dropout="attention_dropout", initializer_range="initializer_range",
            ),
            _BERT_DEFAULTS | dict(layers=6),
        ),
        needs={},
        dropouts=("seq_classif_dropout", "qa_dropout"),
        classes=_classes("DistilBert"),
        pooler="relu",
    ),
    "openai-gpt": Family(
        # Its feed-forward size is not configurable: four times the width.
        trunk=dict(causal=True, norm="post", type_vocab_size=0, ffn_size=0),
        fields=_fields(
            _GPT | dict(activation="afn"), _GPT_DEFAULTS | dict(vocab_size=40478, max_positions=512, activation="gelu")
        ),
        needs=_SUMMARY,
        dropouts=("embd_pdrop", "summary_first_dropout"),
        classes={
            ("clm",): "OpenAIGPTLMHeadModel",
            ("choice", "clm"): "OpenAIGPTDoubleHeadsModel",
            ("classes",): "OpenAIGPTForSequenceClassification",
        },
        pooler="plain",
    ),
    "gpt2": Family(
        trunk=dict(causal=True, norm="pre", final_norm=True, type_vocab_size=0),
        fields=_fields(
            _GPT | dict(activation="activation_function", ffn_size="n_inner"),
            _GPT_DEFAULTS | dict(activation="gelu_new"),
        ),
        needs=dict(add_cross_attention=False, scale_attn_weights=True,
                   scale_attn_by_inverse_layer_idx=False) | _SUMMARY,
        dropouts=("embd_pdrop", "summary_first_dropout"),
        classes={
            ("clm",): "GPT2LMHeadModel",
            ("choice", "clm"): "GPT2DoubleHeadsModel",
            ("classes",): "GPT2ForSequenceClassification",
            ("token_classes",): "GPT2ForTokenClassification",
            ("span",): "GPT2ForQuestionAnswering",
        },
        pooler="plain",
    ),
}  # fmt: skip


def activations(family):
    """Their activation names -> ours."""
    return GPT1_ACTIVATIONS if family == "openai-gpt" else ACTIVATIONS
