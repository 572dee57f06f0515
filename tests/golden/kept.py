"""Results that are kept, a file for each run."""

import json
from pathlib import Path
from typing import Any

import digests

FOLDER = Path(__file__).parent / "results"


def load(name: str, seed: int) -> dict[str, Any]:
  """The digests by machine and the figures of a run's parts."""
  return json.loads((FOLDER / f"{name}.json").read_text())[str(seed)]


def keep(name: str, seed: int, parts: dict[str, Any], anew: bool) -> None:
  """Writes the result of a run beside those of other machines, or anew."""
  path = FOLDER / f"{name}.json"
  known = json.loads(path.read_text()) if path.exists() else {}
  found = {} if anew else known.get(str(seed), {}).get("digests", {})
  own = {part: digests.digest(tree) for part, tree in parts.items()}
  known[str(seed)] = {
    "digests": {**found, digests.machine(): own},
    "figures": {part: digests.figures(tree) for part, tree in parts.items()},
  }
  path.parent.mkdir(exist_ok=True)
  text = json.dumps(known, indent=1, sort_keys=True)
  # Lists of numbers stand on one line.
  path.write_text(_in_lines(text) + "\n")


def _in_lines(text: str) -> str:
  lines, inside = [], False
  for line in text.splitlines():
    if inside:
      lines[-1] += line.strip() + (" " if line.endswith(",") else "")
    else:
      lines.append(line)
    inside = (
      lines[-1].endswith("[")
      if not inside
      else not line.strip().startswith("]")
    )
  return "\n".join(lines)
