"""Recipes beside each other, over seeds, and a report on them."""

from collections.abc import Callable, Sequence
from pathlib import Path
import time
from typing import NamedTuple

from jcl import recipes as recipes_lib
from jcl.cli import asked, definitions, flags, folders, report, show
from jcl.cost import devices
from jcl.cost.meters import detection
from jcl.run import beforehand, identity, loop, session, workdir
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
  with workdir.explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  with workdir.locked(folder):
    resume = definitions.RESUME.value
    workdir.claim(folder, shared, resume, flags.defaults())
    report.write(_learn(runs, folder), folder, write)
  show.took(time.monotonic() - started)


def prepare() -> Runs:
  """Reads data and builds every kind of run, so that mistakes are told early.

  Raises:
    UsageError: for flags that do not fit each other or the data.
  """
  setup, texts = asked.setup(), asked.recipes()
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
  runs = Runs(setup, texts, parts, device, meter, content, {})
  for text in texts:
    runs.first[text] = runs.assemble(text, flags.seeds()[0])
  return runs


def _content(source: sources.Source) -> str:
  both = (source.train, source.test)
  return identity.content([each for each in both if each is not None])


def _learn(runs: Runs, folder: Path) -> list[Path]:
  """Carries all runs out, or the rest of them; returns their folders."""
  if runs.parts.before is not None and False in runs.parts.networks:
    show.pretraining(runs.parts.before)
    parts, accuracy = beforehand.parts(
      runs.setup, runs.parts, folder / "pretrained"
    )
    show.pretrained(accuracy)
    runs = runs._replace(parts=parts)
  places = []
  for seed in flags.seeds():
    for text in runs.texts:
      place = folder / folders.slug(text) / f"seed_{seed}"
      job = runs.assemble(text, seed)
      options = setups.options(runs.setup, recipes_lib.build(text))
      session.run(job, place, options, _context(text))
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
