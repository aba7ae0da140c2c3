"""Is conversion exact? Compares `transformers` folders with ours, using its own classes as the reference.

The only module of the package that needs torch and `transformers` (extra `test`), which its functions import.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import safetensors.numpy

from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.interop import huggingface
from ssl_jax.interop.families import FAMILIES
from ssl_jax.models.model import build_model, dummy_batch
from ssl_jax.runs import Run
from ssl_jax.tokenization import folders
from ssl_jax.tokenization.vocabulary import vocabulary_of

# What is compared for each head: its name in `out`, and its names in the outputs of their classes.
LOGITS = {
    "mlm": ("mlm_logits", ("prediction_logits", "logits")),
    "clm": ("clm_logits", ("logits",)),
    "pair": ("pair_logits", ("seq_relationship_logits", "sop_logits", "logits")),
    "classes": ("class_logits", ("logits",)),
    "choice": ("choice_logit", ("mc_logits", "logits")),
    "token_classes": ("token_class_logits", ("logits",)),
    "span": ("span_logits", ("start_logits", "end_logits")),
    "replaced": ("replaced_logit", ("logits",)),
}


class Comparison(NamedTuple):
    """The result of `compare`.

    Attributes:
      family: their model type.
      name: their class; for ELECTRA's two halves, both.
      heads: those whose logits were compared; (): the last hidden states and the pooled vector were compared.
      tensors: the number in theirs, tied ones counted once.
      parameters: the number in ours.
      equal: whether all tensors are bit-identical after the round trip.
      inward: the largest difference between our logits and those of the original folder.
      outward: the same for the folder that we write.
    """

    family: str
    name: str
    heads: tuple[str, ...]
    tensors: int
    parameters: int
    equal: bool
    inward: float
    outward: float


def libraries():
    """Returns torch and transformers, the latter silenced.

    Raises:
      UserError: they are not installed.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(f"comparing with transformers needs {error.name}: pip install -e '.[test]'") from error
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # `compare` checks what they report
    return torch, transformers


def compare(folder, rows=5, length=24):
    """Reads a folder, writes it again, and compares all three in float32 on random tokens.

    Args:
      folder: as for `huggingface.load`.
      rows, length: of the random text; the first row is full, the second left-padded, the others right-padded.

    Returns:
      A Comparison.

    Raises:
      UserError: as in `huggingface.load` and `huggingface.save`; transformers reports missing, unexpected or misshapen
        keys in what we write; torch or transformers are not installed.
    """
    libraries()
    folder = Path(folder)
    run = huggingface.load(folder)
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / "written"
        made = huggingface.save(run, written)
        again = huggingface.load(written)
        pairs = [
            (_original(folder / half, name, run.vocabulary.size), _written(written / half, name))
            for half, (name, *_) in made.items()
        ]
        family = pairs[0][0].config.model_type
    batch = _text(run, _pad(run, [model for pair in pairs for model in pair]), rows, length)
    ours = _our_outputs(run, batch)
    inward, outward = {}, {}
    for original, back in pairs:
        inward |= _differences(original, batch, ours)
        outward |= _differences(back, batch, ours)
    assert inward.keys() == outward.keys() == ours.keys()
    same = jax.tree.map(np.array_equal, run.params, again.params)
    equal = all(_same_tensors(original, back) for original, back in pairs) and all(jax.tree.leaves(same))
    names = [name for name, *_ in made.values()]
    heads = tuple(head for head, (name, _) in LOGITS.items() if name in ours)
    return Comparison(
        family,
        " and ".join(names),
        heads,
        sum(tensors for _, tensors, _ in made.values()),
        sum(leaf.size for leaf in jax.tree.leaves(run.params)),
        equal,
        max(inward.values()),
        max(outward.values()),
    )


