"""Writes a table as plain text, Markdown, LaTeX or HTML."""

from __future__ import annotations

import html

from pyterrier_taskarith.evaluation._escape import display_width, latex, markdown
from pyterrier_taskarith.evaluation.tables import Cell, Table

STAR = "*"


def to_text(table: Table) -> str:
    """Plain text: columns that line up, digits under digits, stars in a place of their own."""
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
    return "\n".join([*lines, *table.notes])


def to_markdown(table: Table) -> str:
    """GitHub's Markdown."""
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
    """LaTeX with the rules of the package booktabs. Greek letters become mathematics, so any engine sets them."""
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
    """An HTML table, as notebooks show it."""
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
                      f"<p>{notes}</p>"])
