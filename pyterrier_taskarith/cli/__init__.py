"""The command ``taskarith``: one file for each of its subcommands."""

from pyterrier_taskarith.cli._main import main

__all__ = ["main"]
