"""Fuzzing of everything that reads what others wrote: files, and the responses of a service.

`make fuzz` runs all parts for some minutes (``FUZZ_SECONDS``), and continues where it stopped; `make test`
runs a small sample, and every input in ``corpus/``. An input that fails is written to ``reports/fuzz/``: when
its fault is corrected, it is copied to ``corpus/PART/``.
"""
