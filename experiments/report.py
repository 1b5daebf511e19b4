"""A table's report: headings, tables and sentences, in plain text, Markdown, LaTeX or HTML."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyterrier_taskarith.tables import FORMATS, Table, latex, markdown


@dataclass(frozen=True, repr=False)
class Section:
    """A part of a report; prints as text, and shows as HTML in a notebook.

    Attributes:
        title: Its heading.
        tables: Its tables.
        sentences: What stands below them, each an item of a list.
    """

    title: str
    tables: Sequence[Table] = ()
    sentences: Sequence[str] = field(default=())

    def _repr_html_(self) -> str:
        return written([self], "html")

    def __str__(self) -> str:
        return written([self], "text")

    __repr__ = __str__


#: Format -> how a heading and a list are written in it.
HEADINGS: dict[str, Callable[[str], str]] = {
    "text": lambda title: f"{title}\n{'=' * len(title)}",
    "markdown": lambda title: f"## {markdown(title)}",
    "latex": lambda title: rf"\section*{{{latex(title)}}}",
    "html": lambda title: f"<h2>{html.escape(title)}</h2>",
}
LISTS: dict[str, Callable[[Sequence[str]], str]] = {
    "text": lambda items: "\n".join(f"- {item}" for item in items),
    "markdown": lambda items: "\n".join(f"- {markdown(item)}" for item in items),
    "latex": lambda items: "\n".join([r"\begin{itemize}", *(rf"\item {{}}{latex(item)}" for item in items),
                                      r"\end{itemize}"]),
    "html": lambda items: "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>",
}
#: Format -> the ending of a file in it.
ENDINGS = {"text": ".txt", "markdown": ".md", "latex": ".tex", "html": ".html"}


def written(sections: Sequence[Section], form: str) -> str:
    """Returns a report in one of the formats, with a line feed at its end."""
    parts = []
    for section in sections:
        parts += [HEADINGS[form](section.title), *(FORMATS[form](table) for table in section.tables)]
        if section.sentences:
            parts.append(LISTS[form](section.sentences))
    return "\n\n".join(parts) + "\n"
