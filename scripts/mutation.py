"""Run the mutation tests of the modules in ``[tool.mutmut]`` of pyproject.toml, and judge the result.

mutmut keeps its results in ``mutants/``: a run that was interrupted continues, a changed function is tested
again, and so is each mutant that survived without a reason in mutation_survivors.toml. Delete the folder to
test all mutants again, e.g. after a test was weakened.

Exit status: 0 if at least 90 % of each module's mutants are killed, and each other one has a reason; else 1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

MIN_KILLED = 0.9
KILLED = {"killed", "timeout"}
"""Statuses of a mutant that the tests detected; after a timeout it ran in a loop without end."""
MUTMUT = str(Path(sys.executable).parent / "mutmut")
ROOT = Path(__file__).parent.parent
SURVIVORS = Path(__file__).with_name("mutation_survivors.toml")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""mutmut forks, and OpenMP would wait forever in the new process for the threads of the old one."""


def main() -> int:
    """Run mutmut, print a line for each module and each survivor without a reason, and judge both."""
    reasons = {
        (entry["function"], change): entry["reason"]
        for entry in tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))["survivor"]
        for change in entry["changes"]
    }
    earlier = [name for name, status in statuses().items() if status not in KILLED | {"not checked"}]
    if again := [name for name in earlier if change_of(name) not in reasons]:
        subprocess.run([MUTMUT, "run", *again], cwd=ROOT, env=ONE_THREAD, check=True)
    subprocess.run([MUTMUT, "run"], cwd=ROOT, env=ONE_THREAD, check=True)

    found = statuses()
    changes = {name: change_of(name) for name, status in found.items() if status not in KILLED}
    unexplained = {name: change for name, change in changes.items() if change not in reasons}
    is_enough = print_modules(found)
    for name, (function, change) in unexplained.items():
        print(f"\n{found[name]}, and not in {SURVIVORS.name}: {name}\n  {function}: {change}")
    for function, change in reasons.keys() - set(changes.values()):
        print(f"\nno survivor any more, remove it from {SURVIVORS.name}:\n  {function}: {change}")
    return 0 if is_enough and not unexplained else 1


def print_modules(found: dict[str, str]) -> bool:
    """Print the counts of each module, and return True if enough mutants of each are killed."""
    modules: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, status in found.items():
        modules[name.rpartition(".")[0]][status] += 1
    shares = {module: sum(counts[s] for s in KILLED) / counts.total() for module, counts in modules.items()}
    print()
    for module, counts in sorted(modules.items()):
        numbers = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        print(f"{module:32} {shares[module]:6.1%} of {counts.total():3} mutants killed ({numbers})")
    return min(shares.values()) >= MIN_KILLED


def statuses() -> dict[str, str]:
    """Return the status of each mutant by its name; empty before the first run."""
    if not (ROOT / "mutants").exists():
        return {}
    lines = _mutmut("results", "--all", "true").splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if "__mutmut_" in line)


def change_of(name: str) -> tuple[str, str]:
    """Return a mutant's function and its changed lines which, unlike its number, do not shift."""
    module, _, mangled = re.sub(r"__mutmut_\d+$", "", name).rpartition(".")
    function = ".".join([module, *re.sub(r"^xǁ|^x_", "", mangled).split("ǁ")])
    diff = [line for line in _mutmut("show", name).splitlines() if not line.startswith(("---", "+++"))]
    removed, added = (
        " ".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in ("-", "+")
    )
    return function, f"{removed} -> {added}"


def _mutmut(*arguments: str) -> str:
    finished = subprocess.run([MUTMUT, *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return finished.stdout


if __name__ == "__main__":
    sys.exit(main())
