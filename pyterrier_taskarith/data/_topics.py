"""Topics in files and of ir_datasets: which of a topic's fields make its query; none is empty without a word."""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pandas as pd

from pyterrier_taskarith.data._formats import SHOWN, identifier, json_lines, lines, read_all
from pyterrier_taskarith.data._frames import check_queries
from pyterrier_taskarith.errors import DataError

#: Where TREC's topics have their number: attributes of the topic, or tags in it.
_NUMBERS = ("number", "num", "id", "qid")
#: Tags that make the query, by preference: those of TREC-COVID, the ad hoc tracks, Precision Medicine, Clinical
#: Decision Support, NTCIR and Indri.
_QUERIES = (("query",), ("title",), ("disease", "gene"), ("summary",), ("question",), ("content",), ("description",),
            ("desc",), ("text",))
#: What TREC's classic topics write at the beginning of a field.
_PREFIXES = {"num": "Number:", "title": "Topic:", "desc": "Description:", "narr": "Narrative:", "smry": "Summary:",
             "con": "Concept(s):", "fac": "Factor(s):", "def": "Definition(s):", "dom": "Domain:"}
#: An opening tag, and the tags that end a field of classic topics, wherever they are.
_TAG = r"<(\w[\w-]*)(?:\s[^<>]*)?>"
_FIELDS = {*_PREFIXES, *(tag for tags in _QUERIES for tag in tags), "head"}
#: The names of a header's first two columns.
_HEADER = re.compile(r"(_?id|q(uery)?[-_ ]?id|topic([-_ ]?(id|number))?|num(ber)?)\t"
                     r"(query|queries|question|text|title|topic)([-_ ]?text)?", re.IGNORECASE)
_CHOOSE = "Choose among them with --topic-field on the command line, fields= in Python"


class Topic(NamedTuple):
    """A topic: its qid, its query, where it is, and the names of its fields."""

    qid: str
    query: str
    where: str
    fields: Iterable[str] = ()


def read_topics(path: str | Path, fields: Sequence[str] = ()) -> pd.DataFrame:
    """Returns topics: lines of qid TAB query; TREC's own format (``<top>``) or its XML; or BEIR's ``queries.jsonl``.

    Args:
        path: The file.
        fields: Of TREC's and BEIR's topics, the tags or keys whose texts make the query, in this order; none: of
            BEIR's, text; of TREC's, the first that a topic has of query, title, disease (with gene), summary, question,
            content, description, desc and text, or the text directly in the topic.

    Returns:
        qid and query (str). A first line such as qid TAB query is a header, which is left out.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If a line is something else, a query is empty (with its qid and tags), a qid occurs twice with
            different queries, or there are no topics; or if fields are given for topics that have none.
    """
    path = Path(path)
    first = next(lines(path), None)
    start = first.text.lstrip() if first else ""
    if start.startswith("<"):
        found = _trec(path, fields)
    elif start.startswith("{"):
        found = _beir(path, fields)
    elif fields:
        raise DataError(f"{path}: topics have fields in TREC's formats and BEIR's JSON alone; leave out "
                        f"{', '.join(fields)}.")
    else:
        found = _tabs(path)
    return topics_frame(found, str(path))


def topics_frame(topics: Iterable[Topic], source: str) -> pd.DataFrame:
    """Returns topics as a frame of qid and query.

    Raises:
        DataError: If there are none, a query is empty, or a qid occurs twice with different queries.
    """
    known: dict[str, Topic] = {}
    for topic in topics:
        if known.setdefault(topic.qid, topic).query != topic.query:
            raise DataError(f"{topic.where}: the qid {topic.qid!r} occurs twice, with different queries.")
    if not known:
        raise DataError(f"{source} holds no topics.")
    frame = pd.DataFrame([topic[:2] for topic in known.values()], columns=["qid", "query"])
    check_queries(source, frame, {qid: (topic.where, f": its fields are {', '.join(topic.fields)}. {_CHOOSE}" if
                                        topic.fields else "") for qid, topic in known.items()})
    return frame


def query_of(texts: Mapping[str, str], fields: Sequence[str], where: str) -> str | None:
    """Returns a topic's query: the texts of the fields, or of those that usually make it; None if it has none.

    Raises:
        DataError: If it lacks one of the fields.
    """
    wanted = [field.lower() for field in fields]
    lacking = [field for field in wanted if not texts.get(field, "").strip()]
    if lacking:
        raise DataError(f"{where} has no {' and no '.join(lacking)}: its fields are {', '.join(texts) or 'none'}. "
                        f"{_CHOOSE}.")
    chosen = wanted or next((list(tags) for tags in _QUERIES if tags[0] in texts), [])
    return None if not chosen else " ".join(filter(None, (texts.get(tag, "").strip() for tag in chosen)))