def table(comparisons):
    """Lines of a Markdown table, one for each of `comparisons`, pairs of a label and a Comparison."""
    lines = [
        "| checked | family | class | compared | tensors | parameters | there and back | logits in | logits out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, one in comparisons:
        compared = ", ".join(one.heads) or "hidden states"
        same = "equal" if one.equal else "**different**"
        lines.append(
            f"| {label} | {one.family} | {one.name} | {compared} | {one.tensors} | {one.parameters:,} | {same} "
            f"| {one.inward:.1e} | {one.outward:.1e} |"
        )
    return lines


def _original(folder, name, entries):
    """Their model, of the class with all heads that we detected: `architectures` may name fewer.

    Its table has as many rows as the tokenizer has entries: padding rows are left out, as in ours.
    """
    torch, transformers = libraries()
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if model.config.vocab_size != entries:
        model.resize_token_embeddings(entries)
    return model.eval()


def _written(folder, name):
    """Their model loaded from what we wrote, through the AutoModel class that maps to it."""
    torch, transformers = libraries()
    loader = _auto_class(folder, name)
    model, told = loader.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    told = [f"{kind} {sorted(keys)[0]}" for kind, keys in told.items() if keys]
    if told or type(model).__name__ != name:
        raise UserError(f"{loader.__name__} makes {type(model).__name__} of what we write of {name}: {', '.join(told)}")
    return model.eval()


def _auto_class(folder, name):
    """One of their AutoModel classes that loads a folder as `name`; the class itself if there is no such AutoModel."""
    _, transformers = libraries()
    config = type(transformers.AutoConfig.from_pretrained(folder))
    known = vars(transformers.models.auto.modeling_auto)
    for auto in sorted(name for name in known if name.startswith("AutoModel")):
        mapping = getattr(known[auto], "_model_mapping", {})
        if config in mapping and getattr(mapping[config], "__name__", None) == name:
            return known[auto]
    return getattr(transformers, name)


def _pad(run, models):
    """The padding id, by which the GPTs' classifiers find the last token; models without one are given it."""
    known = [models[0].config.pad_token_id, run.vocabulary.pad, run.vocabulary.end_of_text, 0]
    pad = next(number for number in known if number is not None)
    for model in models:
        if model.config.pad_token_id is None:
            model.config.pad_token_id = pad
    return pad


def _text(run, pad, rows, length):
    """A batch of random tokens, none of them `pad`, in rows of unequal length."""
    config, random = run.model.config, np.random.default_rng(0)
    length = min(length, config.max_positions)
    mask = np.arange(length) < random.integers(length // 2, length, (rows, 1))
    mask[0] = True
    mask[1] = mask[1, ::-1]
    tokens = random.choice(np.delete(np.arange(config.vocab_size), pad), mask.shape)
    segments = np.sort(random.integers(0, max(config.type_vocab_size, 1), mask.shape))
    return dict(tokens=np.where(mask, tokens, pad), mask=mask, segments=segments)


def _our_outputs(run, batch):
    """Logits by their names in `out`; without a head, the last states and, with a pooler, its vector."""
    out = huggingface.looped(run.model).apply({"params": run.params}, batch)
    made = [name for name, _ in LOGITS.values() if name in out]
    return {name: np.asarray(out[name]) for name in made or ("encoded", "pooled") if name in out}


def _differences(model, batch, ours):
    """The largest difference from ours, at real positions, for each of the class's outputs."""
    torch, _ = libraries()
    kind = type(model).__name__
    family = FAMILIES[model.config.model_type]
    heads = next(heads for heads, name in family.classes.items() if name == kind)
    inputs = dict(input_ids=batch["tokens"], attention_mask=batch["mask"].astype(int))
    if family.trunk.get("type_vocab_size", 1):
        inputs["token_type_ids"] = batch["segments"]
    inputs = {name: torch.tensor(value) for name, value in inputs.items()}
    if "choice" in heads:
        # Each row is an example's only choice. (GPT-1's class only takes a mask without the choice axis.)
        inputs["input_ids"] = inputs["input_ids"][:, None]
        if "clm" in heads:
            inputs["mc_token_ids"] = torch.tensor(_last(batch["mask"]))[:, None]
    with torch.no_grad():
        out = model(**inputs)
    if not heads:
        made = {"encoded": out.last_hidden_state, "pooled": out.get("pooler_output")}
        made = {name: made[name] for name in ours}
    else:
        made = {LOGITS[head][0]: _named(out, LOGITS[head][1], head) for head in heads}
    differences = {}
    for name, theirs in made.items():
        theirs = theirs.numpy()
        if "choice" in heads:
            theirs = theirs[:, 0]
        at = batch["mask"] if theirs.shape[:2] == batch["mask"].shape else ...
        differences[name] = float(np.abs(ours[name][at] - theirs[at]).max())
    return differences


def _named(out, names, head):
    torch, _ = libraries()
    if head == "span":
        return torch.stack([out[name] for name in names], -1)
    return next(out[name] for name in names if name in out)


def _last(mask):
    return mask.shape[1] - 1 - mask[:, ::-1].argmax(1)


def _same_tensors(one, other):
    torch, _ = libraries()
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


# Sizes of the random folders: unusual, and no two equal.
SIZES = dict(vocab_size=61, layers=3, hidden_size=36, heads=3, ffn_size=52, embedding_size=20, max_positions=24)
LABELS = 5


def random_folders(root):
    """Writes a folder with random weights for every family and class, and yields (label, folder).

    Also covers ALBERT with two layer groups and with tables as wide as the trunk, ELECTRA with the latter and with both
    halves, TinyBERT's projections, and a GPT-3 in GPT-2's format, written by us.
    """
    for label, write in FOLDERS.items():
        write(Path(root) / label)
        yield label, Path(root) / label


def pieces():
    """A WordPiece vocabulary of SIZES' size."""
    letters = [chr(ord("a") + number) for number in range(26)]
    made = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return made + [str(number) for number in range(SIZES["vocab_size"] - len(made))]


def write_vocabulary(folder):
    """Writes `pieces()` as a WordPiece vocab.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces()))


def random_model(family, name, **sizes):
    """Their model of a family and class, with SIZES or overrides, all weights far from their initial values."""
    torch, transformers = libraries()
    sizes = SIZES | sizes
    named = {theirs: sizes[ours] for ours, (theirs, _) in FAMILIES[family].fields.items() if ours in sizes}
    labels = LABELS if name.endswith(("SequenceClassification", "TokenClassification")) else 2
    ids = dict(pad_token_id=0, bos_token_id=None, eos_token_id=None)
    config = transformers.AutoConfig.for_model(family, **named, num_labels=labels, **ids)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(transformers, name)(config)
        for weight in model.parameters():
            weight += torch.randn_like(weight) * 0.15
    return model


def _write_class(family, name, **sizes):
    def write(folder):
        random_model(family, name, **sizes).save_pretrained(folder)
        write_vocabulary(folder)

    return write


def _write_wide_albert(folder):
    """Theirs always has a projection; where it is unnecessary, the released files store the identity."""
    torch, _ = libraries()
    model = random_model("albert", "AlbertForPreTraining", embedding_size=SIZES["hidden_size"])
    projection = model.albert.encoder.embedding_hidden_mapping_in
    with torch.no_grad():
        projection.weight.copy_(torch.eye(SIZES["hidden_size"]))
        projection.bias.zero_()
    model.save_pretrained(folder)
    write_vocabulary(folder)


def _write_halves(folder):
    discriminator = random_model("electra", "ElectraForPreTraining")
    generator = random_model("electra", "ElectraForMaskedLM", hidden_size=18, heads=2, ffn_size=44, layers=2)
    generator.electra.embeddings.load_state_dict(discriminator.electra.embeddings.state_dict())
    for half, model in zip(huggingface.HALVES, (discriminator, generator), strict=True):
        model.save_pretrained(folder / half)
        write_vocabulary(folder / half)


def _fit(names):
    """Projections to a teacher of width 40."""
    random = np.random.default_rng(0)
    made = {}
    for name in names:
        made[f"{name}.weight"] = random.normal(size=(40, SIZES["hidden_size"])).astype(np.float32)
        made[f"{name}.bias"] = random.normal(size=40).astype(np.float32)
    return made


def _write_released_tinybert(folder):
    """As its authors released it: the projection among the other tensors, no `architectures`."""
    torch, _ = libraries()
    model = random_model("bert", "BertForPreTraining")
    model.config.save_pretrained(folder)
    tensors = model.state_dict() | {name: torch.tensor(x) for name, x in _fit(["fit_dense"]).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    write_vocabulary(folder)


def _write_tinybert(names):
    def write(folder):
        _write_class("bert", "BertModel")(folder)
        safetensors.numpy.save_file(_fit(names), folder / huggingface.FIT_FILE)

    return write


def _write_gpt3(folder):
    """A GPT-3 without the banded layers, which `transformers` lacks."""
    config = base()
    config.model.update({name: SIZES[name] for name in SIZES if name != "embedding_size"})
    config.model.update(causal=True, norm="pre", final_norm=True, dropout=0.0, attention_dropout=0.0)
    config.losses.clm = 1.0
    write_vocabulary(folder)
    tokenizer = folders.read(folder)
    (folder / "vocab.txt").unlink()
    huggingface.save(random_run(config, tokenizer), folder)


def random_run(config, tokenizer):
    """One of our runs, never trained, all parameters far from their initial values."""
    model, random = build_model(config), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), dummy_batch(model.orders))["params"]
    params = jax.tree.map(lambda x: random.normal(0, 0.3, x.shape).astype(x.dtype), shapes)
    return Run(Path("random"), config, model, params, tokenizer, vocabulary_of(tokenizer))


FOLDERS = {
    name: _write_class(family, name) for family, facts in FAMILIES.items() for name in facts.classes.values()
} | {
    "AlbertForPreTraining-groups": _write_class("albert", "AlbertForPreTraining", share_groups=2),
    "AlbertForPreTraining-wide": _write_wide_albert,
    "ElectraForPreTraining-wide": _write_class("electra", "ElectraForPreTraining", embedding_size=SIZES["hidden_size"]),
    "Electra-halves": _write_halves,
    "TinyBERT-released": _write_released_tinybert,
    "TinyBERT-one": _write_tinybert(["fit_dense"]),
    "TinyBERT-each": _write_tinybert([f"fit_denses.{number}" for number in range(SIZES["layers"] + 1)]),
    "GPT2LMHeadModel-inner": _write_class("gpt2", "GPT2LMHeadModel", ffn_size=None),  # four times the width
    "GPT-3": _write_gpt3,
}
