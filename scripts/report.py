"""Reports a sweep beside the published numbers, finished or not, or any runs beside each other.

python scripts/report.py sweeps/albert-table5             # a table here; report.md, .csv files and report.html in W/report
python scripts/report.py sweeps/albert-table5 --watch     # again every 30 seconds, until all runs are done
python scripts/report.py runs/a runs/b runs/seeds         # what their configs differ in, and what they reached
python scripts/report.py runs/seeds/seed-* --reference good.json    # their curves as bands, for run.reference (health.py)
"""

import sys
import time
from pathlib import Path

from absl import flags

from ssl_jax import command_line

WORKDIR = command_line.define_path(
    "workdir", None, "where the report goes (default: report/ in the sweep, or beside the runs)"
)
WATCH = command_line.define_seconds(
    "watch", 30, "write and print it again every so many seconds until all runs are done"
)
REFERENCE = command_line.define_path(
    "reference", None, "write the bands of these runs' curves there, and do nothing else"
)
ALLOW_UNEQUAL = flags.DEFINE_bool("allow_unequal", False, "report rows that were measured on different data, marked")


def main(*folders):
    from ssl_jax import files, health
    from ssl_jax.reports import measure, page, study, text  # after the flags: --help need not wait for SciPy
    from ssl_jax.sweeps import ledger

    if REFERENCE.value:
        made = health.reference(folders)
        files.write_json(REFERENCE.value, made)
        print(f"{REFERENCE.value} has the bands of {len(made['bands'])} curves of {made['runs']} runs")
        return
    place = Path(folders[0]) / "report" if ledger.is_sweep(folders[0]) else Path(folders[0]).parent / "report"
    place = Path(WORKDIR.value or place)
    while True:
        found = study.read(folders)
        measured = measure.measure(found, ALLOW_UNEQUAL.value)
        text.write(measured, place)
        if WATCH.value and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        print(*text.terminal(measured), "", sep="\n")
        page.write(measured, place)
        print(f"{place / 'report.html'} shows it with curves; report.md and the .csv files are beside it", flush=True)
        if not WATCH.value or found.finished:
            return
        time.sleep(WATCH.value)


if __name__ == "__main__":
    command_line.run(main, usage="name a sweep or runs: report.py W, or report.py RUN RUN ...")
