"""The demo's collection: docstrings collected, "See Also" read and resolved, queries chosen; and the real one."""

import inspect
import json
import pydoc
import random
import re
import sys
import textwrap
import warnings

import pytest

from pyterrier_taskarith.data import split_of
from pyterrier_taskarith.demo import _collection
from pyterrier_taskarith.demo._collection import build_collection, make_collection
from pyterrier_taskarith.demo._docstrings import Inventory
from pyterrier_taskarith.demo._names import Names
from pyterrier_taskarith.demo._see_also import SeeAlsoEntry, read_entries, split_see_also, summary

pytest.importorskip("numpydoc")
LONG = "This sentence only makes the docstring long enough to be collected, and says nothing else."


# ---- See Also

def test_the_section_is_cut_out_wherever_it_stands():
    before, after = "Sum it.\n\nParameters\n----------\na : int\n\n", "Notes\n-----\nNone."
    body, section = split_see_also(f"{before}See Also\n--------\nprod : Multiply it.\n\n{after}")
    assert body == before + after
    assert section == "prod : Multiply it."


@pytest.mark.parametrize("heading", ["See Also\n--------", "See also\n========", "    See Also\n    --------"])
def test_authors_write_the_heading_in_several_ways(heading):
    assert split_see_also(f"Sum it.\n\n{heading}\nprod : Multiply.") == ("Sum it.", "prod : Multiply.")


def test_words_about_other_places_are_no_section():
    docstring = "Sum it.\n\nSee also the other one.\n\n======  ====\nsee also  x\n======  ===="
    assert split_see_also(docstring) == (docstring, "")


def test_entries_name_several_things_wrap_and_go_without_a_description():
    section = textwrap.dedent("""\
        prod : Multiply the numbers of an array,
            one after the other.
        :func:`mean`, :func:`~pkg.median` : Averages.
        add, subtract
        Matrix.trace :
            Sum of the diagonal.""")
    assert read_entries(section) == [
        SeeAlsoEntry(("prod",), "Multiply the numbers of an array, one after the other."),
        SeeAlsoEntry(("mean", "pkg.median"), "Averages."),
        SeeAlsoEntry(("add", "subtract"), ""),
        SeeAlsoEntry(("Matrix.trace",), "Sum of the diagonal."),
    ]


def test_one_malformed_entry_does_not_take_the_others_with_it():
    assert read_entries("prod : Multiply.\n%(klass)s.x : Unfilled.\nmean : Average.") == [
        SeeAlsoEntry(("prod",), "Multiply."), SeeAlsoEntry(("mean",), "Average."),
    ]


def test_a_signature_is_no_summary():
    assert summary("sin(x, /, out=None)\n\nSine, element-\nwise.\n\nMore.") == "Sine, element- wise."
    assert summary("Parameters\n----------\nx : int") == ""


# ---- names

# pkg: sum -> 0, Matrix (class, text 1): sum -> 2, trace -> 3; pkg.sub: sum -> 4, mean -> 5, const -> nothing
INVENTORY = {
    "roots": {"pkg": 0, "other": 3},
    "containers": [
        {"sum": [0, None, False], "Matrix": [1, 2, False], "sub": [None, 1, False]},
        {"sum": [4, None, False], "mean": [5, None, False], "const": [None, None, False], "Matrix": [1, 2, False]},
        {"sum": [2, None, False], "trace": [3, None, True]},
        {"mean": [6, None, False], "twin": [7, None, False], "tools": [None, 4, False]},
        {"twin": [7, None, False], "left": [6, None, False]},
    ],
    "imports": [{}, {"np": [None, 3, True]}, {}, {}, {}],
    "skipped": {},
}


@pytest.fixture
def names():
    return Names(INVENTORY["roots"], INVENTORY["containers"], INVENTORY["imports"], 8)


def test_the_best_name_has_the_fewest_parts(names):
    assert names.of(1) == ["pkg.Matrix", "pkg.sub.Matrix"]
    assert names.of(6) == ["other.mean", "other.tools.left"]
    assert names.of(2) == ["pkg.Matrix.sum"]


