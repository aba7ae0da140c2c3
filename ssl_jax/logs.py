"""A run's output: progress bar, metrics.jsonl, timings.jsonl, curves.png, and what trackers.py has."""

import importlib.metadata
import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
from tqdm import tqdm

from ssl_jax import files
from ssl_jax.errors import UserError, cut
from ssl_jax.health import Health
from ssl_jax.objectives import chance_of
from ssl_jax.statistics import completed, learned_nothing, summary, table
from ssl_jax.trackers import TRACKERS

PACKAGES = "jax jaxlib flax optax orbax-checkpoint ml_collections tensorflow-datasets grain tokenizers numpy".split()


def provenance():
    """Package versions, Python, and this source tree's git commit ('+' if it has changes)."""

    def git(*words):
        if shutil.which("git") is None:
            return ""
        command = ["git", "-C", Path(__file__).parent, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "HEAD")
    return {
        "commit": commit + ("+" if commit and git("status", "--porcelain") else ""),
        "python": sys.version.split()[0],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
    }


class Log:
    """Writes on process 0 only.

    metrics.jsonl holds what depends on the config and the seed, so a run that was killed and resumed ends with the
    same bytes; what depends on the machine goes to timings.jsonl. Each of several members has its own folder, as if it
    had run separately.
    """

    def __init__(self, workdir, first_step, steps, members=None, saved=None):
        """Keeps the lines up to `first_step`, where the run resumes, and drops later ones.

        Args:
          workdir: the run's folder.
          first_step, steps: where the run resumes and where it ends.
          members: the run's `population.Member`s: each has its folder in `workdir`, and its config says which trackers
            it has; None: there is one, without a tracker.
          saved: the output of `content` when the checkpoint of `first_step` was saved; None: it has no copy.
        """
        self.folders = [Path(workdir) / member.name for member in members] if members else [Path(workdir)]
        self.writes = jax.process_index() == 0
        if not self.writes:
            return
        self.trackers, self.lines = [[] for _ in self.folders], []  # lines of metrics.jsonl, for each folder
        saved = (saved or {}).get("metrics")
        known = isinstance(saved, list) and len(saved) == len(self.folders)
        saved = saved if known else [None] * len(self.folders)
        for folder, copy in zip(self.folders, saved, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            self.lines.append(_restored_metrics(folder / "metrics.jsonl", first_step, copy))
            _keep_timings(folder / "timings.jsonl", first_step, self.lines[-1])
        for member, folder, own in zip(members or (), self.folders, self.trackers, strict=bool(members)):
            own += [TRACKERS[name](folder, member.config, first_step) for name in member.config.run.trackers]
        self.health = [
            Health(own.config.run.reference, own.config) if own.config.run.reference else None for own in members or ()
        ]
        for line in itertools.chain(*(health.start() for health in self.health if health)):
            say(line)
        self.bar = tqdm(total=steps, initial=first_step, unit="step", disable=None, dynamic_ncols=True, smoothing=0.1)
        self.speed, self.drawn_at = "", time.monotonic()

    def content(self):
        """What has been logged so far, as a JSON-able dict for a checkpoint; {} on other processes."""
        return {"metrics": ["".join(lines) for lines in self.lines]} if self.writes else {}

    def lacks(self, step, split):
        """Whether this step and split have no line of metrics; False on processes that write none."""
        return self.writes and not any(
            (line["step"], line["split"]) == (step, split) for line in map(json.loads, self.lines[0])
        )

    def metrics(self, step, split, values, note=""):
        """Appends one line of metrics and prints it; `values` is name -> a float for each member."""
        values = dict(sorted(values.items(), key=_reading_order))
        for i, folder in enumerate(self.folders):
            self._append(folder, i, "metrics.jsonl", step, split, {name: own[i] for name, own in values.items()})
        if self.writes:
            say(f"step {step:,}  {split}  {_line(values)}{note}")
            for i, health in enumerate(self.health):
                if health:
                    for line in health.check(step, split, {name: own[i] for name, own in values.items()}):
                        say(f"{self.folders[i].name}: {line}" if len(self.folders) > 1 else line)

    def training(self, step, values, timings):
        """Appends one line of training metrics and one of timings, and prints both."""
        share = f"MFU {timings['mfu']:.1%}" if "mfu" in timings else f"{timings['flops_per_second'] / 1e9:,.3g} GFLOP/s"
        speed = f"{timings['tokens_per_second']:,.0f} tokens/s, {share}, data wait {timings['data_wait']:.1%}"
        for i, folder in enumerate(self.folders):
            self._append(folder, i, "timings.jsonl", step, "timing", timings)
        self.metrics(step, "train", values, f"  ({speed})")
        self.speed = speed

    def results(self, chance):
        """Writes each member's last held-out line, without the split, as result.json and returns these results.

        Other evaluations at that step are included as SPLIT/NAME, `chance` if it is not None, and `learned_nothing`,
        with the reason, if giving one answer to every example would have done as well.
        """
        if not self.writes:
            return [{} for _ in self.folders]
        results = [_result(folder, lines, chance) for folder, lines in zip(self.folders, self.lines, strict=True)]
        if len(results) == 1 and (reason := results[0].get("learned_nothing")):
            say(
                f"the run learned nothing: {reason}; try a pre-trained start (init.run), another optimizer.learning_rate, "
                "more steps or another seed"
            )
        return results

    def draw_curves(self, last=True):
        """Draws every metric so far against the step, training and held-out, as curves.png.

        `last`: the run ends with it; until then they are drawn at most every 10 seconds, since drawing takes half a second.
        """
        if self.writes and (last or time.monotonic() > self.drawn_at + 10):
            self.drawn_at = time.monotonic()
            for folder, lines in zip(self.folders, self.lines, strict=True):
                _draw_curves(folder, list(map(json.loads, lines)))

    def advance(self, loss=None):
        """Advances the bar by one step; `loss` is the previous step's, for each member."""
        if self.writes:
            if loss is not None and not self.bar.disable:
                shown = [f"loss {sum(loss) / len(loss):.4g}", *([self.speed] if self.speed else [])]
                self.bar.set_postfix_str(", ".join(shown), refresh=False)
            self.bar.update()

    def doing(self, what):
        """Shows next to the bar what takes time between two steps."""
        if self.writes:
            self.bar.set_postfix_str(what)

    def close(self):
        if self.writes:
            self.bar.close()
            for tracker in itertools.chain(*self.trackers):
                tracker.close()

    def _append(self, folder, number, name, step, split, values):
        if not self.writes:
            return
        line = json.dumps({"step": step, "split": split, **values}) + "\n"
        if name == "metrics.jsonl":
            self.lines[number].append(line)
        with files.naming(folder / name), open(folder / name, "a") as lines:
            lines.write(line)
        for tracker in self.trackers[number]:
            tracker.log(step, split, values)


def _line(values):
    """'loss 6.9  nsp_accuracy 0.74 (chance 0.68)'; `values` is name -> a float for each member."""
    chances = {chance_of(name) for name in values} & set(values)
    return "  ".join(
        _shown(name, own, values.get(chance_of(name))) for name, own in values.items() if name not in chances
    )


def _shown(name, values, chances=None):
    """'accuracy 0.74', or for several members 'accuracy 0.74 (0.71 to 0.76)'; followed by the chance level, if known."""
    notes = [f"{min(values):.4g} to {max(values):.4g}"] if len(values) > 1 else []
    if chances is not None:
        notes.append(f"chance {sum(chances) / len(chances):.4g}")
    return f"{name} {sum(values) / len(values):.4g}" + (f" ({'; '.join(notes)})" if notes else "")


def say(line):
    """Prints a line above the bar, on process 0."""
    if jax.process_index() == 0:
        tqdm.write(line)
        sys.stdout.flush()


def conclude(workdir, members, results, config):
    """Says what came out of a run, and returns it; {} on other processes.

    Of several members it is written to result.json: the `statistics.summary` where they differ in the seed alone,
    otherwise each one's result by name, {'step': 100, 'members': {'optimizer.learning_rate-0.0003': {...}, ...}}.

    Args:
      workdir: the run's folder.
      members: its `population.Member`s.
      results: of each, by `Log.results`; {} of one that ended because it was not finite.
      config: the run's.
    """
    if jax.process_index() != 0:
        return {}
    if len(members) == 1:
        say(f"finished at step {config.steps}: {shown(results[0])}")
        return results[0]
    results = completed(results)
    if all(member.changes.keys() == {"seed"} for member in members):
        whole = summary(results, [member.config.seed for member in members], config.task.statistic)
        lines = table(whole)
    else:
        whole = {
            "step": config.steps,
            "members": {member.name: result for member, result in zip(members, results, strict=True)},
        }
        lines = [f"{name}: {shown(result)}" for name, result in whole["members"].items()]
    files.write_json(Path(workdir) / "result.json", whole)
    for line in lines:
        say(line)
    return whole


def _result(folder, lines, chance):
    lines = list(map(json.loads, lines))
    heldout = [line for line in lines if line["split"] == "heldout"]
    if not heldout:
        raise UserError(
            f"{folder}/metrics.jsonl has no held-out line: give evals a split heldout, and another --workdir"
        )
    values = {name: value for name, value in heldout[-1].items() if name != "split"}
    for line in lines:
        if line["step"] == values["step"] and line["split"] not in ("train", "heldout"):
            values |= {f"{line['split']}/{name}": x for name, x in line.items() if name not in ("step", "split")}
    if chance is not None:
        values.setdefault("chance", float(chance))
    if reason := learned_nothing(values):
        values["learned_nothing"] = reason
    files.write_json(folder / "result.json", values)
    return values


def shown(result):
    """A result as one line: 'loss 6.66  mlm_accuracy 0.021'."""
    named = sorted(result.items(), key=_reading_order)
    numbers = [_shown(name, [value]) for name, value in named if name != "step" and not isinstance(value, str)]
    return cut("  ".join(numbers), 400)


def _reading_order(item):
    """The loss first, then its components, the optimizer's values last."""
    name, _ = item
    return name in ("gradient_norm", "learning_rate"), name != "loss", name


def _restored_metrics(path, last_step, saved):
    """The lines of metrics.jsonl up to a step: those saved with the checkpoint, if it has them."""
    found, damaged = files.logged_lines(path)
    kept = [line for line in found if json.loads(line)["step"] <= last_step]
    lines = kept if saved is None else saved.splitlines(keepends=True)
    if lines != kept:
        say(f"{path} lacked lines, or had others than the run wrote: those up to step {last_step} are restored")
    elif damaged:
        say(f"{path}: {damaged} damaged lines are dropped")
    elif saved is None and last_step and not found:
        say(f"{path} has no lines: what was measured up to step {last_step} is lost")
    if found != lines or damaged or path.exists() and path.stat().st_size != sum(len(line.encode()) for line in lines):
        _write_lines(path, lines)
    return lines


def _keep_timings(path, last_step, metrics):
    """Drops lines after a step; reports training lines that have no timings."""
    found, _ = files.logged_lines(path)
    kept = [line for line in found if json.loads(line)["step"] <= last_step]
    timed = {json.loads(line)["step"] for line in kept}
    trained = [line["step"] for line in map(json.loads, metrics) if line["split"] == "train"]
    lost = [step for step in trained if step not in timed]
    if lost:
        say(f"{path} has lost its lines of {len(lost)} steps, from {min(lost)} to {max(lost)}")
    if path.exists():
        _write_lines(path, kept)


def _write_lines(path, lines):
    with files.replacing(path) as file:
        file.write("".join(lines).encode())


def _draw_curves(workdir, lines):
    from matplotlib.figure import Figure  # takes half a second to import, needed only here

    names = [n for n in dict.fromkeys(n for line in lines for n in line) if n not in ("step", "split")]
    names = [name for name in names if name not in {chance_of(other) for other in names}]
    if not names:
        return
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for name, axis in zip(names, axes.flat):
        for number, split in enumerate(dict.fromkeys(line["split"] for line in lines)):
            for drawn, style in ((name, "-"), (chance_of(name), ":")):
                points = [(line["step"], line[drawn]) for line in lines if line["split"] == split and drawn in line]
                label = split if drawn == name else f"{split}, by chance"
                if points:
                    marker = "o" if len(points) < 20 else None
                    axis.plot(*zip(*points), style, color=f"C{number}", label=label, marker=marker, markersize=3)
        axis.set(title=name.replace("_", " "), xlabel="step")
        axis.grid(alpha=0.3)
        axis.legend()
    # Margins in inches: tight_layout would draw everything again to compute them.
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.8 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.35 / height, wspace=0.24, hspace=0.35
    )
    with files.replacing(Path(workdir) / "curves.png") as file:
        figure.savefig(file, dpi=110, format="png")
