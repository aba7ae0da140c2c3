"""Zero-, one- and few-shot evaluation of finished runs; what there is, is in configs/fewshot.py.

python scripts/evaluate.py --config configs/fewshot.py:demo --config.runs=runs/demo-gpt2 --workdir runs/few
python scripts/evaluate.py --config configs/fewshot.py:demo --config.runs=runs/demo-gpt2 --show=1
"""

from absl import flags

from ssl_jax import command_line
from ssl_jax.errors import UserError

CONFIG = command_line.define_config()
WORKDIR = command_line.define_path("workdir", None, "where the results, answers and figures go")
SHOW = flags.DEFINE_integer("show", 0, "print the prompts of so many items of each task, and do nothing else")


def main():
    from ssl_jax import evaluate  # after the flags: a typing error need not wait for jax

    if SHOW.value:
        for title, prompt, targets in evaluate.prompts(CONFIG.value, SHOW.value):
            print(f"--- {title}\n{prompt}|{' | '.join(targets)}|\n")
        return
    if not WORKDIR.value:
        raise UserError("--workdir is missing: it says where the results go")
    for entry in evaluate.evaluate(CONFIG.value, WORKDIR.value):
        where = "{run}  {task} ({prompt}), ".format(**entry) + evaluate.told_shots(
            entry["task"], entry["shots"], entry["shown"]
        )
        spread = "  95 %: {low:.4g} to {high:.4g}".format(**entry) if entry["seeds"] > 1 else ""
        print(f"{where}:  {entry['metric']} {entry['value']:.4g}{spread}")


if __name__ == "__main__":
    command_line.run(main)