def test_a_name_of_its_own_is_better_than_a_shorter_inherited_one():
    containers = [
        {"Array": [None, 1, False], "Sub": [None, 2, False]},
        {"nonzero": [0, None, False]},
        {"nonzero": [0, None, True]},
    ]
    assert Names({"p": 0}, containers, [{}, {}, {}], 1).of(0) == ["p.Array.nonzero", "p.Sub.nonzero"]


@pytest.mark.parametrize(
    ("name", "place", "text"),
    [
        ("sum", 3, 2),  # in Matrix.trace: the class first
        ("sum", 5, 4),  # in sub.mean: then the module
        ("sum", 0, 0),
        ("Matrix.trace", 5, 3),
        ("sub.mean", 2, 5),  # from a method, through the package root
        ("pkg.sum", 6, 0),  # absolute, from another package
        ("np.mean", 4, 6),  # through what the module imports
    ],
)
def test_a_name_means_the_nearest_thing_that_has_it(names, name, place, text):
    assert names.resolve(name, place).texts == {text}


def test_names_that_lead_nowhere_and_to_nothing_documented_are_told_apart(names):
    assert names.resolve("median", 5).exists is False
    resolution = names.resolve("const", 5)
    assert resolution.exists and not resolution.texts


def test_a_docstring_in_two_places_looks_around_both_and_may_be_ambiguous():
    containers = [
        {"a": [None, 1, False], "b": [None, 2, False], "c": [None, 3, False]},
        {"twin": [0, None, False]},
        {"twin": [0, None, False], "x": [1, None, False], "y": [2, None, False]},
        {"twin": [0, None, False], "x": [3, None, False]},
    ]
    twins = Names({"p": 0}, containers, [{}] * 4, 4)
    assert twins.of(0) == ["p.a.twin", "p.b.twin", "p.c.twin"]
    assert twins.resolve("y", 0).texts == {2}
    assert twins.resolve("x", 0).texts == {1, 3}


# ---- collecting

