"""What the plots share: matplotlib when it is needed, and figures that are shown once and written whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# The package's extra that brings matplotlib.
EXTRA = "demo"


def pyplot(what: str) -> Any:  # noqa: ANN401 - matplotlib is optional
    """Imports matplotlib.pyplot.

    Args:
        what: What is to be drawn, for the error.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{what} needs matplotlib, which is not installed: "
                          f'run `pip install "pyterrier_taskarith[{EXTRA}]"`') from error
    return plt


def finished(figure: Any, path: str | Path | None) -> Any:  # noqa: ANN401 - matplotlib is optional
    """Writes a figure where asked to, and takes it out of pyplot's hands, else a notebook shows it twice.

    Args:
        figure: A figure that pyplot made.
        path: A file, whose suffix says the format (none: PNG), or None. Its folder is made; the file appears whole.

    Returns:
        The figure.
    """
    try:
        if path is not None:
            path = Path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                figure.savefig(part, dpi=150, format=path.suffix.removeprefix(".") or "png")
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    finally:
        pyplot("a plot").close(figure)
    return figure
