"""Tables in plain text, Markdown, LaTeX and HTML: the one table printer of the package and the experiments."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from pyterrier_taskarith.errors import printable

STAR = "*"

# Greek letters that LaTeX has commands for; the capitals that look Latin, and omicron, have none.
_SMALL = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi "
          "psi omega").split()
_CAPITAL = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
GREEK = {unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): rf"\{name}"
         for case, names in (("SMALL", _SMALL), ("CAPITAL", _CAPITAL)) for name in names}

# A run of subscript digits, as in Θ₀.
SUBSCRIPTS = {unicodedata.lookup(f"SUBSCRIPT {name}"): str(digit) for digit, name in
              enumerate("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split())}

_LATEX_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
                  "′": "'", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
                  **{character: f"\\{character}" for character in "&%$#_{}"}}
_SYMBOL = re.compile(rf"([{''.join(GREEK)}])(?:_([^\W_]+)|([{''.join(SUBSCRIPTS)}]+))?(['′]*)")
# An underscore between letters starts no emphasis, brackets make a link only with a parenthesis after them, and & an
# entity only with a semicolon after a word.
_MARKDOWN_SPECIAL = re.compile(r"[\\`*|<>~$]|(?<!\w)_|_(?!\w)|\](?=\()|&(?=#?\w+;)")


@dataclass(frozen=True)
class Cell:
    """One entry of a table."""

    text: str
    bold: bool = False
    star: bool = False


@dataclass(frozen=True)
class Table:
    """A table before it is written in a format.

    Attributes:
        header: Column titles.
        rows: Cells, as many to a row as there are titles.
        notes: Sentences below the table.
        n_labels: How many columns, from the left, hold names; the others hold numbers.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    n_labels: int = 1

    def __str__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def to_text(table: Table) -> str:
    """Returns plain text: columns are aligned, digits under digits, with stars in a column of their own."""
    columns = []
    for index, title in enumerate(table.header):
        cells = [row[index] for row in table.rows]
        starred = any(cell.star for cell in cells)
        texts = [cell.text + (STAR if cell.star else " ") * starred for cell in cells]
        width = max(map(display_width, [title + " " * starred, *texts]))
        # The title stands over the digits, not over the star.
        texts = [title + " " * starred, *texts]
        padding = [" " * (width - display_width(text)) for text in texts]
        is_label = index < table.n_labels
        columns.append([text + pad if is_label else pad + text for text, pad in zip(texts, padding, strict=True)])
    lines = ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]
    return printable("\n".join([*lines, *table.notes]))


def to_markdown(table: Table) -> str:
    """Returns GitHub's Markdown."""
    def written(cell: Cell) -> str:
        text = markdown(cell.text)
        return (f"**{text}**" if cell.bold else text) + markdown(STAR) * cell.star

    rule = ["---" if index < table.n_labels else "---:" for index in range(len(table.header))]
    titles = [markdown(title) for title in table.header]
    lines = [titles, rule, *([written(cell) for cell in row] for row in table.rows)]
    # Two spaces at the end of a line: the next note starts a line of its own.
    notes = "  \n".join(markdown(note) for note in table.notes)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{notes}"