@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on disk, with what makes real ones hard."""
    files = {
        "__init__.py": """
            from fakepackage._impl import public, Sub, ufunc, only
            from fakepackage.sub import helper
            import json
            from json import dumps
            pi = 3.14
            __all__ = ["public", "Sub", "ufunc", "only", "pi", "dumps"]
        """,
        "_impl.py": f"""
            def public():
                '''Public function.

                {LONG}
                '''
            def hidden():
                '''Hidden function. {LONG}'''
            class Base(dict):
                def method(self):
                    '''Method of the base. {LONG}'''
                def short(self):
                    '''Too short.'''
                @property
                def value(self):
                    '''A property. {LONG}'''
                @property
                def broken(self): ...
            class Sub(Base):
                '''A class. {LONG}'''
                def method(self): ...
                class Accessor:
                    '''An accessor. {LONG}'''
                    def reach(self):
                        '''Reached through the accessor. {LONG}'''
            class _Ufunc:
                def __init__(self, text): self.__doc__ = text
            ufunc = _Ufunc('''ufunc(x)\\n\\nA compiled function. {LONG}''')
            _Ufunc.__module__ = None
            class _Only:
                '''The only object of its kind. {LONG}'''
            only = _Only()
        """,
        "sub/__init__.py": f"""
            from fakepackage._impl import public, Sub
            def helper():
                '''Helper. {LONG}'''
        """,
        "sub/needy.py": "import a_module_that_is_missing",
        "sub/leaves.py": "raise SystemExit(3)",
        "tests/__init__.py": "raise AssertionError('tests are not imported')",
    }
    for name, content in files.items():
        path = tmp_path / "fakepackage" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "fakepackage"
    for name in [name for name in sys.modules if name.split(".")[0] == "fakepackage"]:
        del sys.modules[name]


def test_public_docstrings_are_collected_once_under_all_their_names(package):
    inventory = json.loads(json.dumps(Inventory([package]).as_json()))
    names = Names(inventory["roots"], inventory["containers"], inventory["imports"], len(inventory["texts"]))
    found = {re.split(r"[.\n]", text)[0]: names.of(number) for number, text in enumerate(inventory["texts"])}
    assert found == {
        "Public function": ["fakepackage.public"],
        "A class": ["fakepackage.Sub"],
        "Method of the base": ["fakepackage.Sub.method"],  # the override has no docstring of its own
        "A property": ["fakepackage.Sub.value"],
        "An accessor": ["fakepackage.Sub.Accessor"],
        "Reached through the accessor": ["fakepackage.Sub.Accessor.reach"],
        "ufunc(x)": ["fakepackage.ufunc"],
        "The only object of its kind": ["fakepackage.only"],
        "Helper": ["fakepackage.sub.helper"],
    }
    assert next(text for text in inventory["texts"] if text.startswith("Public")) == f"Public function.\n\n{LONG}"
    assert {name: words.split(":")[0] for name, words in inventory["skipped"].items()} == {
        "fakepackage.sub.needy": "ModuleNotFoundError", "fakepackage.sub.leaves": "SystemExit",
    }
    # A name that the module only imports is understood, too short a docstring is known to be there.
    helper = next(number for number, text in enumerate(inventory["texts"]) if text.startswith("Helper"))
    assert {names.of(text)[0] for text in names.resolve("Sub.method", helper).texts} == {"fakepackage.Sub.method"}
    assert names.resolve("Sub.short", helper).exists and not names.resolve("dumps", helper).exists


# ---- queries

def inventory_of(docstrings: dict[str, str]):
    texts = list(docstrings.values())
    members = {name: [number, None, False] for number, name in enumerate(docstrings)}
    return {"roots": {"p": 0}, "containers": [members], "imports": [{}], "texts": texts, "skipped": {}}


def test_queries_are_what_other_docstrings_say_and_everything_left_out_is_counted():
    docstrings = {
        "sum": "Add numbers.\n\nSee Also\n--------\nprod : Multiply everything, one by one.\nmean\n"
               "median : Short one.\nsum : A word about itself.\nlost : A function that is nowhere.\n"
               "max : Largest of the numbers.",
        "prod": "Product of an array.\n\nSee Also\n--------\nmean, median : Where the middle lies.",
        "mean": "Average of numbers.\n\nSee Also\n--------\nmax, min : Where the middle lies.",
        "median": "Middle value.",
        "max": "Largest of the numbers.",
        "min": "Smallest of the numbers.",
    }
    made = make_collection(inventory_of(docstrings), "p 1.0")
    assert made.relevant == {
        "Multiply everything, one by one": {"p.prod"},
        "Where the middle lies": {"p.mean", "p.median", "p.max", "p.min"},
    }
    assert {row["docno"]: row["text"] for row in made.documents}["p.sum"] == "Add numbers."
    # by hand: 6 + 2 + 2 names, `lost` unresolved; `mean` bare, `median` two words, `sum` itself, `max` its own summary
    assert "10 names in See Also entries: 9 resolved, 0 ambiguous, 1 unresolved" in made.report
    assert "1 name the document they stand in, 1 have no description and 1 one of fewer than 3 words" in made.report
    assert "3 different descriptions: 1 have 70% or more" in made.report
    assert "0 fit more than 10 documents; the other 2 are the queries" in made.report


def test_the_summary_that_must_not_repeat_the_query_is_not_the_signature():
    docstrings = {
        "sin": "sin(x, out=None)\n\nSine of an angle, elementwise.\n\nMore words.",
        "cos": "Cosine.\n\nSee Also\n--------\nsin : Sine of an angle.",
    }
    made = make_collection(inventory_of(docstrings), "p 1.0")
    assert made.relevant == {} and "1 have 70% or more" in made.report


def test_docstrings_that_differ_only_in_see_also_are_one_document():
    docstrings = {
        "first": "Count things.\n\nSee Also\n--------\nother : A thing apart from them.",
        "second": "Count things.\n\nSee Also\n--------\nfirst : A remark about its own text.",
        "other": "Weigh.\n\nSee Also\n--------\nsecond : How many there are.",
    }
    made = make_collection(inventory_of(docstrings), "p 1.0")
    assert [(row["docno"], row["aliases"]) for row in made.documents] == [("p.first", ["p.second"]), ("p.other", [])]
    assert made.relevant == {"A thing apart from them": {"p.other"}, "How many there are": {"p.first"}}
    assert "1 name the document they stand in" in made.report


def test_a_description_of_everything_is_no_query():
    docstrings = {f"f{i}": f"Text number {i}." for i in range(11)}
    docstrings["g"] = "G.\n\nSee Also\n--------\n" + ", ".join(docstrings) + " : Use this in new code."
    made = make_collection(inventory_of(docstrings), "p 1.0")
    assert made.relevant == {} and "1 fit more than 10 documents" in made.report


# ---- the folder it is kept in

@pytest.fixture
def fake_packages(monkeypatch):
    docstrings = {"index": "Contents."}
    docstrings |= {f"f{i}": f"Text {i}.\n\nSee Also\n--------\nindex : Words for query number {i}." for i in range(30)}
    calls = []

    def read(packages):
        calls.append(packages)
        return inventory_of(docstrings)

    monkeypatch.setattr(_collection, "read_packages", read)
    return calls


def test_a_collection_is_built_once_for_the_same_packages(tmp_path, monkeypatch, fake_packages):
    first = build_collection(tmp_path / "cache")
    second = build_collection(tmp_path / "cache")
    assert len(fake_packages) == 1
    assert first.name == "docstrings" and first.report == second.report
    assert first.documents == second.documents and first.topics["test"].equals(second.topics["test"])
    assert len([path for path in (tmp_path / "cache").iterdir()]) == 1  # nothing temporary is left
    monkeypatch.setattr(_collection, "version", lambda package: "99.9")
    build_collection(tmp_path / "cache")
    assert len(fake_packages) == 2


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch, fake_packages):
    monkeypatch.setattr(_collection.json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_collection(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_numpydoc_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpydoc", None)
    monkeypatch.setitem(sys.modules, "numpydoc.docscrape", None)
    with pytest.raises(ImportError, match=re.escape('pip install "pyterrier_taskarith[demo]"')) as caught:
        build_collection(tmp_path)
    assert "\n" not in str(caught.value)


def test_packages_that_cannot_be_read_are_named_with_the_reason():
    with pytest.raises(RuntimeError, match="The docstrings of no_such_package cannot be read: ModuleNotFoundError"):
        _collection.read_packages(("no_such_package",))


# ---- the real one

@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections")
    collection = build_collection(folder)
    rows = [json.loads(line) for line in next(folder.iterdir()).joinpath("docs.jsonl").read_text("utf-8").splitlines()]
    return collection, rows


@pytest.mark.slow
def test_the_real_collection_is_large_and_has_no_duplicates(real):
    collection, rows = real
    assert collection.documents.count > 4500
    assert sum(len(topics) for topics in collection.topics.values()) >= 1000
    documents = collection.documents.head()
    assert documents["text"].is_unique and documents["docno"].is_unique
    every_name = [name for row in rows for name in (row["docno"], *row["aliases"])]
    assert len(set(every_name)) == len(every_name)
    assert not documents["text"].str.contains(r"(?im)^ *see also *\n *-{3,}", regex=True).any()


@pytest.mark.slow
def test_the_real_collections_splits_share_no_query_and_follow_the_hash(real):
    collection, _ = real
    every = [query for topics in collection.topics.values() for query in topics["query"]]
    assert len(set(every)) == len(every)
    for split, topics in collection.topics.items():
        assert {split_of(query) for query in topics["query"]} == {split}
        assert set(topics["qid"]) == set(collection.qrels[split]["qid"])
        assert set(collection.qrels[split]["docno"]) <= set(collection.documents.head()["docno"])
        assert topics["query"].str.findall(r"[A-Za-z0-9]+").str.len().min() >= 3


@pytest.mark.slow
def test_the_real_collections_names_are_what_python_finds_under_them(real):
    _, rows = real
    bare = 0
    for row in random.Random(0).sample(rows, 100):
        for name in (row["docno"], *row["aliases"][:2]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                thing = pydoc.locate(name)
            assert thing is not None, name
            found = inspect.getdoc(thing)
            bare += found is None  # compiled overrides, whose docstring inspect does not look for in the base class
            assert found is None or found.lstrip().startswith(row["text"].lstrip()[:60]), name
    assert bare <= 5
