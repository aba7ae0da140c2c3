"""Which of several sources gives the batch of a step: a pure function of the step, as everything about data.

    round_robin     one after the other (decaNLP, appendix; train.py's rounds)
    proportional    at random, with probabilities n^(1/T) of their sizes n; T is `temperature`: 1 is by size, larger is flatter
    weights         at random, with the probabilities of `weights`

A `schedule` begins with some of the sources, for so many steps or a share of all: decaNLP's anti-curriculum, "SQuAD first",
is 0.3:squad, and a curriculum names the easy ones. Several phases follow each other; after the last one come all sources.
"""

import dataclasses

import numpy as np

from ssl_jax.errors import UserError, check_choice, shown
from ssl_jax.options import ABOVE_0, MOST, one_of, option, several


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Which of several sources gives a batch."""

    BLOCK = "mixture"

    sampling: str = option(
        "round_robin",
        one_of("round_robin", "proportional", "weights"),
        "'round_robin', one batch each in turn; at random, 'proportional' to their sizes or by `weights`",
    )
    temperature: float = option(1.0, ABOVE_0, "of 'proportional': sizes to the power of 1/temperature")
    weights: tuple = option((), several(float, 0), "of 'weights': one for each source")
    schedule: tuple = option(
        (),
        several(str),
        "what the run begins with: '0.3:squad+sst', these alone for a share of the steps, or '75000:squad' for so many",
    )


def phases(names, schedule, steps):
    """A schedule as list of (first step, the step after the last, indices into `names`); all of them at the end.

    Raises:
      UserError: an entry is malformed, names what is not there, or the phases are longer than the run.
    """
    found, first = [], 0
    for entry in schedule:
        length, _, listed = entry.partition(":")
        where = f"mixture.schedule: {shown(entry)}"
        try:
            length = float(length)
        except ValueError as error:
            raise UserError(f"{where} is not of the form STEPS:NAME+NAME, as in 0.3:squad+sst") from error
        if not 0 < length <= MOST or length >= 1 and length != int(length):
            raise UserError(f"{where}: a share below 1, or a number of steps, has to come first")
        for name in listed.split("+"):
            check_choice(name, names, "source in mixture.schedule")
        last = first + (round(length * steps) if length < 1 else int(length))
        found.append((first, min(last, steps), [names.index(name) for name in listed.split("+")]))
        first = last
    if first > steps:
        raise UserError(f"mixture.schedule takes {first:,} steps, and the run has steps={steps:,}")
    return [*found, (first, steps, list(range(len(names))))]


def probabilities(sizes, options):
    """The probability of each source, [N]; for a round robin the shares, which are equal.

    Raises:
      UserError: the weights are not one for each source, or all 0.
    """
    if options.sampling == "weights":
        if len(options.weights) != len(sizes) or not sum(options.weights):
            raise UserError(
                f"mixture.weights={tuple(options.weights)}: one for each of {len(sizes)} sources is needed, not all of them 0"
            )
        weights = np.array(options.weights, float) / max(options.weights)
    elif options.sampling == "proportional":
        weights = (np.array(sizes, float) / max(sizes)) ** (1 / options.temperature)
    else:
        weights = np.ones(len(sizes))
    return weights / weights.sum()


class Order:
    """The source of each step's batch, and how many batches that source has given before.

    Attributes:
      source: uint16 [steps].
      number: int32 [steps].
    """

    def __init__(self, names, sizes, options, steps, seed):
        """
        Args:
          names: of the sources.
          sizes: how many examples each has.
          options: a config's `mixture` block.
          steps: of the run.
          seed: int >= 0, of what is drawn at random.

        Raises:
          UserError: see `phases`, `probabilities`; nothing is drawn from the sources of a phase.
        """
        share = probabilities(sizes, options)
        self.source = np.zeros(steps, np.uint16)
        for place, (first, last, members) in enumerate(phases(names, options.schedule, steps)):
            size = last - first
            if options.sampling == "round_robin":
                self.source[first:last] = np.resize(members, size)
                continue
            edges = np.cumsum(share[members])
            if not edges[-1]:
                raise UserError(f"mixture.weights: those of {' and '.join(names[n] for n in members)} are all 0")
            # A longer run begins with the same draws.
            drawn = np.random.default_rng([seed, place]).random(size) * edges[-1]
            # Not `left`: a draw of 0 must not be of a source whose weight is 0.
            self.source[first:last] = np.array(members)[
                np.searchsorted(edges, drawn, "right").clip(max=len(members) - 1)
            ]
        self.number = np.zeros(steps, np.int32)
        for source in range(len(names)):
            steps_of = self.source == source
            self.number[steps_of] = np.arange(steps_of.sum())
