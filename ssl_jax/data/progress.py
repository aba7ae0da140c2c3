"""What is seen of work that takes minutes: a bar on a terminal, elsewhere a line as it begins and one a minute."""

import sys
import time

import tqdm

SECONDS = 60


def say(line):
    """Prints a line about the preparation of data; stdout is for results."""
    print(f"preparing: {line}", file=sys.stderr, flush=True)


def progress(items, what, unit, total=None, announced=False, patience=0):
    """Yields the items and shows that `what` is done, and how many `unit` of `total` have passed.

    Args:
      items: any iterable.
      what, unit: as in 'reading', 'documents'.
      total: the number of items, where it is known.
      announced: a line has said already that it begins.
      patience: seconds before the first line; what is done by then is not worth one.
    """
    if sys.stderr.isatty():
        yield from tqdm.tqdm(items, f"preparing: {what}", total, unit=f" {unit}", leave=False, unit_scale=True)
        return
    of = "" if total is None else f" of {total:,}"
    began = time.monotonic()
    due = began + SECONDS
    for count, item in enumerate(items, 1):
        # Not before something came: what fails at once is one line, the error's.
        if not announced and time.monotonic() >= began + patience:
            say(f"{what} {unit}" if total is None else f"{what} {total:,} {unit}")
            announced = True
        yield item
        if time.monotonic() > due:
            say(f"{what} {count:,}{of} {unit}")
            due = time.monotonic() + SECONDS
