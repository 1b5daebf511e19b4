"""Parses the command line, runs a subcommand, and turns errors into one line and an exit status."""

import argparse
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from pyterrier_taskarith import __version__
from pyterrier_taskarith.cli import _cache, _compare, _demo, _inspect, _merge, _sweep
from pyterrier_taskarith.errors import TaskArithError, printable

#: Each adds its parser to the subcommands. Whatever takes long to import is imported when a subcommand runs.
COMMANDS = (_inspect.add_to, _merge.add_to, _sweep.add_to, _compare.add_to, _cache.add_to, _demo.add_to)

MENDABLE = 1
BUG = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


class Terminated(BaseException):
    """The process was asked to end by SIGTERM; what is being written is removed, as after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        The exit status, of `exit_status`.

    Raises:
        SystemExit: With 0 after ``--help`` and ``--version``, with 2 where the command line is wrong.
    """
    _printable()
    given = _parser().parse_args(arguments)
    return exit_status("taskarith", lambda: given.run(given), debug=given.debug)


def exit_status(program: str, action: Callable[[], None], *, debug: bool = False) -> int:
    """Runs an action and turns errors into a line on standard error and an exit status.

    Args:
        program: Its name, which the line begins with.
        action: What to run.
        debug: Whether the traceback of an error that the user can mend is shown too.

    Returns:
        0; 1 after an error that the user can mend; 70 after an error of the program, whose traceback is shown; 130
        after Ctrl-C; 141 if nobody reads the output; 143 after SIGTERM.
    """
    _printable()
    try:
        with warnings.catch_warnings(), _terminable():
            warnings.showwarning = partial(_show_warning, program)
            action()
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print(f"{program}: terminated", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:
        # Else Python complains once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (TaskArithError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"{program}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return MENDABLE
    except Exception:
        traceback.print_exc()
        print(f"{program}: this is an error of the program, not of your input. Please report it with the command and "
              "the lines above.", file=sys.stderr)
        return BUG
    return 0


def _printable() -> None:
    """Lets a terminal that cannot show a character, such as Θ, show its code instead."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # closed, or not a stream of text
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@contextmanager
def _terminable() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that what is being written is removed."""
    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # Python allows it there alone
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="taskarith", description="Task arithmetic for neural re-rankers: "
                                                                   "Θ' = Θ_T + α(Θ_D − Θ_0).")
    parser.add_argument("--debug", action="store_true", help="print the traceback of every error")
    parser.add_argument("--version", action="version", version=f"taskarith {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for add_to in COMMANDS:
        add_to(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _show_warning(program: str, message: Warning | str, category: type[Warning], filename: str, lineno: int,
                  file: TextIO | None = None, line: str | None = None) -> None:
    """Prints a warning of this package as one line, and others with their file and line."""
    ours = Path(filename).is_relative_to(Path(__file__).parents[1])
    text = (f"{program}: warning: {printable(' '.join(str(message).split()))}\n" if ours
            else warnings.formatwarning(message, category, filename, lineno, line))
    print(text, end="", file=sys.stderr if file is None else file)
