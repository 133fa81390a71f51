"""Stands in for `pib-lab` in tests of the desktop's panels: answers at once, as the protocol's name says.

`run`: "good" finishes, "bad" fails, "unsafe" does not confirm its outputs off, "waits" goes on until the file waits.go
is there. `check`: "wrong" is refused; names with "mock" drive nothing. `report`, `export` write one file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

CODES = {"good": 0, "bad": 2, "unsafe": 3}


def check(protocol: str, mock: bool) -> int:
    """A dry run of one unit."""
    if "wrong" in protocol:
        print("error: rule.learning_rate: input should be greater than 0 (given: -1.0)", file=sys.stderr)
        return 2
    unit = {"name": "hidden", "driver": "board", "shape": [4, 3], "parameters": 24, "drive_limit": "0 to 0.2 V"}
    costs = {"passes": {"training": 1000, "verify": 500}, "pulses_max": 12_300, "measuring_s": 50.0}
    told = {"programming_s": 10.0, "limits": {"drive": "200 mV"}, "warnings": ["pulses may run out"], "units": [unit]}
    print(json.dumps(costs | told | {"mock": mock or "mock" in protocol}))
    return 0


def run(protocol: str, out: Path) -> int:
    """A run that leaves no folder; what was started is told in a file beside."""
    with (out / "started.txt").open("a", encoding="utf-8") as file:
        file.write(" ".join(sys.argv[2:]) + "\n")
    while protocol == "waits" and not (out / "waits.go").exists():
        time.sleep(0.01)
    code = CODES.get(protocol, 0)
    print(json.dumps({"run": None, "safe": code != 3} | ({"error": f"{protocol} it was"} if code else {})))
    return code


if __name__ == "__main__":
    verb, what = sys.argv[1:3]
    if verb == "check":
        sys.exit(check(what, "--mock" in sys.argv))
    if verb == "run":
        sys.exit(run(what, Path(sys.argv[sys.argv.index("--out") + 1])))
    (Path(what) / f"{verb}.txt").write_text(verb, encoding="utf-8")
