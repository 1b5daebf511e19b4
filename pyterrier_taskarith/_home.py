"""Where the package keeps what it can make again: hashes of files, indexes and collections of the demo."""

import os
from pathlib import Path


def home() -> Path:
    """Returns the cache folder: ``$TASKARITH_HOME``, else ``taskarith`` in the user's cache folder."""
    if "TASKARITH_HOME" in os.environ:
        return Path(os.environ["TASKARITH_HOME"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "taskarith"
