"""Every kind of file that the package reads, damaged at random: read right, or refused by an error that names it.

A file that somebody else wrote may become another model or other data; one that the package wrote carries its own
proof, so that a damaged one must give the same result or an error.
"""

import copy
import gzip
import json
import os
import random
import re
import shutil
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyterrier_taskarith import TaskArithReranker, TaskVector
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.data import StoredTexts, read_collection, read_qrels, read_run, read_topics
from pyterrier_taskarith.errors import TaskArithError
from testing import bert_triple, cross_encoder_triple, llama_triple, lora_adapter, t5_triple
from tests.reranking import frame

#: Seconds that one damaged file may take.
LIMIT = 20
#: What may become of a damaged file; the others are faults of the package.
FINE = ("same", "other", "refused")
OUTCOMES = (*FINE, "WRONG", "UNNAMED", "TRACEBACK", "HANG")
#: Values that take another one's place in a JSON file.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**6, 10**12, 2**63, 0.5, -1e9, 1e308, float("nan"), "", "x", "x" * 2000, "../..",
    "\ud800", "a\u0000b", [], {}, [1], ["x"], [[]], {"x": 1}, [None] * 2000)


class _TooLong(BaseException):
    """The limit of time was reached; not an Exception, so that nothing takes it for an error of a library."""


@dataclass(frozen=True)
class Kind:
    """A kind of file, and what reads it.

    Attributes:
        make: Makes the files in an empty folder.
        file: The one that is damaged, in that folder.
        read: Returns what is read, given the folder: something that compares by ``repr`` or as an array.
        own: Whether the package wrote the file, so that another result than before is a fault.
    """

    make: Callable[[Path], object]
    file: str
    read: Callable[[Path], Any]
    own: bool = False


def _scores(folder: Path) -> np.ndarray:
    options = {"token_false": "▁false", "token_true": "▁true"} if (folder / "ranker" / "spiece.model").is_file() else {}
    reranker = TaskArithReranker(folder / "ranker", vectors={}, dtype="float32", verbose=False, **options)
    return reranker(frame(2, 2))["score"].to_numpy()


def _tensors(folder: Path) -> list[np.ndarray]:
    checkpoint = Checkpoint(folder)
    return [checkpoint.tensor(name).float().numpy() for name in sorted(checkpoint.shapes)]


def _adapted(folder: Path) -> list[np.ndarray]:
    return _tensors(folder / "adapter")


def _adapter(folder: Path) -> None:
    lora_adapter(folder / "adapter", bert_triple(folder).base, targets=["query"], rank_pattern={"query": 3})


def _merged(folder: Path) -> Path:
    triple = [folder / role for role in ("ranker", "domain", "base")]
    return (Checkpoint(triple[0]) + 0.5 * TaskVector(triple[1], triple[2])).save(folder / "merged")


def _make_merged(folder: Path) -> None:
    bert_triple(folder)
    _merged(folder)


def _same_merge(folder: Path) -> str:
    return str(_merged(folder).name)


def _make_vector(folder: Path) -> None:
    triple = bert_triple(folder)
    TaskVector(triple.domain, triple.base).save(folder / "vector.safetensors")


def _with_vector(folder: Path) -> np.ndarray:
    reranker = TaskArithReranker(folder / "ranker", vectors={"v": TaskVector.load(folder / "vector.safetensors")},
                                 alpha=0.5, verbose=False)
    return reranker(frame(2, 2))["score"].to_numpy()


def _cached(folder: Path) -> np.ndarray:
    reranker = TaskArithReranker(folder / "ranker", vectors={}, cache=folder / "cache", verbose=False)
    return reranker(frame(2, 40))["score"].to_numpy()


def _make_cache(folder: Path) -> None:
    import sqlite3

    bert_triple(folder)
    _cached(folder)
    sqlite3.connect(folder / "cache" / "scores.sqlite3").execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    for left in ("-wal", "-shm"):
        (folder / "cache" / f"scores.sqlite3{left}").unlink(missing_ok=True)


DOCUMENTS = [{"docno": f"d{number}", "title": "", "text": f"text of number {number}"} for number in range(60)]


