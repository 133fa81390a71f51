"""Stands in for `pib-lab manual` in tests of the desktop: a device with one level, one output, and one reading.

By the device's name: "dead" cannot be connected; "doubtful" does not confirm its output off; "broken" fails when it is
to measure; any other obeys. A level above 0.2 V is refused. What was started and told is kept in a file in --out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(device: str, out: Path) -> int:
    """Answer line by line until the input ends."""
    out.mkdir(parents=True, exist_ok=True)
    told = (out / "told.txt").open("a", encoding="utf-8")
    print(" ".join(sys.argv[1:]), file=told, flush=True)
    if device == "dead":
        print("error: hardware.dead could not be connected", flush=True)
        return 3
    level, on = 0.0, False

    def tell(answer: dict[str, Any], state: bool = True) -> None:
        control = {"name": "drive", "value": level, "unit": "V", "low": 0.0, "high": 0.2, "choices": [], "help": "it"}
        held = {"controls": [control], "outputs": {"source": on}} if state else {}
        print(json.dumps(held | answer), flush=True)

    opened = {"did": "open", "ok": True, "folder": str(out / "m"), "device": device, "mock": device == "mock"}
    tell(opened | {"identity": {"source": "MODEL 2400"}})
    for line in sys.stdin:
        print(line.strip(), file=told, flush=True)
        match json.loads(line):
            case {"do": "set", "value": value} if value > 0.2:
                tell({"did": "set", "ok": False, "error": "drive: beyond the limit; nothing was sent"}, state=False)
                continue
            case {"do": "set", "value": value}:
                level = value
            case {"do": "switch", "on": wanted}:
                on = wanted
            case {"do": "measure"} if device == "broken":
                tell({"did": "end", "ok": False, "error": "no answer", "safe": True, "not_confirmed": []}, state=False)
                return 3
            case {"do": "measure"}:
                reading = {"name": "current", "value": level * 1e-3, "unit": "A", "note": "at its limit"}
                tell({"did": "measure", "ok": True, "readings": [reading]})
                continue
        tell({"did": "set", "ok": True})
    doubtful = ["source"] if device == "doubtful" else []
    tell({"did": "end", "ok": not doubtful, "error": "x", "safe": not doubtful, "not_confirmed": doubtful}, state=False)
    return 3 if doubtful else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[3], Path(sys.argv[sys.argv.index("--out") + 1])))
