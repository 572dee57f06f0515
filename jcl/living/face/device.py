"""A learner, a server and a watched folder, put together and taken apart."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
from pathlib import Path
from typing import Any, Self

from jcl.control import allowance
from jcl.living import live as live_lib
from jcl.living import opening
from jcl.living.face import app as app_lib
from jcl.living.face import box as box_lib
from jcl.living.face import guard as guard_lib
from jcl.living.face import intake as intake_lib
from jcl.living.face import kept, memory, server, watching
from jcl.living.log import folders
from jcl.options.errors import UsageError

_MEMORY = "watched"  # file of the folder
_EXPERIENCE = "30s"  # where a new folder is told nothing else


class Device:
  """A learner's folder that is served; a context manager.

  Args:
    folder: of the learner.
    options: of `jcl.live`, those that are given.
    settings: how examples come in.
    host: address to listen at.
    port: to listen at; 0 takes one that is free.
    token: that every request has to bring; None: none.
    say: is called with a line for the terminal, from any thread.

  Raises:
    UsageError: for what does not fit, and where another process holds the
      folder.
  """

  def __init__(
    self,
    folder: Path,
    options: Mapping[str, Any],
    settings: kept.Settings,
    host: str,
    port: int,
    token: str | None,
    say: Callable[[str], None],
  ) -> None:
    self.folder, self._say = folder, say
    self._host, self._port = host, port
    self._guard = guard_lib.Guard(host, token)
    server.library()
    self._settings = kept.settled(folder, settings)
    self._options = dict(options)
    if not opening.is_begun(folder):
      self._options.setdefault("experience", _EXPERIENCE)
    self._stack = contextlib.ExitStack()
    self._server: server.Server
    self.box: box_lib.Box
    self.address = ""

  def __enter__(self) -> Self:
    with contextlib.ExitStack() as stack:
      self._begin(stack)
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *_: object) -> None:
    self._stack.close()

  @property
  def failed(self) -> bool:
    """Whether the server stopped by itself."""
    return self._server.failed

  @property
  def watched(self) -> Path | None:
    """The folder that is watched."""
    return self._settings.watched

  def _begin(self, stack: contextlib.ExitStack) -> None:
    """Opens everything, what is closed last first."""
    folder, settings = self.folder, self._settings
    try:
      learner = opening.live(folder, **self._options)
    except folders.InUse as error:
      raise UsageError(
        f"{folder} is in use: {kept.holder(folder)}; ask there, or stop it"
      ) from error
    stack.callback(learner.close)
    settings.reading.check(learner.arrivals.example)
    taken = memory.Memory(folder / _MEMORY, len(learner))
    stack.callback(taken.close)
    for note in (*learner.arrivals.notes, *taken.notes):
      self._say(note)
    kept.keep(folder, settings)
    made = server.listening(self._host, self._port)
    stack.callback(made.close)
    self.address = server.address(made)
    stack.enter_context(kept.held(folder, self.address))
    intake = intake_lib.Intake(learner, taken)
    self.box = box = box_lib.Box(
      learner, intake, settings.reading, self._about(learner), self._say
    )
    stack.callback(box.stop)
    if settings.watched is not None:
      watcher = self._watcher(learner, intake, settings.watched)
      stack.callback(watcher.stop)
      box.watch = watcher.status
      watcher.start()
    app = app_lib.App(box, self._guard, self._say)
    self._server = server.Server(app, made)
    stack.callback(self._server.stop)
    box.start()
    self._server.start()

  def _watcher(
    self, learner: live_lib.Live, intake: intake_lib.Intake, path: Path
  ) -> watching.Watcher:
    def arrived(name: str, labels: Sequence[str | None]) -> None:
      self.box.arrived(f"folder: {name}", len(labels), labels)

    return watching.Watcher(
      learner,
      intake,
      path,
      self._settings.reading,
      self._settings.label,
      arrived,
      self._say,
    )

  def _about(self, learner: live_lib.Live) -> dict[str, Any]:
    """Returns what the status tells of the learner as it is."""
    settings, budget = learner.settings, learner.settings.budget
    amounts = {} if budget is None else budget.amounts
    limits = allowance.listed(amounts)
    told = {
      "recipe": settings.recipe,
      "network": settings.model,
      "seed": settings.seed,
      "an experience ends": learner.ending.told,
      "budget": f"{limits} per {budget.per}" if budget and limits else "none",
    }
    return {"settings": told}
