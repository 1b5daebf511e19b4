"""Parses the command line, runs a subcommand, and turns errors into one line and an exit status."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from pyterrier_taskarith.cli import _cache, _compare, _demo, _inspect, _merge, _sweep

#: Each adds its parser to the subcommands. Whatever takes long to import is imported when a subcommand runs.
COMMANDS = (_inspect.add_to, _merge.add_to, _sweep.add_to, _compare.add_to, _cache.add_to, _demo.add_to)

MENDABLE = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        The exit status: 0; 1 after an error that the user can mend; 130 after Ctrl-C; 141 if nobody reads the output.

    Raises:
        SystemExit: With 0 after ``--help``, with 2 where the command line is wrong.
    """
    parser = argparse.ArgumentParser(prog="taskarith", description="Task arithmetic for neural re-rankers: "
                                                                   "Θ' = Θ_T + α(Θ_D − Θ_0).")
    commands = parser.add_subparsers(dest="command", required=True)
    for add_to in COMMANDS:
        add_to(commands)
    given = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            given.run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("taskarith: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Else Python complains once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"taskarith: {' '.join(str(error).split())}", file=sys.stderr)
        return MENDABLE
    return 0


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                  file: TextIO | None = None, line: str | None = None) -> None:
    """Prints a warning of ours as one line, which is for the user, and others with the place in the code."""
    ours = Path(filename).is_relative_to(Path(__file__).parents[1])
    text = (f"taskarith: warning: {' '.join(str(message).split())}\n" if ours
            else warnings.formatwarning(message, category, filename, lineno, line))
    print(text, end="", file=sys.stderr if file is None else file)
