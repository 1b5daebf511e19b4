"""The command ``taskarith``: one file for each of its subcommands."""

from pyterrier_taskarith.cli._main import exit_status, main

__all__ = ["exit_status", "main"]
