"""Where Θ_T and τ are kept while α changes: in memory beside the loaded weights, or in their files."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from pyterrier_taskarith.arithmetic import MergePlan

#: ``weights="auto"`` keeps Θ_T and τ in memory where both, in float32, take less than this share of what is free.
MEMORY_SHARE = 0.5
#: Assumed to be free where the system does not say: half of a small machine's 8 GB.
ASSUMED_MEMORY = 4 * 2**30
#: A control group's limit, what it uses, and how much of that are files it could drop (cgroup v2, as in containers).
_LIMIT, _USED, _STATISTICS = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current", "memory.stat"))

#: Linux's statistics of its memory.
_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Residence:
    """Where Θ_T and τ are kept, and why.

    Attributes:
        choice: "memory": Θ_T and τ in float32 beside the loaded weights; or "disk": read at each change of weights.
        needed: Bytes of Θ_T and τ in float32.
        free: Bytes free on the device once the loaded weights are there.
        device: The device.
        asked: Whether the user asked for it, rather than for "auto".
    """

    choice: str
    needed: int
    free: int
    device: str
    asked: bool

    def __str__(self) -> str:
        if self.asked:
            return f"{self.choice}, as asked"
        less = "less" if self.choice == "memory" else "not less"
        return (f"{self.choice}: Θ_T and τ in float32 take {self.needed / 1e9:.2f} GB, {less} than half of the "
                f"{self.free / 1e9:.2f} GB free on {self.device}")


def choose_residence(wanted: str, plan: MergePlan, device: torch.device) -> Residence:
    """Chooses by the rule of MEMORY_SHARE, once the model is loaded.

    Args:
        wanted: "auto", "memory" or "disk".
        plan: What will be merged.
        device: Where the loaded weights are.
    """
    sizes = {name: 4 * torch.Size(shape).numel() for name, shape in plan.ranker.shapes.items()}
    needed = sum(sizes.values()) + sum(sizes[name] * len(plan.terms(name)) for name in plan.merged)
    free = free_memory(device)
    choice = wanted if wanted != "auto" else "memory" if needed < MEMORY_SHARE * free else "disk"
    return Residence(choice, needed, free, str(device), wanted != "auto")


def free_memory(device: torch.device) -> int:
    """Returns the free bytes of a device; of a CPU, without swapping and within the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = ASSUMED_MEMORY
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()) and hasattr(os, "sysconf"):  # not on Windows
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if _MEMORY.is_file():
        free = 1024 * int(_field(_MEMORY, "MemAvailable:", free // 1024))
    if _LIMIT.is_file() and (limit := _LIMIT.read_text().strip()).isdigit():
        used = int(_USED.read_text()) - int(_field(_STATISTICS, "inactive_file", 0))
        free = min(free, max(0, int(limit) - used))
    return free


def _field(path: Path, name: str, otherwise: int) -> int:
    for line in path.read_text().splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[1])
    return otherwise
