"""SIGTERM and Ctrl-C: a run saves itself, then stops."""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

from ssl_jax import logs


class Watch:
    """Notices SIGTERM and Ctrl-C; on several hosts, all of them agree on the step (JAX's preemption service).

    The first Ctrl-C lets the run save itself, a second one ends the process at once. A context manager: when it is left
    the signals do what they did before.
    """

    def __init__(self):
        self.signal, self.several, self.handlers = None, jax.process_count() > 1, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # no other one may
            numbers = (signal.SIGINT,) if self.several else (signal.SIGINT, signal.SIGTERM)
            self.handlers = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *error):
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        del frame
        self.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # Not print: this may interrupt one.
            os.write(2, b"\nCtrl-C: saving after this step, or after a running evaluation; once more stops at once\n")
            if self.several:
                os.kill(os.getpid(), signal.SIGTERM)  # JAX passes it on to the other hosts

    def requested(self, step):
        """Whether the run is to stop after this step."""
        if self.several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.signal is not None

    def leave(self, line):
        """Prints a line that says what is kept; after Ctrl-C raises KeyboardInterrupt with it, for the caller to stop too."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt(line)
        logs.say(f"SIGTERM: {line}")
