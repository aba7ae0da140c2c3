"""MQAN in plain jnp, one example, word and head at a time, to be read against decaNLP's release (models/).

Each example is read at its own length, so there is no padding and no mask. Parameters are flat: 'read/dense/kernel'.
`rows` are the release's classes: 0 PointerGenerator, 1 SelfAttentive-, 2 CoattentivePointerGenerator, 3
MultitaskQuestionAnsweringNetwork.
"""

import math

import jax.numpy as jnp
import numpy as np

UNKNOWN, START, EPSILON = 1, 2, 1e-10


def under(params, prefix):
    return {name[len(prefix) + 1 :]: p for name, p in params.items() if name.startswith(f"{prefix}/")}


def softmax(x):
    shares = jnp.exp(x - x.max())
    return shares / shares.sum()


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def lstm_step(p, x, h, c):
    """torch's nn.LSTMCell."""
    gates = x @ p["input_kernel"] + p["input_bias"] + h @ p["recurrent_kernel"] + p["recurrent_bias"]
    i, f, g, o = (gates[len(h) * n : len(h) * (n + 1)] for n in range(4))
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def bilstm(p, xs):
    """[S, F] to [S, H], and the last h and c of both directions, [H] each."""
    both, last = [], []
    for direction in range(2):
        own = {name: x[direction] for name, x in p.items()}
        h = c = jnp.zeros(own["recurrent_kernel"].shape[0])
        states = []
        for x in xs if direction == 0 else xs[::-1]:
            h, c = lstm_step(own, x, h, c)
            states.append(h)
        both.append(jnp.stack(states if direction == 0 else states[::-1]))
        last.append((h, c))
    (h, c), (backward_h, backward_c) = last
    return jnp.concatenate(both, axis=1), jnp.concatenate([h, backward_h]), jnp.concatenate([c, backward_c])


def norm(p, x):
    """common.py, LayerNorm; torch's std is a sample's."""
    mean, sd = x.mean(-1, keepdims=True), x.std(-1, ddof=1, keepdims=True)
    return p["scale"] * (x - mean) / (sd + 1e-6) + p["bias"]


def multi_head(p, x, memory, heads, causal=False):
    """common.py, MultiHead: all of a word's query, key and value, then torch.chunk."""
    width = x.shape[1]
    size = math.ceil(width / heads)
    query, key, value = x @ p["query"], memory @ p["key"], memory @ p["value"]
    rows = []
    for t in range(len(x)):
        seen = t + 1 if causal else len(memory)
        parts = []
        for start in range(0, width, size):
            head = slice(start, start + size)
            scores = jnp.stack([query[t, head] @ key[s, head] for s in range(seen)])
            shares = softmax(scores / math.sqrt(width))
            parts.append(sum(shares[s] * value[s, head] for s in range(seen)))
        rows.append(jnp.concatenate(parts))
    return jnp.stack(rows)


def layer(p, x, heads, context=None):
    """common.py, TransformerEncoderLayer, or with a context TransformerDecoderLayer."""
    y = multi_head(under(p, "attention"), x, x, heads, causal=context is not None)
    x = norm(under(p, "attention_norm"), x + y)
    if context is not None:
        x = norm(under(p, "cross_norm"), x + multi_head(under(p, "cross"), x, context, heads))
    y = dense(under(p, "outer"), jnp.maximum(dense(under(p, "inner/dense"), x), 0))
    return norm(under(p, "outer_norm"), x + y)


def positions(length, width):
    """common.py, positional_encodings_like."""
    made = np.zeros((length, width))
    for t in range(length):
        for channel in range(width):
            if channel % 2 == 0:
                made[t, channel] = math.sin(t / 10000 ** (channel / width))
            else:
                made[t, channel] = math.cos(t / 10000 ** ((channel - 1) / width))
    return made


def coattention(p, context, question):
    """common.py, CoattentiveLayer."""
    context = jnp.concatenate([p["sentinels"][:1], context])
    question = jnp.tanh(dense(under(p, "projection"), jnp.concatenate([p["sentinels"][1:], question])))
    affinity = context @ question.T
    over_context = [softmax(affinity[:, q]) for q in range(len(question))]
    over_question = [softmax(affinity[c]) for c in range(len(context))]
    of_context = jnp.stack([shares @ context for shares in over_context])
    of_question = jnp.stack([shares @ question for shares in over_question])
    for_context = jnp.stack([shares @ of_context for shares in over_question])
    for_question = jnp.stack([shares @ of_question for shares in over_context])
    pair = jnp.concatenate([for_context, of_question], 1)[1:], jnp.concatenate([for_question, of_context], 1)[1:]
    return pair


def pointed(kernel, state, memory):
    """common.py, LSTMDecoderAttention with dot=True."""
    attention = softmax(memory @ state) + EPSILON
    return jnp.tanh(jnp.concatenate([state, attention @ memory]) @ kernel), attention


