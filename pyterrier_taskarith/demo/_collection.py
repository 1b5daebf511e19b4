"""The demo's collection: docstrings of installed packages, and what other docstrings' "See Also" says of them."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyterrier_taskarith._files import new_folder, remove_left
from pyterrier_taskarith.data import Collection, read_collection, split_of
from pyterrier_taskarith.demo import _docstrings
from pyterrier_taskarith.demo._names import Names
from pyterrier_taskarith.demo._see_also import read_entries, require_numpydoc, split_see_also, summary
from pyterrier_taskarith.errors import SetupError

PACKAGES = ("numpy", "scipy", "pandas")
FORMAT = 1  # raise it when the same docstrings would give another collection
MINIMUM_WORDS = 3
SIMILAR = 0.7  # a query with this share of its words in the target's summary line is not a task
GENERAL = 10  # a description of more documents than this describes none of them
TIMEOUT = 600  # seconds; reading takes about five of one core


def build_collection(folder: Path) -> Collection:
    """Returns the docstrings of numpy, scipy and pandas as a test collection, built once and kept in a folder.

    A document is a docstring without its "See Also" section; docstrings with the same text are one document, under the
    shortest of their public names. A query is the description that a "See Also" entry gives of another function; the
    documents that the entry names are relevant, as are those of every other entry with the same description. Left out
    are descriptions of fewer than three words, those with 70 % or more of their words in the summary line of a document
    they describe, and those given to more than ten documents. Queries are divided into development and test by a hash
    of the query.

    The collection lies in a subfolder named after the packages' versions, in the plain layout of `read_collection`; the
    names of folded documents are the ``aliases`` of docs.jsonl.

    Args:
        folder: Where collections are kept; made if it does not exist.

    Returns:
        The collection "docstrings", with the splits "dev" and "test" and a report of what was read and left out.

    Raises:
        MissingPackageError: numpydoc is not installed.
        SetupError: The packages cannot be read.
    """
    versions = [f"{package} {version(package)}" for package in PACKAGES]
    target = Path(folder) / "-".join(["docstrings", *(v.replace(" ", "") for v in versions), f"v{FORMAT}"])
    remove_left(target)
    if not target.is_dir():
        require_numpydoc()
        print(f"building the collection from the docstrings of {', '.join(PACKAGES)}, once (under a minute)",
              file=sys.stderr, flush=True)
        made = make_collection(read_packages(PACKAGES), ", ".join(versions))
        with suppress(FileExistsError), new_folder(target) as new:  # another process may be faster
            _write(made, new)
    report = (target / "report.txt").read_text(encoding="utf-8")
    return replace(read_collection(target), name="docstrings", report=report)


@dataclass(frozen=True)
class Made:
    """A collection as it is written: rows of docs.jsonl, query to relevant docnos, and the report."""

    documents: list[dict[str, Any]]
    relevant: dict[str, set[str]]
    report: str


def read_packages(packages: tuple[str, ...]) -> dict[str, Any]:
    """Returns the packages' docstrings and names, read in a process of its own (`_docstrings.Inventory.as_json`)."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "inventory.json"
        # By path, so that the process does not import PyTerrier and torch; -P, so that the folder hides no module.
        command = [sys.executable, "-P", _docstrings.__file__, str(out), *packages]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode != 0 or not out.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SetupError(f"The docstrings of {', '.join(packages)} cannot be read: {last}")
        inventory: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return inventory


