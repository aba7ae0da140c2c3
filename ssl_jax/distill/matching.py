"""What a student is compared with: the teacher options, and which layer teaches which.

Importing this module does not load JAX.
"""

import dataclasses

from ssl_jax.errors import UserError, check_choice
from ssl_jax.models.spec import PROJECTIONS
from ssl_jax.objectives import taught, trained
from ssl_jax.options import ABOVE_0, BOOL, TEXT, WIDEST, check, one_of, option, several, whole


@dataclasses.dataclass(frozen=True)
class Teacher:
    """What the losses of distillation compare with, see distill/teachers.py."""

    BLOCK = "teacher"

    runs: tuple = option((), several(str), "folders of finished runs; of several the outputs are averaged")
    layer_map: str = option(
        "uniform", TEXT, "which of its layers teaches each of ours: 'top', 'bottom', or a list '3,6,9,12'"
    )
    projection: str = option(
        "two", one_of(*PROJECTIONS), "from our width to its: 'two' (embeddings, layers), 'one', 'each' or 'none'"
    )
    hidden_size: int = option(0, whole(0, WIDEST), "its width; what `runs` have is filled in")
    temperature: float = option(1.0, ABOVE_0, "of the soft targets")
    dropout: bool = option(False, BOOL, "it drops as its own config says while the student trains")
    count_padding: bool = option(False, BOOL, "losses.embedding, hidden and attention are means over padding, too")
    mean_over_classes: bool = option(False, BOOL, "losses.soft_labels is also divided by the number of classes")
    cache: str = option(
        "", TEXT, "folder that scripts/cache_teacher.py made of these runs' outputs; empty: they run along"
    )


def check_teachers(config):
    """Raises UserError for a loss without a teacher, a teacher without a loss, or an invalid temperature."""
    check(Teacher, config.teacher, "temperature")
    asking = [name for name, row in trained(config).items() if row.teacher]
    folders = config.teacher.runs
    if asking and not folders:
        raise UserError(
            f"losses.{asking[0]} compares with a teacher: set teacher.runs, a tuple of finished runs' folders"
        )
    if config.teacher.cache and not asking:
        raise UserError("teacher.cache is read by no loss: give losses.soft_targets or another of them a weight")
    if folders and not asking and config.init.run not in ("teacher", *folders):
        raise UserError("teacher.runs is read by no loss: give losses.soft_targets or another of them a weight")


def map_layers(name, ours, theirs):
    """The teacher layer, from 1, that teaches each of the student's: g(1), ..., g(M).

    TinyBERT, section 4.2 and Table 4: 'uniform' g(m) = m N / M, 'top' m + N - M, 'bottom' m. Or a list: '3,6,9,12'.

    Args:
      name: the map.
      ours, theirs: M and N, the numbers of layers.

    Raises:
      UserError: an unknown map, or one that does not fit the depths.
    """
    known = {
        "uniform": lambda m: m * theirs // ours,
        "top": lambda m: m + theirs - ours,
        "bottom": lambda m: m,
    }
    depths = f"{ours} layers learn from {theirs}"
    if name.replace(",", "").replace(" ", "").isdigit():
        layers = [int(number) for number in name.split(",") if number.strip()]
        if len(layers) != ours or not all(1 <= layer <= theirs for layer in layers):
            raise UserError(f"teacher.layer_map={name!r}: {depths}, so it needs {ours} numbers from 1 to {theirs}")
        return layers
    check_choice(name, known, "teacher.layer_map")
    if ours > theirs or name == "uniform" and theirs % ours:
        raise UserError(
            f"teacher.layer_map={name!r}: {depths}, which does not divide; give a list of {ours} layers, "
            "or use 'top' or 'bottom' of a deeper teacher"
        )
    return [known[name](m) for m in range(1, ours + 1)]


def layer_maps(config, models):
    """The layers of each teacher that teach the student's, see `map_layers`; None if no loss reads them."""
    if not {"states", "scores"} & set(taught(config)):
        return None
    return [map_layers(config.teacher.layer_map, config.model.layers, model.config.layers) for model in models]
