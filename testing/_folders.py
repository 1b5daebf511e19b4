"""What every family shares: the three folders of a triple, and options that may differ between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, get_args

Role = Literal["base", "domain", "ranker"]
ROLES: tuple[Role, ...] = get_args(Role)
T = TypeVar("T")
PerRole: TypeAlias = T | Mapping[str, T]

__all__ = ["ROLES", "PerRole", "Role", "Triple", "as_json", "for_role", "make_folders"]


@dataclass(frozen=True)
class Triple:
    """The folders of Θ_T (`ranker`), Θ_D (`domain`) and Θ_0 (`base`)."""

    ranker: Path
    domain: Path
    base: Path


def make_folders(parent: Path) -> Triple:
    """Makes `ranker`, `domain` and `base` under `parent`, and `parent` where it is missing.

    Raises:
        FileExistsError: one of them exists: a factory never mixes its files with others.
    """
    folders = {role: Path(parent) / role for role in ROLES}
    for folder in folders.values():
        folder.mkdir(parents=True)
    return Triple(**folders)


def for_role(option: PerRole[T], role: Role, otherwise: T) -> T:
    """Returns an option's value for one folder of the triple.

    Args:
        option: one value for all three folders, or a mapping from role to value.
        role: the folder.
        otherwise: the value for roles that the mapping leaves out.

    Raises:
        ValueError: the mapping names a role that does not exist.
    """
    if not isinstance(option, Mapping):
        return option
    if unknown := set(option) - set(ROLES):
        raise ValueError(f"unknown roles {sorted(unknown)}: options are given for {', '.join(ROLES)}")
    return option.get(role, otherwise)


def as_json(content: object) -> bytes:
    """Returns `content` as the hub's folders write it: indented UTF-8."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
