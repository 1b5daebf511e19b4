"""The paper's experiments: one command a table, ``python -m experiments.table1`` (table2, table3, layers).

systems.py and datasets.py declare what is run; runs.py keeps every run in a file; protocol.py chooses α and λ; the
tables print our figures beside the paper's. This package uses pyterrier_taskarith and is never used by it.
"""