def embed(params, ids):
    known = len(params["vectors"])
    return params["vectors"][np.array([i if i < known else UNKNOWN for i in ids])]


def distributions(params, example, row=3, heads=3, layers=2, extra=0):
    """The shares of all ids after each word of an answer but its last: [A, V + extra].

    Args:
      params: flat.
      example: lists of ids `context`, `question`, `answer`; with context vectors also `context_cove`, `question_cove`.
      row: of the release's classes.
      extra: how many ids there are for words without vectors.
    """
    context, question = embed(params, example["context"]), embed(params, example["question"])
    if "context_cove" in example:
        context = jnp.concatenate([example["context_cove"], context], 1)
        question = jnp.concatenate([example["question_cove"], question], 1)
    places = list(example["context"])
    if row < 2:  # batch.context_question
        context, places = jnp.concatenate([context, question]), places + list(example["question"])
    context = dense(under(params, "read/dense"), context)
    states, h, c = bilstm(under(params, "first_lstm"), context)
    parts = {"context": [states, context]}
    if row >= 2:
        question = dense(under(params, "read/dense"), question)
        asked = bilstm(under(params, "first_lstm"), question)[0]
        seen = coattention(under(params, "coattention"), states, asked)
        parts = {"context": [seen[0], states, context], "question": [seen[1], asked, question]}
    finals, attended = {"context": states}, []
    for name in ("context", "question")[: {0: 0, 3: 2}.get(row, 1)]:
        x, _, _ = bilstm(under(params, f"{name}_lstm"), jnp.concatenate(parts[name], 1))
        for number in range(layers):
            x = layer(under(params, f"{name}_encoder/layer_{number}"), x, heads)
            if name == "context":
                attended.append(x)
        finals[name], *last = bilstm(under(params, f"{name}_last_lstm"), x)
        if name == "context":
            h, c = last
    x = dense(under(params, "write/dense"), embed(params, example["answer"][:-1]))
    if row > 0:
        x = x + positions(*x.shape)
        for number in range(layers):
            x = layer(under(params, f"decoder_{number}"), x, heads, attended[number])
    pointer, output, rows = under(params, "pointer"), jnp.zeros(x.shape[1]), []
    for word in x:
        fed = jnp.concatenate([word, output])
        h, c = lstm_step(pointer, fed, h, c)
        output, attention = pointed(pointer["context_kernel"], h, finals["context"])
        generate = sigmoid(dense(under(pointer, "vocabulary_switch/dense"), jnp.concatenate([h, output, fed])))[0]
        generated = softmax(dense(under(params, "output"), output))
        least = 0.0 if row == 3 else EPSILON * (1 - generate)
        shares = [generate * share + least for share in generated]
        shares += [EPSILON + least] * (len(params["vectors"]) + extra - len(shares))
        copied = [(place, (1 - generate) * share) for place, share in zip(places, attention, strict=True)]
        if row == 3:
            answer, attention = pointed(pointer["question_kernel"], h, finals["question"])
            side = sigmoid(dense(under(pointer, "context_switch/dense"), jnp.concatenate([h, answer, fed])))[0]
            copied = [(place, side * share) for place, share in copied]
            asked = zip(example["question"], attention, strict=True)
            copied += [(place, (1 - side) * (1 - generate) * share) for place, share in asked]
        for place, share in copied:
            shares[place] = shares[place] + share
        rows.append(jnp.stack(shares))
    return jnp.stack(rows)


def loss(params, examples, **how):
    """The mean over all words of all answers, END included (F.nll_loss over what is not padding)."""
    terms = []
    for example in examples:
        shares = distributions(params, example, **how)
        terms += [-jnp.log(shares[t, word]) for t, word in enumerate(example["answer"][1:])]
    return sum(terms) / len(terms)


def learning_rate(step, width=200, warmup=800):
    """train.py, get_learning_rate; its first iteration is 1."""
    i = step + 1
    return 1 / math.sqrt(width) * min(1 / math.sqrt(i), i / (warmup * math.sqrt(warmup)))


def clip(gradients, most=1.0):
    """torch.nn.utils.clip_grad_norm_."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    return {name: g * min(1.0, most / (norm + 1e-6)) for name, g in gradients.items()}


def adam_step(params, gradients, m, v, done, rate, b1=0.9, b2=0.98, epsilon=1e-9):
    """torch.optim.Adam, after `clip`."""
    gradients, new = clip(gradients), {}
    for name, p in params.items():
        m[name] = b1 * m[name] + (1 - b1) * gradients[name]
        v[name] = b2 * v[name] + (1 - b2) * gradients[name] ** 2
        mean, square = m[name] / (1 - b1 ** (done + 1)), v[name] / (1 - b2 ** (done + 1))
        new[name] = p - rate * mean / (np.sqrt(square) + epsilon)
    return new
