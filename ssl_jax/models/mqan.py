"""MQAN, the network of decaNLP (McCann et al. 2018, section 3), and the three networks that it was grown from.

Numbers and places are those of the released code (salesforce/decaNLP at 043ab56c, models/). Its four classes are rows of
three switches: none is PointerGenerator (S2S), `self_attention` SelfAttentivePointerGenerator, with `coattention`
CoattentivePointerGenerator, with `question_pointer` MultitaskQuestionAnsweringNetwork.

Shapes: B examples, C words of context, Q of question, A words of answer with its end, H hidden size, L layers, V words with
vectors, G of them that can be generated, P places to copy from.
Dropout is on if and only if `apply` is given a 'dropout' rng.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ssl_jax.models.spec import COVE_SIZE, MqanOptions
from ssl_jax.models.transformer import Dropout, TransformerConfig

PADDING, UNKNOWN, START, END = range(4)
EPSILON = 1e-10  # added to the attention that copies, and the share of a word that is neither generated nor copied (common.py)
FAR = -1e10  # a masked score (common.py, INF)
LEAST = 1.2e-38  # of float32: the logarithm of a share stays finite


def uniform(bound):
    """torch's initial values: uniform between -bound and bound."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class Linear(nn.Module):
    """torch's nn.Linear: kernel and bias start uniform within 1 / sqrt(inputs)."""

    features: int
    dtype: str
    bias: bool = True

    @nn.compact
    def __call__(self, x):
        start = uniform(x.shape[-1] ** -0.5)
        kernel = self.param("kernel", start, (x.shape[-1], self.features))
        y = x.astype(self.dtype) @ kernel.astype(self.dtype)
        return y + self.param("bias", start, (self.features,)).astype(self.dtype) if self.bias else y


class Feedforward(nn.Module):
    """Dropout, then a dense layer (common.py, Feedforward; its own rate is 0.2 whatever --dropout_ratio is)."""

    config: TransformerConfig
    features: int

    @nn.compact
    def __call__(self, x, index):
        x = Dropout(self.config.dropout)(x, index)
        return Linear(self.features, self.config.dtype, name="dense")(x)


def lstm_cell(gates, c):
    """One step of an LSTM: gates [..., 4H] in torch's order (input, forget, cell, output) and c to (h, c), float32."""
    i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


class BiLSTM(nn.Module):
    """torch's bidirectional nn.LSTM over the real words alone (common.py, PackedLSTM); `width` is that of both directions.

    As cuDNN's, it has two vectors of biases. `read_together` runs it.
    """

    width: int
    dtype: str

    @nn.compact
    def __call__(self, x, mask):
        """Of x [B, S, F] and mask bool [B, S] what the recurrence reads, reversed for the second direction.

        Returns:
          The gates' part of the input, [S, 2, B, 4H], of all steps at once; which words are real, bool [S, 2, B, 1]; and the
          recurrent weights, [2, H, 4H].
        """
        size = self.width // 2
        start = uniform(size**-0.5)
        kernel = self.param("input_kernel", start, (2, x.shape[-1], 4 * size)).astype(self.dtype)
        recurrent = self.param("recurrent_kernel", start, (2, size, 4 * size)).astype(self.dtype)
        bias = sum(self.param(f"{name}_bias", start, (2, 4 * size)) for name in ("input", "recurrent"))
        gates = jnp.einsum("bsf,dfg->sdbg", x.astype(self.dtype), kernel) + bias[:, None].astype(self.dtype)
        gates = jnp.stack([gates[:, 0], gates[::-1, 1]], axis=1)
        return gates, jnp.stack([mask.T, mask.T[::-1]], axis=1)[..., None], recurrent