def _tabs(path: Path) -> Iterator[Topic]:
    for number, line in enumerate(lines(path)):
        qid, tab, query = line.text.strip(" ").partition("\t")
        if number == 0 and _HEADER.fullmatch(line.text.strip()):
            continue
        if not tab or not qid.strip() or "\t" in query.strip():
            raise DataError(f"{line.where}: not a qid, a TAB and a query: {line.text[:SHOWN]!r}.")
        yield Topic(qid.strip(), query.strip(), line.where)


def _beir(path: Path, fields: Sequence[str]) -> Iterator[Topic]:
    for line, record in json_lines(path):
        qid = identifier(record, "_id", line.where)
        texts = {key.lower(): value for key, value in record.items() if isinstance(value, str) and key != "_id"}
        query = texts["text"] if "text" in texts and not fields else query_of(
            texts, fields or ("text",), f"{line.where}: the topic {qid!r}")
        yield Topic(qid, (query or "").strip(), line.where)


def _trec(path: Path, fields: Sequence[str]) -> Iterator[Topic]:
    """Yields the topics of a file in the layouts of TREC's tracks.

    Raises:
        DataError: If it is no such file, or a topic has no number, or lacks one of the fields.
    """
    raw = read_all(path)
    classic = b"<top>" in raw.lower()
    try:
        if classic:
            parts = re.split(r"(?i)<top>", "\n".join(line.text for line in lines(path)))[1:]
            topics = [_classic(re.split(r"(?i)</top>", part)[0], fields) for part in parts]
        else:
            tags = list(ElementTree.fromstring(raw).iter())
            topics = ([part for part in tags if _tag(part) in ("topic", "top")] or
                      [part for part in tags if _tag(part) == "query"])
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not TREC topics ({error}).") from None
    for topic in topics:
        texts = _texts(topic)
        if classic:
            texts = {tag: value.removeprefix(_PREFIXES.get(tag, "")).strip() for tag, value in texts.items()}
        numbers = [*(topic.get(key, "") for key in _NUMBERS), *(texts.get(key, "") for key in _NUMBERS)]
        qid = next((number.removeprefix("Number:").strip() for number in numbers if number), "")
        if classic and qid.startswith("0"):  # of 051, judgements say 51
            qid = qid[1:] or qid
        if not qid or len(qid.split()) > 1:
            raise DataError(f"{path}: a topic has no number{f' but {qid!r}' * bool(qid)} (with the tags "
                            f"{', '.join(texts) or 'none'}).")
        query = query_of(texts, fields, f"{path}: the topic {qid!r}")
        if query is None and any(own and own.strip() for own in (topic.text, *(part.tail for part in topic))):
            # the topic's own text, with what is marked up in it
            query = _words(topic.text or "", *(("" if _tag(part) in _NUMBERS else "".join(part.itertext())) +
                                               (part.tail or "") for part in topic))
        yield Topic(qid, query or "", str(path), texts)


def _classic(text: str, fields: Sequence[str]) -> ElementTree.Element:
    """Returns what is between ``<top>`` and ``</top>``, where tags need not be closed, and & and < may stand alone."""
    try:
        return ElementTree.fromstring(f"<top>{text}</top>")
    except ElementTree.ParseError:
        topic = ElementTree.Element("top")
    first = {tag.lower() for tag in re.findall(rf"(?m)^\s*{_TAG}", text)}  # on a line
    names = {*_FIELDS, *_NUMBERS, *first, *(field.lower() for field in fields)}
    opened = [tag for tag in re.finditer(_TAG, text) if tag[1].lower() in names]
    for tag, end in zip(opened, [*(tag.start() for tag in opened[1:]), len(text)], strict=True):
        value = re.split(rf"(?i)</{tag[1]}\s*>", text[tag.end():])[0]
        if len(value) == len(text) - tag.end() or f"<{tag[1]}>" in value:  # it is not closed
            value = text[tag.end():end]
        ElementTree.SubElement(topic, tag[1]).text = html.unescape(re.sub(r"</?\w[^<>]*>", "", value))
    return topic


def _texts(topic: ElementTree.Element) -> dict[str, str]:
    """Returns the texts of a topic's tags; a tag may come several times, and be within another."""
    texts: dict[str, str] = {}
    for part in topic:
        texts[_tag(part)] = _words(texts.get(_tag(part), ""), "".join(part.itertext()))
    within: dict[str, str] = {}
    for part in topic.iter():
        if part is not topic and _tag(part) not in texts:
            within[_tag(part)] = _words(within.get(_tag(part), ""), "".join(part.itertext()))
    return {tag: text for tag, text in {**texts, **within}.items() if tag}


def _words(*texts: str) -> str:
    return " ".join(" ".join(texts).split())


def _tag(part: ElementTree.Element) -> str:
    """Returns the name of a tag, without its namespace and in lower case."""
    return part.tag.rpartition("}")[2].lower() if isinstance(part.tag, str) else ""
