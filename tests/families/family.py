"""The tests that every family's tables go through; a family's file says what differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch

from testing import Triple
from tests.families import cases
from tests.families.by_hand import SPELLINGS
from tests.families.cases import Case, Reference, Refused, Row
from tests.families.changes import TRAINING_FILES, sprung, trapped


class Family:
    """Tests of one family; subclasses are called `Test…` and give the attributes.

    Attributes:
        name: in SPELLINGS.
        make: the factory.
        fixed: its options for every row.
        rows: what is merged.
        refused: what is not.
        reference: scores of another implementation, by folder, queries and texts.
    """

    name: ClassVar[str]
    make: ClassVar[Callable[..., Triple]]
    fixed: ClassVar[dict[str, Any]] = {}
    rows: ClassVar[list[Row]]
    refused: ClassVar[list[Refused]]
    reference: ClassVar[Reference]

    @classmethod
    def case_of(cls, row: Row | Refused, folder: Path) -> Case:
        """Makes a row's triple in a folder."""
        options = {**cls.fixed, **row.options}
        return Case(row, cls.make(folder, **options), SPELLINGS[options.get("family", cls.name)])

    def test_the_plan_accounts_for_every_parameter(self, case, row):
        cases.assert_plan(case(row))

    def test_merged_weights_are_plain_torchs_bit_for_bit(self, case, row):
        cases.assert_merged(case(row))

    def test_saved_weights_are_plain_torchs_bit_for_bit(self, case, row, tmp_path):
        cases.assert_saved(case(row), tmp_path / "saved")

    def test_loaded_weights_of_every_variant_are_plain_torchs_bit_for_bit(self, case, row):
        cases.assert_loaded(case(row), "memory")

    def test_weights_read_from_disk_are_plain_torchs_bit_for_bit(self, case, first_row):
        cases.assert_loaded(case(first_row), "disk")

    def test_scores_are_the_references(self, case, scored_row, tmp_path):
        cases.assert_scores(case(scored_row), type(self).reference, tmp_path)

    def test_the_reference_scores_the_saved_folder_as_the_loaded_one(self, case, first_row, tmp_path):
        cases.assert_saved_scores(case(first_row), type(self).reference, tmp_path)

    def test_what_cannot_be_merged_is_refused(self, refused_row, tmp_path):
        cases.assert_refused(self.case_of(refused_row, tmp_path), tmp_path / "saved")

    def test_pickles_beside_the_weights_are_never_opened(self, tmp_path):
        row = Row("", 0, change=trapped(*TRAINING_FILES))
        made = self.case_of(row, tmp_path)
        made.reranker(cache=tmp_path / "cache").transform(cases.frame())
        saved = made.merge.save(tmp_path / "saved")
        assert not sprung(made.triple) and not [path for path in saved.rglob("*") if path.name in TRAINING_FILES]
        assert made.triple.base.joinpath(TRAINING_FILES[0]).is_file()
        torch.load(made.triple.base / TRAINING_FILES[0], weights_only=False)  # the trap works
        assert sprung(made.triple)
