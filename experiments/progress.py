"""How far a table is: a line for each run with the time left, a log with versions and hardware, and energy."""

import os
import platform
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("pyterrier_taskarith", "python-terrier", "pyterrier", "torch", "transformers", "tokenizers", "numpy",
            "scipy", "pandas", "ir_measures")
#: Of these a score may depend on: part of every run's recipe.
SCORING = ("pyterrier_taskarith", "torch", "transformers", "tokenizers", "numpy")


class Progress:
    """Tells of every run that is made, and how long the others will take."""

    def __init__(self, log: Path, *, quiet: bool = False) -> None:
        """Opens the log, to which each process adds.

        Args:
            log: The file.
            quiet: Whether nothing goes to standard error.
        """
        self._log, self._quiet = log.open("a", encoding="utf-8"), quiet
        self._expected = self._made = self._seconds = 0.0
        self._runs = self._all = 0

    def expect(self, cost: float) -> None:
        """Adds a run that is to come, with what it costs in any unit."""
        self._expected += cost
        self._all += 1

    def has(self, cost: float) -> None:
        """Counts a run that is there already."""
        self._expected -= cost
        self._runs += 1

    def made(self, name: str, pairs: int, cost: float, seconds: float) -> None:
        """Tells of a run that was made."""
        self._runs += 1
        self._made += cost
        self._seconds += seconds
        left = self._seconds * max(self._expected - self._made, 0) / self._made if self._made else 0.0
        self.say(f"[{self._runs}/{self._all}] {name}: {pairs} pairs in {seconds:.1f} s; {in_words(left)} left")

    def say(self, text: str) -> None:
        """Writes a line to the log and to standard error."""
        self.log(text)
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def log(self, text: str) -> None:
        """Writes a line to the log alone."""
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=self._log, flush=True)

    def close(self) -> None:
        """Closes the log."""
        self._log.close()


class Energy:
    """Measures the energy of a block where codecarbon is installed; says so where it is not."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tracker: Any = None

    def __enter__(self) -> "Energy":
        if find_spec("codecarbon") is None:
            self._progress.say("energy: not measured (pip install codecarbon measures it)")
            return self
        from codecarbon import EmissionsTracker

        self._tracker = EmissionsTracker(save_to_file=False, log_level="error")
        self._tracker.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._tracker is not None:
            self._tracker.stop()
            energy = self._tracker.final_emissions_data.energy_consumed
            self._progress.say(f"energy: {energy:.6f} kWh, as codecarbon estimates it")


def hardware() -> str:
    """Returns the machine in words."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return (f"{platform.platform()}, {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
            f"GPU: {', '.join(gpus) or 'none'}")


def processor() -> str:
    """Returns the processor's name, as Linux or Python tell it."""
    about = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in about.read_text(encoding="utf-8").splitlines()
             if line.startswith("model name")] if about.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Returns package -> version."""
    return {package: version(package) for package in packages}


def in_words(seconds: float) -> str:
    """Returns a duration: "2 h 05 min", "7 min", "40 s"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
