"""Names in Markdown and LaTeX, and how wide they print."""

from __future__ import annotations

import re
import unicodedata

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
