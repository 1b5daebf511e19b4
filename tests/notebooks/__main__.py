"""`python -m tests.notebooks NAME …`: runs notebooks of experiments/ whole and writes them back, outputs and all."""

import os
import sys
import tempfile

from .running import EXPERIMENTS, code_cells, committed, execute, nbformat


def refresh(name: str) -> None:
    """Executes the notebook in an empty folder and writes it back, without what is of this machine or moment."""
    notebook = committed(name)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, folder)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)  # times
    path = EXPERIMENTS / f"{name}.ipynb"
    nbformat.write(notebook, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        refresh(argument.removesuffix(".ipynb").removeprefix("experiments/"))
