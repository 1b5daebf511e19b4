"""The "See Also" section of a docstring: taken out of it, and read."""

import re
import textwrap
import warnings
from dataclasses import dataclass

from pyterrier_taskarith.errors import MissingPackageError

HEADING = re.compile(r"see also:?", re.IGNORECASE)
UNDERLINE = re.compile(r"-{3,}|={3,}")


@dataclass(frozen=True)
class SeeAlsoEntry:
    """One entry of a "See Also" section.

    Attributes:
        names: The names as written, without role and markup; one entry may name several things.
        description: What the author wrote about them, on one line; empty where nothing was written.
    """

    names: tuple[str, ...]
    description: str


def require_numpydoc() -> None:
    """Raises a MissingPackageError that says what to install if numpydoc is missing."""
    try:
        import numpydoc.docscrape  # noqa: F401
    except ImportError:
        raise MissingPackageError(
            "The demo's collection is read from docstrings with numpydoc, which is not installed: "
            'run `pip install "pyterrier_taskarith[demo]"`.'
        ) from None


def split_see_also(docstring: str) -> tuple[str, str]:
    """Returns a docstring without its "See Also" sections, and the lines of these without the headings.

    Everything else stays as its author wrote it; numpydoc's own rendering would drop sections it does not know.
    """
    lines = docstring.split("\n")
    body: list[str] = []
    section: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if line.strip() and UNDERLINE.fullmatch(following):
            inside = HEADING.fullmatch(line.strip()) is not None
            if inside:
                continue
        if inside and UNDERLINE.fullmatch(line.strip()):
            continue
        (section if inside else body).append(line)
    return "\n".join(body).strip(), "\n".join(section).strip("\n")


def read_entries(section: str) -> list[SeeAlsoEntry]:
    """Returns the entries of a "See Also" section, by numpydoc's parser.

    An entry that numpydoc refuses is left out; the others of its section are kept.
    """
    lines = textwrap.dedent(section).split("\n")
    try:
        return _parse(lines)
    except ValueError:
        entries: list[SeeAlsoEntry] = []
        for block in _blocks(lines):
            try:
                entries += _parse(block)
            except ValueError:
                continue
        return entries


def summary(docstring: str) -> str:
    """Returns a docstring's summary, on one line: its first paragraph that is not a signature, as numpydoc has it."""
    from numpydoc.docscrape import NumpyDocString

    # Signatures and the summary stand in the first paragraphs; what follows need not be parsed, nor be well formed.
    paragraphs = "\n\n".join(re.split(r"\n\s*\n", docstring.strip())[:4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lines = NumpyDocString(paragraphs)["Summary"]
        except ValueError:  # a section that numpydoc refuses; the summary stands before it
            lines = paragraphs.split("\n\n")[:1]
    return " ".join(" ".join(lines).split())


def _parse(lines: list[str]) -> list[SeeAlsoEntry]:
    from numpydoc.docscrape import NumpyDocString

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = NumpyDocString("\n".join(["See Also", "--------", *lines]))["See Also"]
    return [
        SeeAlsoEntry(tuple(name.lstrip("~") for name, _ in functions), " ".join(" ".join(description).split()))
        for functions, description in parsed
    ]


def _blocks(lines: list[str]) -> list[list[str]]:
    """Returns an unindented line and the indented ones after it, each time."""
    blocks: list[list[str]] = []
    for line in lines:
        if not line.strip():
            continue
        if blocks and line.startswith(" "):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks
