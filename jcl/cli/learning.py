"""Recipes beside each other, over seeds, and a report on them."""

from collections.abc import Callable, Sequence
from pathlib import Path
import time
from typing import NamedTuple

import jax

from jcl import recipes as recipes_lib
from jcl.cli import asked, definitions, flags, folders, report, show
from jcl.cost import devices
from jcl.cost.meters import detection
from jcl.options.errors import UsageError
from jcl.run import beforehand, identity, loop, session, together, workdir
from jcl.run import setup as setups
from jcl.streams import sources


class Runs(NamedTuple):
  """The parts that runs are made of, once every flag was found to fit.

  Attributes:
    setup: the options that all of them share.
    texts: their recipes.
    parts: data and models.
    device: what computes.
    meter: what counts joules.
    content: digest of the data.
    first: each recipe's run of the first seed, put together for checks.
  """

  setup: setups.Setup
  texts: list[str]
  parts: setups.Parts
  device: devices.Device
  meter: detection.Detected
  content: str
  first: dict[str, loop.Job]

  def assemble(self, text: str, seed: int) -> loop.Job:
    """Puts one run together; its clock starts here."""
    method = recipes_lib.build(text)
    source = self.parts.source
    return setups.assemble(
      self.setup,
      method,
      seed,
      stream=setups.deal(self.setup, source, seed),
      model=self.parts.networks[method.columns],
      on=self.device,
      meter=self.meter.meter,
      usual=setups.usual(source),
    )


def carry_out(
  write: Callable[[Sequence[Path], Path], str], started: float
) -> None:
  """Learns what the flags say, and has a report written.

  Args:
    write: writes the report of some folders into another one, and returns what
      is to be printed.
    started: `time.monotonic` when the command began.
  """
  runs = prepare()
  show.joules(runs.first[runs.texts[0]].ledger, runs.meter)
  runs.first.clear()
  name = f"{folders.slug(runs.setup.data)}-{folders.slug(runs.texts[0])}"
  shared = {**flags.identity(), "content": runs.content}
  folder = folders.work(name, [folders.chosen(shared), runs.texts])
  together.check_alike({**shared, **_told(runs)})
  if together.shared() and runs.parts.before is not None:
    raise UsageError(
      "--base_classes is learned by one process: run the command without the "
      "flags of many processes until its bar shows the stream, then with them"
    )
  with workdir.explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  if not together.is_first():
    together.check_folder(folder)
    _learn(runs, folder)
    return
  with workdir.locked(folder):
    resume = definitions.RESUME.value
    workdir.claim(folder, shared, resume, flags.defaults())
    together.check_folder(folder)
    report.write(_learn(runs, folder), folder, write)
  show.took(time.monotonic() - started)


def _told(runs: Runs) -> dict[str, object]:
  """Returns what processes that share runs must agree on, beside identity."""
  names = ("recipe", "compare", "seed", "resume")
  values = flags.values()
  return {
    **{name: values[name] for name in names},
    "platform": runs.device.platform,
    "jax": jax.__version__,
  }


def prepare() -> Runs:
  """Reads data and builds every kind of run, so that mistakes are told early.

  Raises:
    UsageError: for flags that do not fit each other or the data.
  """
  runs = read()
  for text in runs.texts:
    runs.first[text] = runs.assemble(text, flags.seeds()[0])
  return runs


def read() -> Runs:
  """Reads data and builds models, as of `prepare`, but puts no run together."""
  setup, texts = asked.setup(), flags.recipes()
  if setup.options.cache_dir is not None:
    setups.keep_programs(setup.options.cache_dir)
  methods = {text: recipes_lib.build(text) for text in texts}
  device = setups.device(setup)
  show.device(device)
  meter = setups.count_joules(setup, device)
  source = setups.read(setup)
  content = _content(source)
  before, source = setups.split(setup, source)
  stream = setups.deal(setup, source, flags.seeds()[0])
  show.notes(stream.notes)
  setups.check_trunk(setup, methods)
  parts = setups.parts(setup, before, source, stream, methods.values())
  if False in parts.networks and setup.model == "auto":
    show.model(parts.networks[False], methods.values())
  return Runs(setup, texts, parts, device, meter, content, {})


def _content(source: sources.Source) -> str:
  both = (source.train, source.test)
  return identity.content([each for each in both if each is not None])


def pretrained(runs: Runs, folder: Path) -> Runs:
  """Has the model learn the first classes at once, where it is to do so.

  Args:
    runs: with data to learn at once, or without.
    folder: of the runs, where the weights are kept.
  """
  if runs.parts.before is None or False not in runs.parts.networks:
    return runs
  show.pretraining(runs.parts.before)
  parts, accuracy = beforehand.parts(
    runs.setup, runs.parts, folder / "pretrained"
  )
  show.pretrained(accuracy)
  return runs._replace(parts=parts)


def learn(
  job: loop.Job,
  setup: setups.Setup,
  text: str,
  place: Path,
  watch: Callable[[loop.Event], None] | None = None,
) -> None:
  """Carries a run out, or the rest of it.

  Args:
    job: put together by `Runs.assemble`.
    setup: that it was put together from.
    text: its recipe.
    place: its folder.
    watch: is told every event.
  """
  options = setups.options(setup, recipes_lib.build(text))
  session.run(job, place, options, _context(text), watch=watch)


def _learn(runs: Runs, folder: Path) -> list[Path]:
  """Carries all runs out, or the rest of them; returns their folders."""
  runs = pretrained(runs, folder)
  places = []
  for seed in flags.seeds():
    for text in runs.texts:
      place = folder / folders.slug(text) / f"seed_{seed}"
      job = runs.assemble(text, seed)
      learn(job, runs.setup, text, place)
      places.append(place)
      if seed == flags.seeds()[0]:
        show.profile(text, job.learner.network, place)
  return places


def _context(text: str) -> dict[str, object]:
  name, options = recipes_lib.parse(text)
  return {
    "recipe": {"name": name, "options": options},
    "environment": {"flags": flags.values()},
  }
