"""Says what a config is, without running it: options that are not at their defaults, parameters by part, FLOPs, tokens
per step.

    python scripts/describe.py --config configs/bert.py:large
    python scripts/describe.py --config configs/bert.py:base --json
"""

import json

from absl import flags
from ml_collections import ConfigDict

from ssl_jax import command_line

CONFIG = command_line.define_config()
JSON = flags.DEFINE_bool("json", False, "print one JSON object")
# How FLOPs are counted, see flops.of_run.
CONVENTIONS = {"palm": "(PaLM's count)", "electra": "(ELECTRA's)", "6nd": "(6 N D, GPT-3's)"}


def main():
    config, lines = command_line.settled(start=False)

    from ssl_jax.config import changed
    from ssl_jax.describe import describe  # after the flags: a typing error need not wait for jax

    description = describe(config)
    if JSON.value:
        print(json.dumps(description, indent=2))
        return
    print(*lines, sep="\n", end="\n" * bool(lines))
    differing = changed(ConfigDict(description["config"]))
    print(f"{len(differing)} options are not at their defaults (docs/config.md has all)")
    for key, value in differing.items():
        print(f"  {key:32} {','.join(map(str, value)) if isinstance(value, list | tuple) else value}")
    print("parameters")
    for part, count in description["parts"].items():
        print(f"  {part:24} {count:>15,}")
    print(f"  {'in all':24} {description['parameters']:>15,}")
    phases = description["phases"]
    for number, phase in enumerate(phases):
        if 2 <= number < len(phases) - 1:  # a batch ramp has a phase for each size
            if number == 2:
                print(f"... {len(phases) - 3} more phases")
            continue
        print(
            f"steps {phase['first']:,} to {phase['last']:,}: {phase['tokens_per_step']:,} tokens a step "
            f"({phase['batch_size']} x {phase['length']}), {phase['predictions']} predictions a sequence, "
            f"{phase['flops_per_token'] / 1e6:,.2f} MFLOP a token"
        )
    training, inference = description["flops"]["training"], description["flops"]["inference"]
    print("FLOPs of the run    " + ", ".join(f"{count:.3g} {CONVENTIONS[name]}" for name, count in training.items()))
    told = ", ".join(f"{inference[name]:.3g} {CONVENTIONS[name]}" for name in inference)
    print(f"FLOPs of a sequence {told}, forward")


if __name__ == "__main__":
    command_line.run(main)