def make_collection(inventory: dict[str, Any], source: str) -> Made:
    """Returns documents, queries and judgements from an inventory.

    Args:
        inventory: What `read_packages` returns.
        source: The packages and their versions, for the report.
    """
    texts = inventory["texts"]
    names = Names(inventory["roots"], inventory["containers"], inventory["imports"], len(texts))
    halves = [split_see_also(text) for text in texts]

    # Docstrings that differ only in "See Also" are the same document.
    bodies: dict[str, list[int]] = {}
    for number, (body, _) in enumerate(halves):
        if names.of(number) and body:
            bodies.setdefault(body, []).append(number)
    document: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    for body, numbers in bodies.items():
        every = names.of(*numbers)
        document.update((number, every[0]) for number in numbers)
        rows.append({"docno": every[0], "title": "", "text": body, "aliases": every[1:]})
    rows.sort(key=lambda row: row["docno"])

    counts: Counter[str] = Counter()
    described: dict[str, set[str]] = {}
    for number, (_, section) in enumerate(halves):
        if number not in document:
            continue
        for entry in read_entries(section):
            for name in entry.names:
                meaning = names.resolve(name, number)
                targets = {document[text] for text in meaning.texts if text in document}
                counts["names"] += 1
                if len(targets) != 1:
                    counts["ambiguous" if targets else "undocumented" if meaning.exists else "unknown"] += 1
                    continue
                counts["resolved"] += 1
                description = _query(entry.description)
                if targets == {document[number]}:
                    counts["itself"] += 1
                elif not description:
                    counts["no description"] += 1
                elif len(_words(description)) < MINIMUM_WORDS:
                    counts["too short"] += 1
                else:
                    described.setdefault(description, set()).update(targets)

    summaries = _Summaries({row["docno"]: row["text"] for row in rows})
    relevant = {}
    for description, docnos in sorted(described.items()):
        if len(docnos) > GENERAL:
            counts["too general"] += 1
        elif max(summaries.overlap(description, docno) for docno in docnos) >= SIMILAR:
            counts["too similar"] += 1
        else:
            relevant[description] = docnos
    return Made(rows, relevant, _report(source, rows, counts, len(described), relevant, inventory["skipped"]))


class _Summaries:
    """The words of documents' summary lines, each read when first asked for."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self._read: dict[str, set[str]] = {}

    def overlap(self, query: str, docno: str) -> float:
        """Returns the share of a query's words that stand in a document's summary line."""
        if docno not in self._read:
            self._read[docno] = set(_words(summary(self._texts[docno])))
        words = _words(query)
        return sum(word in self._read[docno] for word in words) / len(words)


def _query(description: str) -> str:
    return description.rstrip(". ")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _report(
    source: str,
    rows: list[dict[str, Any]],
    counts: Counter[str],
    described: int,
    relevant: dict[str, set[str]],
    skipped: dict[str, str],
) -> str:
    names = len(rows) + sum(len(row["aliases"]) for row in rows)
    development = sum(split_of(query) == "dev" for query in relevant)
    lines = [
        f"{len(rows)} documents: the docstrings of {source} without their See Also sections; docstrings with the same "
        f"text are one document ({names} public names in all).",
        f"{counts['names']} names in See Also entries: {counts['resolved']} resolved, {counts['ambiguous']} ambiguous, "
        f"{counts['unknown'] + counts['undocumented']} unresolved ({counts['unknown']} lead nowhere in these packages, "
        f"{counts['undocumented']} to something without a docstring).",
        f"Of the resolved, {counts['itself']} name the document they stand in, {counts['no description']} have no "
        f"description and {counts['too short']} one of fewer than {MINIMUM_WORDS} words.",
        f"{described} different descriptions: {counts['too similar']} have {SIMILAR:.0%} or more of their words in a "
        f"target's summary line, {counts['too general']} fit more than {GENERAL} documents; the other "
        f"{len(relevant)} are the queries: {development} for development, {len(relevant) - development} for testing, "
        f"by a hash of the query.",
    ]
    if skipped:
        lines.append("Modules that could not be imported: " + ", ".join(f"{k} ({v})" for k, v in skipped.items()) + ".")
    return "\n".join(lines)


def _write(made: Made, folder: Path) -> None:
    qids = {query: "q" + hashlib.sha256(query.encode()).hexdigest()[:12] for query in made.relevant}
    lines = {
        "docs.jsonl": [json.dumps(row, ensure_ascii=False) for row in made.documents],
        "queries.tsv": [f"{qid}\t{query}" for query, qid in qids.items()],
        "qrels.txt": [f"{qids[q]} 0 {docno} 1" for q, docnos in made.relevant.items() for docno in sorted(docnos)],
    }
    for name, content in lines.items():
        (folder / name).write_text("".join(line + "\n" for line in content), encoding="utf-8", newline="\n")
    (folder / "report.txt").write_text(made.report, encoding="utf-8")
