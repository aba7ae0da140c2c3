"""What a sweep is: the rows of a table, the runs that each row needs, and what is reported of them.

A paper's table is one of these in configs/ablations; a sweep from the command line is one without published values.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from ssl_jax.errors import UserError, check_choice, listed

NUMBER = r"-?\d+(?:\.(\d+))?"  # and its decimals


@dataclass(frozen=True)
class Stage:
    """One run of each row: pre-training, fine-tuning on a task, an evaluation.

    Attributes:
      config: of scripts/train.py, or of scripts/evaluate.py if `kind` is 'evaluate'. A path in it may be '@NAME', the run of
        the same row and seed at another stage: init.run='@pretrain'.
      kind: 'train' or 'evaluate'.
      flops: if above 0, the run has as many steps as cost this (PaLM's count), so that rows are compared at equal compute.
      share_seed: every seed of a row has this run with the base seed: a teacher, or one pre-training that is fine-tuned
        from several seeds.
      given: keys that flags have set, which come before what the run it starts from says.
    """

    config: Any
    kind: str = "train"
    flops: float = 0.0
    share_seed: bool = False
    given: tuple = ()


@dataclass(frozen=True)
class Row:
    """A row of a table: only the intervention.

    Attributes:
      name: as the paper prints it.
      changes: {config key: value} of the first stage; 'STAGE/key' of another one, '*/key' of all.
      published: its name in `Table.published`, if not `name`.
      stages: {name: Stage} that it has in place of the table's: another recipe, not other values.
    """

    name: str
    changes: dict = field(default_factory=dict)
    published: str = ""
    stages: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A measurement of each row.

    Attributes:
      name: as the paper prints it.
      stage: whose result it is read from.
      metric: key of the run's result.json ('mlm_accuracy', 'sop/sop_accuracy'), or 'parameters'.
      scale: what the measured value is multiplied by to have the paper's unit: 100 for percent.
      statistic: the paper's own over seeds: 'mean', 'median' or 'best'.
      higher: whether more is better.
      part: which of several published numbers in one cell: 0 of '88.6/81.5' is F1, 1 exact match.
      average_of: names of columns whose mean this is, instead of `stage` and `metric`.
      published: its name in `Table.published`, if not `name`.
      difference: the published numbers are differences from the reference row.
    """

    name: str
    stage: str = ""
    metric: str = ""
    scale: float = 1.0
    statistic: str = "mean"
    higher: bool = True
    part: int = 0
    average_of: tuple = ()
    published: str = ""
    difference: bool = False

    def cell(self, published):
        """The published cell of a row's, {'text', 'value', 'status'}; {} where there is none."""
        return (published or {}).get(self.published or self.name, {})

    def printed(self, text):
        """This column's part of a published text, as printed; '' if it has fewer."""
        return dict(enumerate(text.split("/"))).get(self.part, "").strip()

    def number(self, published):
        """The published number of a row's cells, of '88.6/81.5' that of the column's part; None where there is none."""
        cell = self.cell(published)
        if not self.part:
            return cell.get("value")
        found = re.match(NUMBER, self.printed(cell.get("text", "")))
        return float(found[0]) if found else None


@dataclass(frozen=True)
class Claim:
    """What the paper says about two rows.

    Attributes:
      row, reference: names of rows; column: of a column.
      direction: 1, `row` is larger; -1, smaller; 0, they are the same, within `band`.
      band: for 'the same': the largest difference that counts as none, in the column's unit, set before the runs.
      text: in the paper's terms, for the report.
    """

    row: str
    reference: str
    column: str
    direction: int
    band: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Table:
    """A sweep.

    Attributes:
      title: 'ALBERT, Table 5: sentence order'.
      stages: {name: Stage}, each after those it refers to.
      rows: of `Row`s.
      columns: of `Column`s; none: every number of the last stage's result.
      reference: the row that differences are taken from.
      claims: of `Claim`s.
      seeds: how many, from the base config's on; the same for all rows, so that differences are paired.
      published: {row: {column: {'text', 'value', 'status'}}}, the published numbers.
      source: of the published numbers, as printed.
      hypothesis: what was expected and why this setting, written before the runs.
    """

    title: str
    stages: dict
    rows: tuple
    columns: tuple = ()
    reference: str = ""
    claims: tuple = ()
    seeds: int = 1
    published: dict = field(default_factory=dict)
    source: str = ""
    hypothesis: str = ""

    def __post_init__(self):
        """
        Raises:
          UserError: a name is there twice, or names something that is not there.
        """
        rows, columns = [row.name for row in self.rows], [column.name for column in self.columns]
        for what, names in (("row", rows), ("column", columns)):
            if twice := {name for name in names if names.count(name) > 1}:
                raise UserError(f"{self.title}: {what} {listed(sorted(twice))} is there twice")
        if not rows or not self.stages:
            raise UserError(f"{self.title}: a sweep needs at least one row and one stage")
        if self.reference:
            check_choice(self.reference, rows, "reference row")
        for column in self.columns:
            for name in column.average_of:
                check_choice(name, columns, "column")
            if not column.average_of:
                check_choice(column.stage, self.stages, "stage")
        for claim in self.claims:
            check_choice(claim.row, rows, "row of a claim")
            check_choice(claim.reference, rows, "row of a claim")
            check_choice(claim.column, columns, "column of a claim")
            if not claim.direction and not claim.band > 0:
                raise UserError(f"{self.title}: a claim that rows are the same needs a band, set before the runs")
        for row in self.rows:
            for name in row.stages:
                check_choice(name, self.stages, f"stage of row {row.name}")
            for key in row.changes:
                stage, slash, _ = key.partition("/")
                if slash and stage != "*":
                    check_choice(stage, self.stages, f"stage of row {row.name}")