def read_together(lstms, texts, masks):
    """Runs a BiLSTM over each text in one loop over all of them: steps are few and large.

    Args:
      lstms, texts, masks: N of each: `BiLSTM`, [B, S, F], bool [B, S]; S may differ.

    Returns:
      For each the states, [B, S, width], 0 at padding; and the last (h, c), float32 [B, width].
    """
    read = [lstm(x, mask) for lstm, x, mask in zip(lstms, texts, masks, strict=True)]
    longest = max(mask.shape[1] for mask in masks)

    def padded(x):  # at the end of both directions
        return jnp.pad(x, ((0, longest - len(x)), *[(0, 0)] * (x.ndim - 1)))

    gates, real = (jnp.concatenate([padded(one[place]) for one in read], axis=1) for place in (0, 1))
    recurrent = jnp.concatenate([one[2] for one in read])

    def step(carry, now):
        h, c = carry
        gate, seen = now
        new = lstm_cell(gate + jnp.einsum("dbh,dhg->dbg", h.astype(gate.dtype), recurrent), c)
        # Backwards, padding comes first; it leaves a state as it is, at first 0.
        h, c = (jnp.where(seen, one, other) for one, other in zip(new, carry, strict=True))
        return (h, c), jnp.where(seen, h, 0)

    zeros = jnp.zeros((*gates.shape[1:3], recurrent.shape[1]))
    last, states = lax.scan(step, (zeros, zeros), (gates, real))
    found = []
    for number, mask in enumerate(masks):
        first, second = 2 * number, 2 * number + 1
        own = states[: mask.shape[1]]
        own = jnp.concatenate([own[:, first], own[::-1, second]], axis=-1).swapaxes(0, 1).astype(gates.dtype)
        found.append((own, tuple(jnp.concatenate([x[first], x[second]], axis=-1) for x in last)))
    return found


class Norm(nn.Module):
    """g (x - mean) / (sd + 1e-6) + b, with the sd of a sample, which divides by H - 1 (common.py, LayerNorm)."""

    dtype: str

    @nn.compact
    def __call__(self, x):
        x = x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).sum(-1, keepdims=True) / (x.shape[-1] - 1)
        some = variance > 0  # the root of 0 has no gradient
        sd = jnp.where(some, jnp.sqrt(jnp.where(some, variance, 1)), 0)
        return (scale * centred / (sd + 1e-6) + bias).astype(self.dtype)


