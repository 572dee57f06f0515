"""Has reports written by a process of its own.

It gets ready while a run learns. Drawing needs matplotlib and pandas, which are
never imported where a run learns.
"""

from collections.abc import Sequence
import contextlib
import json
from pathlib import Path
import subprocess
import sys
from types import TracebackType
from typing import Self


class Writer:
  """Writes a report in another process, which starts at once.

  It is left out where matplotlib is imported already. A process that nobody
  asks for a minute ends; another one is started when the report is due.

  ```
  with apart.Writer() as writer:
    ...
    print(writer.write(places, target))
  ```
  """

  def __init__(self) -> None:
    self._process: subprocess.Popen[bytes] | None = None
    if "matplotlib" not in sys.modules:
      self._begin()

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self.close()

  def write(self, places: Sequence[str | Path], target: str | Path) -> str:
    """Writes the report of some runs, and returns what is to be printed.

    What goes wrong in the other process is tried again in this one, whose
    errors are the caller's.

    Args:
      places: folders of the runs.
      target: folder of the report.
    """
    asked = json.dumps([[str(place) for place in places], str(target)])
    for _ in range(2):
      told = self._ask(asked.encode())
      if told is not None:
        return told
      if self._process is None or self._process.wait() != 0:
        break  # it failed; else it had waited for too long
      self._begin()
    from jcl.report import writing

    return writing.write(places, target)

  def close(self) -> None:
    """Ends the process where there is one."""
    if self._process is not None:
      self._process.kill()
      self._process.communicate()
      self._process = None

  def _begin(self) -> None:
    code = f"import sys; sys.path[:] = {sys.path}"
    code += "; from jcl.report import writing; writing.serve()"
    with contextlib.suppress(OSError):
      self._process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for who started it
      )

  def _ask(self, asked: bytes) -> str | None:
    """Returns the answer of the process; None where it gives none."""
    if self._process is None:
      return None
    with contextlib.suppress(OSError):
      out, _ = self._process.communicate(asked)
      if out:
        return json.loads(out)
    return None
