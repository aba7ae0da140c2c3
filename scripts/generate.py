"""Continues prompts with a run that was trained to predict the next token.

    python scripts/generate.py --workdir runs/gpt2 --prompt "The city was" --max_tokens 50 --top_k 40
    python scripts/generate.py --workdir runs/gpt2 --prompts_file prompts.txt --max_tokens 50 --beams 4

One prompt's text appears as it is made.
"""

from pathlib import Path

from absl import flags

from ssl_jax import command_line
from ssl_jax.errors import UserError

WORKDIR = command_line.define_path("workdir", None, "the run's folder", required=True)
PROMPT = flags.DEFINE_multi_string("prompt", [], "a text to continue; give it again for more")
PROMPTS_FILE = command_line.define_path("prompts_file", None, "a file of texts to continue, one a line")
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 50, "how many tokens to add at most", lower_bound=1)
SAMPLING = {
    "temperature": flags.DEFINE_float("temperature", 1.0, "0: always the likeliest token", lower_bound=0.0),
    "top_k": flags.DEFINE_integer("top_k", 0, "only the so many likeliest tokens; 0: all", lower_bound=0),
    "top_p": flags.DEFINE_float("top_p", 1.0, "only the likeliest tokens of this probability together"),
    "seed": flags.DEFINE_integer("seed", 0, "of the random choices", lower_bound=0),
}
SEARCH = {
    "beams": flags.DEFINE_integer("beams", None, "search with so many beams instead of sampling", lower_bound=1),
    "length_penalty": flags.DEFINE_float("length_penalty", 0.6, "of the search: the larger, the longer the text"),
}


def main():
    searching = SEARCH["beams"].present
    unread = [name for name, flag in (SAMPLING if searching else SEARCH).items() if flag.present]
    if unread:
        use = "sampling, not for --beams" if searching else "a search: give --beams"
        raise UserError(f"--{unread[0]} is for {use}")
    prompts = read_prompts()

    from ssl_jax.inference import generate  # after the flags: a typing error need not wait for jax
    from ssl_jax.load import load_run

    run = load_run(WORKDIR.value)
    ids = [run.tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    if searching:
        options = {name: flag.value for name, flag in SEARCH.items()}
        found = generate.beam_search(run, ids, max_tokens=MAX_TOKENS.value, **options)
        texts = [hypotheses[0].tokens for hypotheses in found]
    else:
        options = {name: flag.value for name, flag in SAMPLING.items()}
        if len(ids) == 1:
            texts = [(token for _, token in generate.stream(run, ids, max_tokens=MAX_TOKENS.value, **options))]
        else:  # all at once: their tokens come by turns
            texts = generate.generate(run, ids, max_tokens=MAX_TOKENS.value, **options)
    for number, (prompt, start, tokens) in enumerate(zip(prompts, ids, texts)):
        print("\n" * bool(number) + prompt, end="", flush=True)
        for piece in generate.text_pieces(run.tokenizer, start, tokens):
            print(piece, end="", flush=True)
        print()


def read_prompts():
    """The flags' prompts, then the file's; its blank lines are none."""
    prompts = list(PROMPT.value)
    if PROMPTS_FILE.value is not None:
        try:
            lines = Path(PROMPTS_FILE.value).read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{PROMPTS_FILE.value} is not UTF-8 text") from error
        prompts += [line for line in lines if line.strip()]
    if not prompts:
        raise UserError("there is nothing to continue: give --prompt or --prompts_file with text")
    return prompts


if __name__ == "__main__":
    command_line.run(main)