class MultiHead(nn.Module):
    """Attention without biases and without an output projection (common.py, MultiHead).

    The width is cut as torch.chunk does it: 200 over three heads is 67, 67 and 66. All heads' scores are divided by the root
    of the whole width.
    """

    config: TransformerConfig

    def setup(self):
        size = self.config.hidden_size
        start = uniform(size**-0.5)
        self.query, self.key, self.value = (self.param(name, start, (size, size)) for name in ("query", "key", "value"))
        self.drop = Dropout(self.config.dropout)

    def memory(self, x):
        """Keys and values of x [B, S, H]: each [B, S, H]."""
        x = x.astype(self.config.dtype)
        return x @ self.key.astype(x.dtype), x @ self.value.astype(x.dtype)

    def __call__(self, x, memory, allowed, index=None):
        """x [B, T, H], the keys and values of S words, and bool [B or 1, T or 1, S], which word sees which: to [B, T, H]."""
        heads, width = self.config.heads, self.config.hidden_size
        size = -(-width // heads)

        def cut(x):  # the last head is filled up with zeros, which add nothing to a score
            x = jnp.pad(x, ((0, 0), (0, 0), (0, heads * size - width)))
            return x.reshape(*x.shape[:2], heads, size)

        x = x.astype(self.config.dtype)
        query, key, value = map(cut, (x @ self.query.astype(x.dtype), *memory))
        scores = jnp.einsum("bqad,bkad->baqk", query, key, preferred_element_type=jnp.float32)
        scores = jax.nn.softmax(jnp.where(allowed[:, None], scores, FAR) / math.sqrt(width))
        scores = self.drop(scores.astype(x.dtype), index)
        mixed = jnp.einsum("baqk,bkad->bqad", scores, value)
        return mixed.reshape(*mixed.shape[:2], -1)[..., :width]


class Layer(nn.Module):
    """A layer of the self-attentive encoder or, with `crosses`, of the decoder, which also attends to the context."""

    config: TransformerConfig
    crosses: bool = False

    def setup(self):
        config = self.config
        self.attention, self.attention_norm = MultiHead(config), Norm(config.dtype)
        if self.crosses:
            self.cross, self.cross_norm = MultiHead(config), Norm(config.dtype)
        self.inner = Feedforward(config, config.ffn_size)
        self.outer = Linear(config.hidden_size, config.dtype)
        self.outer_norm = Norm(config.dtype)
        self.drop = Dropout(config.dropout)

    def __call__(self, x, memory, allowed, index=None, cross=None, context=None):
        """x [B, T, H]; keys, values and what is seen of them for `attention` and, of the context, for `cross`: to [B, T, H]."""
        x = self.attention_norm(x + self.drop(self.attention(x, memory, allowed, index), index))
        if self.crosses:
            x = self.cross_norm(x + self.drop(self.cross(x, cross, context, index), index))
        y = self.outer(jax.nn.relu(self.inner(x, index)))
        return self.outer_norm(x + self.drop(y, index))


class Encoder(nn.Module):
    """The self-attentive encoder (common.py, TransformerEncoder): [B, S, H] to its input and each layer's output, [L + 1]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, mask, index):
        x = Dropout(self.config.dropout)(x, index)
        states = [x]
        for number in range(self.config.layers):
            layer = Layer(self.config, name=f"layer_{number}")
            x = layer(x, layer.attention.memory(x), mask[:, None], index)
            states.append(x)
        return states


def sinusoids(length, width):
    """Positions [length, width]: even columns sin(t / 10000^(i / width)), odd ones the cosine of the column before."""
    column = jnp.arange(width)
    angle = jnp.arange(length)[:, None] / 10000 ** ((column - column % 2) / width)
    return jnp.where(column % 2 == 0, jnp.sin(angle), jnp.cos(angle))


class Coattention(nn.Module):
    """Dual coattention with a learnt sentinel in front of each side (common.py, CoattentiveLayer)."""

    config: TransformerConfig
    dropout: float

    @nn.compact
    def __call__(self, context, question, context_mask, question_mask, index):
        """States [B, C, H] and [B, Q, H] to what each side sees, [B, C, 2H] and [B, Q, 2H]: a summary of a summary, a summary."""
        sentinels = self.param("sentinels", nn.initializers.normal(1.0), (2, context.shape[-1])).astype(context.dtype)
        context = Dropout(self.dropout)(context, index)
        context, question = (
            jnp.concatenate([jnp.broadcast_to(row, (len(x), 1, row.shape[-1])), x], axis=1)
            for row, x in zip(sentinels, (context, question), strict=True)
        )
        context_mask, question_mask = (
            jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True) for mask in (context_mask, question_mask)
        )
        question = jnp.tanh(Linear(question.shape[-1], self.config.dtype, name="projection")(question))
        affinity = jnp.einsum("bch,bqh->bcq", context, question, preferred_element_type=jnp.float32)
        over_context = jax.nn.softmax(jnp.where(context_mask[:, :, None], affinity, FAR), axis=1).astype(context.dtype)
        over_question = jax.nn.softmax(jnp.where(question_mask[:, None], affinity, FAR), axis=2).astype(context.dtype)
        of_context = jnp.einsum("bcq,bch->bqh", over_context, context)
        of_question = jnp.einsum("bcq,bqh->bch", over_question, question)
        for_context = jnp.einsum("bcq,bqh->bch", over_question, of_context)
        for_question = jnp.einsum("bcq,bch->bqh", over_context, of_question)
        both = ((for_context, of_question), (for_question, of_context))
        return tuple(jnp.concatenate(pair, axis=-1)[:, 1:] for pair in both)


def pointed(kernel, state, memory, mask):
    """Dot-product attention that copies (common.py, LSTMDecoderAttention): each state's output and attention.

    Args:
      kernel: [2H, H].
      state: float32 [B, T, H].
      memory, mask: [B, S, H] and bool [B, S].

    Returns:
      float32 [B, T, H] and [B, T, S]; each place of the attention has EPSILON more than its share.
    """
    memory = memory.astype(jnp.float32)
    scores = jnp.einsum("bth,bsh->bts", state, memory)
    attention = jax.nn.softmax(jnp.where(mask[:, None], scores, FAR)) + EPSILON
    mixed = jnp.einsum("bts,bsh->bth", attention, memory)
    return jnp.tanh(jnp.concatenate([state, mixed], axis=-1) @ kernel), attention


class PointerDecoder(nn.Module):
    """An LSTM that is fed its own last output, and points into the context and the question (DualPtrRNNDecoder)."""

    config: TransformerConfig
    question: bool  # whether it points into the question

    def setup(self):
        size = self.config.hidden_size
        start = uniform(size**-0.5)
        self.input_kernel = self.param("input_kernel", start, (2 * size, 4 * size))
        self.recurrent_kernel = self.param("recurrent_kernel", start, (size, 4 * size))
        self.bias = sum(self.param(f"{name}_bias", start, (4 * size,)) for name in ("input", "recurrent"))
        # The release's attention has a layer for its input that dot products leave out; it counts as a parameter.
        for name in ("context", "question")[: 1 + self.question]:
            self.param(f"{name}_input_kernel", start, (size, size))
            kernel = self.param(f"{name}_kernel", uniform((2 * size) ** -0.5), (2 * size, size))
            setattr(self, f"{name}_kernel", kernel)
        self.vocabulary_switch = Feedforward(self.config, 1)
        if self.question:
            self.context_switch = Feedforward(self.config, 1)
        self.drop = Dropout(self.config.dropout)

    def __call__(self, x, memories, carry, index=None):
        """T steps.

        Args:
          x: [B, T, H].
          memories: of the context and, if it is pointed into, the question: states [B, S, H] and bool [B, S].
          carry: the state h, c and the last output, float32 [B, H] each.
          index: see `Dropout`.

        Returns:
          A dict of float32 arrays: `output` [B, T, H]; `generate` [B, T], the share of the vocabulary; `context` [B, T], that
          of the context in what is copied; `attention`, [B, T, S] for each memory; and the carry after T steps.
        """
        x = x.astype(jnp.float32)
        size = x.shape[-1]
        kept = self.drop(jnp.ones((*x.shape[:2], 3, size)), index)
        gates = self.drop(x, index) @ self.input_kernel[:size] + self.bias

        def step(carry, now):
            h, c, fed = carry
            gate, (of_fed, of_input, of_output) = now
            fed = fed * of_fed  # the last output is dropped a second time
            gate += (fed * of_input) @ self.input_kernel[size:] + h @ self.recurrent_kernel
            h, c = lstm_cell(gate, c)
            output, attention = pointed(self.context_kernel, h[:, None], *memories[0])
            return (h, c, output[:, 0] * of_output), (h, fed, output[:, 0], attention[:, 0])

        steps = gates.swapaxes(0, 1), jnp.moveaxis(kept, (1, 2), (0, 1))
        carry, made = lax.scan(step, carry, steps)
        h, fed, output, attention = (y.swapaxes(0, 1) for y in made)

        def switch(layer, output):
            return jax.nn.sigmoid(
                layer(jnp.concatenate([h, output, x, fed], axis=-1), index)[..., 0].astype(jnp.float32)
            )

        out = {
            "output": output * kept[:, :, 2],
            "generate": switch(self.vocabulary_switch, output),
            "attention": [attention],
        }
        out["context"] = jnp.ones_like(out["generate"])
        if self.question:
            answer, attention = pointed(self.question_kernel, h, *memories[1])
            out["attention"].append(attention)
            out["context"] = switch(self.context_switch, answer)
        return out, carry


def forward_products(config, options, context, question, answer):
    """Multiplications of one example's forward pass, of matrix products alone; of the frozen vectors nothing is computed.

    Steps that `read_together` takes at the end of the shorter text are not counted.

    Args:
      config, options: of an `Mqan`.
      context, question, answer: their words, END included.
    """
    width, inner = config.hidden_size, config.ffn_size
    lstm = lambda inputs: 4 * width * (inputs + width // 2)  # noqa: E731, both directions, for each word
    words = context + question
    total = words * ((options.vector_size + COVE_SIZE * options.cove) * width + lstm(width))
    if options.coattention:
        total += (question + 1) * width**2 + 5 * (context + 1) * (question + 1) * width
    else:
        context = words
    if options.self_attention:
        inputs = (4 if options.coattention else 2) * width
        layer = 3 * width**2 + 2 * width * inner
        for size in (context, question)[: 1 + options.question_pointer]:
            attended = config.layers * (layer + 2 * size * width)
            total += size * (lstm(inputs) + attended + lstm(width))
        crossed = width**2 + 2 * context * width
        total += config.layers * (answer * (layer + 2 * answer * width + crossed) + context * 2 * width**2)
    pointed = 2 * context * width + 2 * width**2 + 4 * width
    if options.question_pointer:
        pointed += 2 * question * width + 2 * width**2 + 4 * width
    generated = width * min(config.vocab_size, options.generative)
    return total + answer * (options.vector_size * width + 12 * width**2 + pointed + generated)


def slots_of(ids, generative):
    """Where each place to copy from, int32 [B, P], adds to the distribution, and which slots [B, G + P] there are.

    A word that can be generated has its own number; any other G + the first of its places.
    """
    first = jnp.argmax(ids[:, :, None] == ids[:, None, :], axis=-1)
    copied = (ids >= generative) & (first == jnp.arange(ids.shape[1]))
    slots = jnp.where(ids < generative, ids, generative + first)
    return slots, jnp.concatenate([jnp.ones((len(ids), generative), bool), copied], axis=-1)


class Mqan(nn.Module):
    """The network; `config` is read for vocab_size, hidden_size, layers, heads, ffn_size, dropout and dtype."""

    config: TransformerConfig
    options: MqanOptions

    # What other code reads of a `Model`.
    heads = ()
    generator = None
    orders = 1

    @property
    def generative(self):
        """G: how many words can be generated."""
        return min(self.config.vocab_size, self.options.generative)

    def setup(self):
        config, options = self.config, self.options
        size, dtype = config.hidden_size, config.dtype
        start = nn.initializers.normal(1.0)
        self.vectors = self.param("vectors", start, (config.vocab_size, options.vector_size))
        self.read = Feedforward(config, size)
        self.write = Feedforward(config, size)
        self.first_lstm = BiLSTM(size, dtype)
        if options.coattention:
            self.coattention = Coattention(config, options.coattention_dropout)
        # PointerGenerator has neither; all but the MQAN leave the question after coattention.
        for name in ("context", "question")[: options.self_attention + options.question_pointer]:
            setattr(self, f"{name}_lstm", BiLSTM(size, dtype))
            setattr(self, f"{name}_encoder", Encoder(config))
            setattr(self, f"{name}_last_lstm", BiLSTM(size, dtype))
        if options.self_attention:
            self.decoder = [Layer(config, crosses=True) for _ in range(config.layers)]
            self.drop = Dropout(config.dropout)
        self.pointer = PointerDecoder(config, options.question_pointer)
        self.output = Linear(self.generative, dtype)

    def embedded(self, ids):
        """Vectors of ids [B, S]: those of a word outside the vocabulary are the unknown word's."""
        found = jnp.take(self.vectors, jnp.where(ids < self.config.vocab_size, ids, UNKNOWN), axis=0)
        return lax.stop_gradient(found) if self.options.vectors_frozen else found

    def encode(self, batch):
        """Reads context and question.

        Returns:
          A dict: `memories`, for the context and, if it is pointed into, the question: states [B, S, H] and bool [B, S];
          `ids`, int32 [B, S] for each of them; `layers`, what the self-attentive encoder of the context reads and returns,
          L + 1 of [B, S, H]; `carry`, where the decoder starts.
        """
        options, index = self.options, batch.get("index")
        ids = {"context": batch["tokens"], "question": batch["question"]}
        mask = {"context": batch["mask"].astype(bool), "question": batch["question_mask"].astype(bool)}
        vectors = {name: self.embedded(x) for name, x in ids.items()}
        if options.cove:
            for name in vectors:
                both = [lax.stop_gradient(batch[f"{name}_cove"]).astype(jnp.float32), vectors[name]]
                vectors[name] = jnp.concatenate(both, axis=-1)
        if not options.coattention:
            # One text, the question behind the context.
            order, joint = joined(mask["context"], mask["question"])
            ids, vectors = (
                {"context": jnp.take_along_axis(jnp.concatenate([*x.values()], axis=1), at, axis=1)}
                for x, at in ((ids, order), (vectors, order[..., None]))
            )
            mask = {"context": joint}
        words = {name: self.read(x, index) for name, x in vectors.items()}

        def read(lstms, texts):  # name -> text to name -> states, and where the context's ended
            found = read_together(lstms, [*texts.values()], [mask[name] for name in texts])
            return {name: x for name, (x, _) in zip(texts, found, strict=True)}, found[0][1]

        states, carry = read([self.first_lstm] * len(words), words)
        layers = []
        seen = {name: [] for name in words}
        if options.coattention:
            pair = self.coattention(*states.values(), *mask.values(), index)
            seen = {name: [x] for name, x in zip(words, pair, strict=True)}
        pointers = ("context", "question")[: 1 + options.question_pointer]
        if options.self_attention:
            summaries = {name: jnp.concatenate([*seen[name], states[name], words[name]], axis=-1) for name in pointers}
            condensed, _ = read([getattr(self, f"{name}_lstm") for name in pointers], summaries)
            attended = {name: getattr(self, f"{name}_encoder")(x, mask[name], index) for name, x in condensed.items()}
            layers, last = attended["context"], {name: x[-1] for name, x in attended.items()}
            read_last, carry = read([getattr(self, f"{name}_last_lstm") for name in pointers], last)
            states |= read_last
        return {
            "memories": [(states[name], mask[name]) for name in pointers],
            "ids": [jnp.where(mask[name], ids[name], PADDING) for name in pointers],
            "layers": layers,
            "carry": (*carry, jnp.zeros_like(carry[0])),
        }

    def __call__(self, batch):
        """Reads the example and its answer.

        Args:
          batch: int32 `tokens` [B, C], `question` [B, Q] and `answer` [B, A + 1], which starts with START, and their masks
            `mask`, `question_mask` and `answer_mask`, bool, where true words come first; `index` [B], see `Dropout`. Ids of V
            and more are words outside the vocabulary, an example's own. With `options.cove` also float `context_cove`
            [B, C, 600] and `question_cove` [B, Q, 600].

        Returns:
          A dict: float32 `answer_log_probs` [B, A], of `answer[:, 1:]`; int32 `answer_best` [B, A], the likeliest words after
          the same beginnings; `distribution` [B, A, G + P], see `distribution`; `generate` and `context` [B, A], the switches;
          `attention`, [B, A, S] for the context and, if it is pointed into, the question.
        """
        encoded = self.encode(batch)
        index = batch.get("index")
        answer, targets = batch["answer"][:, :-1], batch["answer"][:, 1:]
        x = self.write(self.embedded(answer), index)
        if self.options.self_attention:
            x = self.drop(x + sinusoids(*x.shape[1:]).astype(x.dtype), index)
            causal = jnp.tril(jnp.ones((x.shape[1],) * 2, bool)) & batch["answer_mask"][:, None, :-1].astype(bool)
            context = encoded["memories"][0][1][:, None]
            for layer, states in zip(self.decoder, encoded["layers"][1:], strict=True):
                x = layer(x, layer.attention.memory(x), causal, index, layer.cross.memory(states), context)
        out, _ = self.pointer(x, encoded["memories"], encoded["carry"], index)
        logits = self.output(out["output"]).astype(jnp.float32)
        distribution = self.distribution(encoded, out, logits)
        return {
            "answer_log_probs": self.log_probability(encoded, out, logits, targets),
            "answer_best": jnp.take_along_axis(self.slots(encoded)[-1], distribution.argmax(-1), axis=-1),
            "distribution": distribution,
            **{name: out[name] for name in ("generate", "context", "attention")},
        }

    def slots(self, encoded):
        """`slots_of` the places to copy from, and the id of each slot, int32 [B, G + P]."""
        ids = jnp.concatenate(encoded["ids"], axis=1)
        slots, there = slots_of(ids, self.generative)
        words = jnp.broadcast_to(jnp.arange(self.generative, dtype=ids.dtype), (len(ids), self.generative))
        return slots, there, jnp.concatenate([words, ids], axis=1)

    def floor(self, out):
        """What each word has besides generation and copies: of those that can be generated, and of the others, [B, T].

        MultitaskQuestionAnsweringNetwork.probs gives the words that cannot be generated EPSILON; the other classes
        have EPSILON in every word's copies as well.
        """
        least = jnp.zeros_like(out["generate"]) if self.options.question_pointer else EPSILON * (1 - out["generate"])
        return least, least + EPSILON

    def distribution(self, encoded, out, logits):
        """The distribution over slots, float32 [B, T, G + P]: words that can be generated, then places to copy from.

        Slots that are none (`slots_of`) have 0. The sum is 1 but for EPSILON times the number of places and slots.

        Args:
          encoded: from `encode`.
          out: from `PointerDecoder`.
          logits: float32 [B, T, G].
        """
        slots, there, _ = self.slots(encoded)
        copied = jnp.concatenate(copies(out), axis=-1)
        least, others = (jnp.expand_dims(x, -1) for x in self.floor(out))
        generated = out["generate"][..., None] * jax.nn.softmax(logits) + least
        start = jnp.concatenate([generated, jnp.broadcast_to(others, copied.shape)], axis=-1) * there[:, None]
        return jax.vmap(lambda start, at, share: start.at[:, at].add(share))(start, slots, copied)

    def log_probability(self, encoded, out, logits, targets):
        """Logarithms of the shares of `targets` [B, T], float32: of `distribution`, without computing all of it."""
        chosen = jnp.minimum(targets, self.generative - 1)[..., None]
        generated = jnp.exp(jnp.take_along_axis(logits, chosen, axis=-1)[..., 0] - jax.nn.logsumexp(logits, axis=-1))
        least, others = self.floor(out)
        share = jnp.where(targets < self.generative, out["generate"] * generated + least, others)
        for copied, ids in zip(copies(out), encoded["ids"], strict=True):
            share += jnp.where(targets[..., None] == ids[:, None], copied, 0).sum(-1)
        return jnp.log(jnp.maximum(share, LEAST))

    def begin(self, encoded, length):
        """What `advance` starts from, to decode `length` words: a dict of arrays [B, ...]."""
        rows, dtype = len(encoded["carry"][0]), self.config.dtype
        layers = self.config.layers if self.options.self_attention else 0
        empty = jnp.zeros((rows, length, self.config.hidden_size), dtype)
        return {"carry": encoded["carry"], "memory": [(empty, empty) for _ in range(layers)]}

    def crossed(self, encoded):
        """Keys and values of the context for each layer of the decoder."""
        if not self.options.self_attention:
            return []
        layers = encoded["layers"][:-1] if self.options.release_decoding else encoded["layers"][1:]
        return [layer.cross.memory(x) for layer, x in zip(self.decoder, layers, strict=True)]

    def advance(self, encoded, crossed, state, ids, at):
        """One step of decoding: the distribution over slots after the words `ids` [B], float32 [B, G + P], and the new state.

        Args:
          encoded, crossed: of the context, from `encode` and `crossed`.
          state: from `begin` or the step before.
          ids: int32 [B], the last words.
          at: int32 [], how many words lie before them.
        """
        x = self.write(self.embedded(ids[:, None]), None)
        memory = []
        if self.options.self_attention:
            length, context = state["memory"][0][0].shape[1], encoded["memories"][0][1][:, None]
            if self.options.release_decoding:
                x, context = math.sqrt(x.shape[-1]) * x, jnp.ones_like(context)
            x += lax.dynamic_slice_in_dim(sinusoids(length, x.shape[-1]), at, 1).astype(x.dtype)
            earlier = (jnp.arange(length) <= at)[None, None]
            for layer, cross, past in zip(self.decoder, crossed, state["memory"], strict=True):
                now = layer.attention.memory(x)
                past = tuple(lax.dynamic_update_slice_in_dim(*pair, at, axis=1) for pair in zip(past, now, strict=True))
                memory.append(past)
                x = layer(x, past, earlier, None, cross, context)
        out, carry = self.pointer(x, encoded["memories"], state["carry"])
        logits = self.output(out["output"]).astype(jnp.float32)
        return self.distribution(encoded, out, logits)[:, 0], {"carry": carry, "memory": memory}

    def decode(self, batch, max_length, beams=1):
        """Answers by greedy search, as the release's, or by a beam search for the likeliest answer.

        A beam is ranked by the sum of its words' log-probabilities, without a correction for its length. The decoder is the
        trained one, or with `options.release_decoding` that of MultitaskQuestionAnsweringNetwork.greedy, where the answer's
        projected vectors are multiplied by the root of H, layer l attends to what encoder layer l reads, not to what it
        returns, and to padding.

        Args:
          batch: as for a call, without an answer.
          max_length: T, the most words of an answer.
          beams: how many beginnings are kept.

        Returns:
          int32 [B, T]: the words, END where the answer ends before T, then PADDING. Ids of V and more are copied words.
        """
        module, variables = self.unbind()
        apply = functools.partial(module.apply, variables)
        encoded = apply(batch, method="encode")
        rows = len(batch["tokens"])
        encoded = jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), encoded)
        crossed, words = apply(encoded, method="crossed"), apply(encoded, method="slots")[-1]
        answers = jnp.full((rows * beams, max_length), PADDING, jnp.int32)
        # All beams of an example start alike: at first only one of them counts.
        scores = jnp.where(jnp.arange(rows * beams) % beams == 0, 0, -jnp.inf)
        last, over = jnp.full(rows * beams, START, jnp.int32), jnp.zeros(rows * beams, bool)
        first = (jnp.int32(0), apply(encoded, max_length, method="begin"), last, over, scores, answers)

        def going(loop):
            at, _, _, over, *_ = loop
            return (at < max_length) & ~over.all()

        def step(loop):
            at, state, last, over, scores, answers = loop
            shares, state = apply(encoded, crossed, state, last, at, method="advance")
            ended = jnp.arange(shares.shape[1]) == PADDING  # a finished answer continues with padding, at no cost
            shares = jnp.where(over[:, None], ended, shares)
            if beams == 1:
                chosen = shares.argmax(-1)
            else:
                together = (scores[:, None] + jnp.log(shares)).reshape(rows, -1)
                scores, chosen = (x.reshape(-1) for x in lax.top_k(together, beams))
                parent = chosen // shares.shape[1] + jnp.arange(rows * beams) // beams * beams
                state, over, answers = jax.tree.map(lambda x: x[parent], (state, over, answers))
                chosen = chosen % shares.shape[1]
            # Beams of an example have the same words in the same slots.
            last = jnp.take_along_axis(words, chosen[:, None], axis=1)[:, 0]
            answers = lax.dynamic_update_slice_in_dim(answers, last[:, None], at, axis=1)
            return at + 1, state, last, over | (last == END), scores, answers

        return lax.while_loop(going, step, first)[-1].reshape(rows, beams, -1)[:, 0]


def copies(out):
    """Shares of what is copied from the context and, if it is pointed into, the question: [B, T, S] each."""
    rest = 1 - out["generate"]
    parts = (rest * out["context"], rest * (1 - out["context"]))
    return [part[..., None] * attention for part, attention in zip(parts, out["attention"], strict=False)]


def joined(context, question):
    """Two masks, bool [B, C] and [B, Q], as that of one text: which of the C + Q columns each place shows, and its mask."""
    lengths, place = context.sum(1, keepdims=True), jnp.arange(context.shape[1] + question.shape[1])
    order = jnp.where(place < lengths, place, (place - lengths + context.shape[1]) % place.size)
    return order, place < lengths + question.sum(1, keepdims=True)
