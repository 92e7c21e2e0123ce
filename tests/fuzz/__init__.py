"""Fuzzing of everything that reads what others wrote: files, responses, requests, and clients.

`make fuzz` runs all parts for ``FUZZ_SECONDS``, and continues where it stopped; `make test` runs a small
sample, and every input in ``corpus/PART/``. An input that fails is written to ``reports/fuzz/``, and moves to
the corpus when its fault is corrected.
"""
