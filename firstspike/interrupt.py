"""An interrupt while a command is being loaded, which takes a second, ends it at once and without a traceback."""

import os
import signal


def leave(*_: object) -> None:
    """End at once."""
    os.write(2, b"\ninterrupted: nothing was begun\n")
    os._exit(130)


def leave_while_loading() -> None:
    """Let an interrupt end the process; `ready` takes it back."""
    signal.signal(signal.SIGINT, leave)


def ready() -> None:
    """Let an interrupt be a KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