def to_latex(table: Table) -> str:
    """Returns LaTeX for the package booktabs; Greek letters are written as mathematics, which any engine can set."""
    def written(cell: Cell) -> str:
        text = latex(cell.text)
        return (rf"\textbf{{{text}}}" if cell.bold else text) + STAR * cell.star

    width = len(table.header)
    rows = [" & ".join(map(written, row)) + r" \\" for row in table.rows]
    # At the start of a row, after \\, LaTeX would take [ for an argument and * for a variant of the command.
    rows = [f"{{}}{row}" if row.startswith(("[", "*")) else row for row in rows]
    return "\n".join([
        rf"\begin{{tabular}}{{{'l' * table.n_labels}{'r' * (width - table.n_labels)}}}",
        r"\toprule",
        " & ".join(map(latex, table.header)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\medskip",
        r"{\footnotesize\noindent",
        *map(latex, table.notes),
        r"\par}",
    ])


def to_html(table: Table) -> str:
    """Returns an HTML table, as notebooks show it."""
    def written(cell: Cell, index: int) -> str:
        text = html.escape(cell.text)
        inner = (f"<b>{text}</b>" if cell.bold else text) + STAR * cell.star
        return f'<th scope="row">{inner}</th>' if index == 0 else f"<td{aligned(index)}>{inner}</td>"

    def aligned(index: int) -> str:
        return ' style="text-align: left"' if index < table.n_labels else ' style="text-align: right"'

    titles = "".join(f'<th scope="col"{aligned(index)}>{html.escape(title)}</th>'
                     for index, title in enumerate(table.header))
    rows = ["<tr>" + "".join(written(cell, index) for index, cell in enumerate(row)) + "</tr>" for row in table.rows]
    notes = "<br>".join(html.escape(note) for note in table.notes)
    return "\n".join(["<table>", f"<thead><tr>{titles}</tr></thead>", "<tbody>", *rows, "</tbody>", "</table>",
                      *([f"<p>{notes}</p>"] if notes else [])])


#: Format -> function that writes a table in it.
FORMATS: dict[str, Callable[[Table], str]] = {
    "text": to_text, "markdown": to_markdown, "latex": to_latex, "html": to_html}


def one_line(given: object) -> str:
    """Writes a system's or a measure's name on one line: a line break would end the row."""
    return " ".join(str(given).split())


def decimal(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Writes a number as the paper does, without a leading zero: .701, -.012, 1.000; "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    # Noise in the last bits of a mean such as .3325 must not decide its third decimal.
    text = f"{round(abs(value), 10):.{digits}f}"
    minus = "-" if value < 0 and float(text) != 0 else "+" if sign else ""
    return minus + text.removeprefix("0")


def p_value(p: float) -> str:
    """Writes a p value to four decimals; what would be .0000 is written <.0001."""
    return "<.0001" if p < 0.00005 else decimal(p, 4)


def interval(low: float, high: float) -> str:
    """Writes an interval as [-.002, +.010]."""
    return "n/a" if math.isnan(low) else f"[{decimal(low, sign=True)}, {decimal(high, sign=True)}]"


def percent(fraction: float) -> str:
    """Writes .99 as "99 %" and 1 − .01/3 as "99.667 %"."""
    return f"{100 * fraction:.5g} %"


def markdown(text: str) -> str:
    r"""Escapes what Markdown would take for markup.

    >>> print(markdown("* a|b, Θ_T"))
    \* a\|b, Θ_T
    """
    return _MARKDOWN_SPECIAL.sub(r"\\\g<0>", text)


def latex(text: str) -> str:
    r"""Escapes what LaTeX would take for commands, and writes Greek symbols with their index as mathematics.

    >>> print(latex("Θ_T & Θ' (α=.7), ndcg_cut_10"))
    $\Theta_{T}$ \& $\Theta'$ ($\alpha$=.7), ndcg\_cut\_10
    """
    parts, end = [], 0
    for symbol in _SYMBOL.finditer(text):
        parts.append(_plain_latex(text[end:symbol.start()]))
        letter, index, digits, primes = symbol.groups()
        index = index or "".join(SUBSCRIPTS[digit] for digit in digits or "")
        parts.append(f"${GREEK[letter]}{f'_{{{index}}}' if index else ''}{primes.replace('′', chr(39))}$")
        end = symbol.end()
    return "".join([*parts, _plain_latex(text[end:])])


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal: combining marks none, East Asian wide characters two.

    >>> display_width("Θ_T"), display_width("Θ̂'"), display_width("検索")
    (3, 2, 4)
    """
    return sum(0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else
               2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _plain_latex(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)