def _make_index(folder: Path) -> None:
    (folder / "docs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in DOCUMENTS))
    stored = StoredTexts(folder, folder / "index")
    os.rename(next((folder / "index").iterdir()), folder / "index" / "one")
    assert stored.count == len(DOCUMENTS)


def _stored(folder: Path) -> object:
    wanted = [line["docno"] for line in DOCUMENTS[::7]]
    target = folder / "index" / _index_name(folder)
    if (folder / "index" / "one").exists():
        os.rename(folder / "index" / "one", target)
    stored = StoredTexts(folder, folder / "index")
    return stored.get(wanted), stored.unknown([*wanted, "x"]), stored.count, stored.fingerprint, stored.docno_bytes


def _index_name(folder: Path) -> str:
    import hashlib

    return hashlib.sha256(str((folder / "docs.jsonl").resolve()).encode()).hexdigest()[:16] + ".sqlite3"


QUERIES = [("1", "sort an array"), ("2", "mean of values"), ("3", "größte Zahl")]


def _write(name: str, text: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return make


def _rows(read: Callable[[Path], pd.DataFrame], name: str) -> Callable[[Path], str]:
    return lambda folder: read(folder / name).to_csv()


RUN = "".join(f"{qid} Q0 d{number} {number} {10 - number} t\n" for qid, _ in QUERIES for number in range(5))
QRELS = "".join(f"{qid} 0 d{number} {number % 3}\n" for qid, _ in QUERIES for number in range(5))
XML = "".join(f'<topic number="{qid}"><title>{query}</title></topic>' for qid, query in QUERIES)
CORPUS = "".join(json.dumps({"_id": line["docno"], "title": "T", "text": line["text"]}) + "\n" for line in DOCUMENTS)
TOPICS = "".join(json.dumps({"_id": f"q{number}", "text": f"query number {number}"}) + "\n" for number in range(30))
JUDGED = "query-id\tcorpus-id\tscore\n" + "".join(f"q{number}\td{number}\t1\n" for number in range(30))


def make_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in (("corpus.jsonl", CORPUS), ("queries.jsonl", TOPICS), ("qrels/test.tsv", JUDGED)):
            file.writestr(f"c/{name}", text)


def _collected(folder: Path) -> str:
    found = read_collection(folder / "c.zip")
    return found.documents.head().to_csv() + "".join(found.qrels[split].to_csv() for split in sorted(found.qrels))


_BERT: dict[str, Any] = {"max_seq_length": 24, "normalize": True, "prompts": {"query": "q: "}}

KINDS: dict[str, Kind] = {
    **{f"bi-encoder: {name}": Kind(lambda folder: bert_triple(folder, **_BERT), f"ranker/{name}", _scores) for name in (
        "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
        "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json",
        "model.safetensors")},
    **{f"cross-encoder: {name}": Kind(cross_encoder_triple, f"ranker/{name}", _scores)
       for name in ("config.json", "tokenizer_config.json")},
    **{f"T5: {name}": Kind(t5_triple, f"ranker/{name}", _scores)
       for name in ("config.json", "spiece.model", "tokenizer_config.json")},
    **{f"Llama: {name}": Kind(lambda folder: llama_triple(folder, tokenizer_json=True), f"ranker/{name}", _scores)
       for name in ("config.json", "tokenizer.json")},
    "shards: index": Kind(lambda folder: bert_triple(folder, layout="sharded"), "base/model.safetensors.index.json",
                          lambda folder: _tensors(folder / "base")),
    "pickled weights": Kind(lambda folder: bert_triple(folder, layout="bin"), "base/pytorch_model.bin",
                            lambda folder: _tensors(folder / "base")),
    "adapter: configuration": Kind(_adapter, "adapter/adapter_config.json", _adapted),
    "adapter: weights": Kind(_adapter, "adapter/adapter_model.safetensors", _adapted),
    "saved vector": Kind(_make_vector, "vector.safetensors", _with_vector),
    **{f"merge: {name}": Kind(_make_merged, f"merged/{name}", _same_merge, own=True)
       for name in ("taskarith.json", "config.json", "model.safetensors", "tokenizer.json")},
    "score cache": Kind(_make_cache, "cache/scores.sqlite3", _cached, own=True),
    "index of texts": Kind(_make_index, "index/one", _stored, own=True),
    "run": Kind(_write("run", RUN), "run", _rows(read_run, "run")),
    "run, gzip": Kind(_write("run.gz", RUN), "run.gz", _rows(read_run, "run.gz")),
    "judgements": Kind(_write("qrels", QRELS), "qrels", _rows(read_qrels, "qrels")),
    "topics, XML": Kind(_write("topics.xml", f"<topics>{XML}</topics>"), "topics.xml",
                        _rows(read_topics, "topics.xml")),
    "topics, TSV": Kind(_write("topics.tsv", "".join(f"{qid}\t{query}\n" for qid, query in QUERIES)), "topics.tsv",
                        _rows(read_topics, "topics.tsv")),
    "collection, zip": Kind(make_zip, "c.zip", _collected),
}


def damaged(content: bytes, rng: random.Random, is_json: bool) -> bytes:
    """Returns content with one to three random changes: of a JSON value or key, or of bytes."""
    if is_json and rng.random() < 0.7:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if document:
            for _ in range(rng.randint(1, 3)):
                document = _changed(document, rng)
            return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    made = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(made) + 1), rng.choice((1, 2, 16, 200))
        kind = rng.randrange(6)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            made[at:at + length] = rng.randbytes(length)
        elif kind == 2:
            del made[at:at + length]
        elif kind == 3:
            made[at:at] = rng.randbytes(length)
        elif kind == 4:
            made[at:at] = made[:length]
        else:
            del made[at:]
    return bytes(made)


def _changed(document: Any, rng: random.Random) -> Any:
    """Returns a JSON document with one value replaced, removed, or put under another key."""
    document = copy.deepcopy(document)
    inner, path = document, []
    while isinstance(inner, dict | list) and inner and (not path or rng.random() < 0.7):
        key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        path.append((inner, key))
        inner = inner[key]
    if not path:
        return rng.choice(VALUES)
    holder, key = path[-1]
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(("x", "", f"{key}2", "auto_map"))] = holder.pop(key)
    else:
        holder[key] = rng.choice(VALUES)
    return document


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Trial:
    """One kind of file, made once, and what becomes of it when it is damaged."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.kind, self._made, self._scratch = KINDS[name], scratch / "made", scratch / "damaged"
        self._made.mkdir(parents=True)
        self.kind.make(self._made)
        self._content = (self._made / self.kind.file).read_bytes()
        self._fresh()
        self._plain = self.kind.read(self._scratch)

    def _fresh(self) -> Path:
        shutil.rmtree(self._scratch, ignore_errors=True)
        shutil.copytree(self._made, self._scratch, copy_function=shutil.copy2)
        return self._scratch / self.kind.file

    def outcome(self, seed: int) -> tuple[str, str]:
        """Returns what becomes of the file with the changes of a seed, and the words of it.

        "same" or "other" result, "refused" by an error that names the file or its folder; else a fault: "WRONG" (a
        file of the package's own gives another result), "UNNAMED" (an error that does not say which file),
        "TRACEBACK" (an error that is not the package's) or "HANG".
        """
        file = self._fresh()
        times = file.stat()
        file.write_bytes(damaged(self._content, random.Random(seed), file.suffix == ".json"))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk that loses a bit leaves it
        try:
            with warnings.catch_warnings(), _limited(LIMIT):
                warnings.simplefilter("ignore")
                found = self.kind.read(self._scratch)
        except (TaskArithError, OSError) as error:
            said = str(error)
            named = str(self._scratch) in said
            return ("refused" if named else "UNNAMED"), f"{type(error).__name__}: {said}"
        except _TooLong:
            return "HANG", f"more than {LIMIT} s"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return "TRACEBACK", f"{type(error).__name__}: {error}"
        if _equal(found, self._plain):
            return "same", ""
        return ("WRONG" if self.kind.own else "other"), re.sub(r"\s+", " ", repr(found))[:200]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and np.allclose(one, other, atol=1e-6, equal_nan=True)
    if isinstance(one, list) and len(one) == len(other):
        return all(map(_equal, one, other))
    return bool(one == other)
