"""Trains a paper's demo on the demo corpus in a few minutes and shows what it learned.

    python scripts/demo.py --config configs/bert.py:demo --workdir runs/demo-bert
"""

import json
from pathlib import Path

from absl import flags

from ssl_jax import command_line

CONFIG = command_line.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder", required=True)

# Written for the demo, none from the corpus.
SENTENCES = (
    "the capital and largest [MASK] is london .",
    "in the 19th [MASK] , the city grew rapidly .",
    "the river flows into the [MASK] sea .",
    "he was an english [MASK] .",
    "she was an american [MASK] and writer .",
    "they [MASK] found in africa and asia .",
    "it is one of the most [MASK] countries in the world .",
    "the species is native to north [MASK] .",
    "mercury is the closest planet to the [MASK] .",
)


ARTICLES = 5


def main():
    from ssl_jax import baselines, logs, parallel, predict, train
    from ssl_jax.data import tokens

    config, workdir = CONFIG.value, Path(WORKDIR.value)
    parallel.initialise()
    result = train.train(config, workdir)
    if result is None:
        return
    baseline = baselines.unigram(config)
    result |= {
        "total_loss": result["loss"],
        "loss": result["mlm_loss"],
        "accuracy": result["mlm_accuracy"],
        **baseline,
    }
    logs.write_json(workdir / "result.json", result)

    print(f"\nheld-out masked tokens   {'model':>10} {'baseline':>10}")
    ratio = result["accuracy"] / result["baseline_accuracy"]
    print(
        f"  accuracy               {result['accuracy']:>10.1%} {result['baseline_accuracy']:>10.1%}   "
        f"{ratio:.2f} x always guessing the most frequent token"
    )
    print(
        f"  loss (nats)            {result['loss']:>10.3f} {result['unigram_loss']:>10.3f}   "
        f"{result['unigram_loss'] - result['loss']:.3f} below the token frequencies"
    )
    run = predict.load_run(workdir)
    print("\nSentences written for this demo, with the five likeliest fills:")
    for sentence in SENTENCES:
        show(sentence, predict.fill_masks(run, sentence))
    print("\nFirst sentences of held-out articles, their middle word hidden:")
    store = tokens.Store(tokens.prepare(config.data), "heldout")
    for number in range(min(ARTICLES, len(store.documents) - 1)):
        sentence, hidden = hide_a_word(run, store.document(number)[0])
        if hidden:
            text = run.tokenizer.decode(sentence, skip_special_tokens=False)
            show(text, predict.fill_blanks(run, sentence), hidden)
    print(f"\n{workdir}/curves.png has the curves, {workdir}/result.json these numbers:")
    print(json.dumps({name: result[name] for name in ("accuracy", "baseline_accuracy", "loss", "unigram_loss")}))


def hide_a_word(run, sentence):
    """The first tokens of a sentence, the word in their middle replaced by [MASK]; and that word, or None."""
    ids = sentence[: run.config.phases.lengths[0] - 2].tolist()
    whole = [
        place
        for place, (token, following) in enumerate(zip(ids, [*ids[1:], 0]))
        # A word of one piece and of letters.
        if run.vocabulary.starts_word[token]
        and (run.vocabulary.starts_word[following] or run.vocabulary.special[following])
        and run.tokenizer.id_to_token(token).isalpha()
    ]
    if not whole:
        return ids, None
    place = whole[len(whole) // 2]
    hidden = run.tokenizer.id_to_token(ids[place])
    ids[place] = run.vocabulary.mask
    return ids, hidden


def show(sentence, blanks, hidden=None):
    print(f"\n  {sentence}" + (f"   (it was: {hidden})" if hidden else ""))
    for blank in blanks:
        print("    " + "   ".join(f"{token} {probability:.0%}" for token, probability in blank))


if __name__ == "__main__":
    command_line.run(main)
