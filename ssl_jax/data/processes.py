"""Work over many parts, in several processes: results in order, in bounded memory."""

import collections
import concurrent.futures
import multiprocessing
import os
import threading

from ssl_jax.errors import UserError

WAITING = 4  # results per process that wait for an earlier one


def in_order(function, tasks, workers, start, *arguments, threads=False):
    """Yields function(*task) for each task, in their order.

    Args:
      function, start: importable by name.
      tasks: tuples.
      workers: processes, or threads of this one; 1: neither.
      start, arguments: start(*arguments) runs first in each process.
      threads: for little work that is done outside of the interpreter; processes take seconds to start.

    Raises:
      UserError: a process was killed.
    """
    if threads or workers == 1:
        start(*arguments)
    if workers == 1:
        for task in tasks:
            yield function(*task)
        return
    if threads:
        pool = concurrent.futures.ThreadPoolExecutor(workers)
    else:
        # Spawned, not forked: the caller may have started JAX, whose threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, begin, (start, *arguments))
    waiting = collections.deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, *task))
            if len(waiting) == WAITING * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "a process that prepared the data was killed (out of memory?); run the same command again: finished parts "
            "are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def begin(start, *arguments):
    """Runs first in each process of a pool."""
    # The pool already has a process per core.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    # A pool's processes wait for work forever if their parent is killed.
    threading.Thread(target=end_with_parent, daemon=True).start()
    start(*arguments)
