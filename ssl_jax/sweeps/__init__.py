"""Sweeps: many runs from one file. points.py says which, tables.py what a published table is, planning.py what will run,
ledger.py what has, worker.py runs it, launch.py starts workers.
"""
