"""`jcl serve`: systems that answer a drifting stream while learning from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jcl.cli import asked, definitions, flags, folders, show
from jcl.control.drift import times
from jcl.run import console, workdir
from jcl.run import setup as setups
from jcl.serving import runs
from jcl.serving import setup as serving_setup
from jcl.streams import drifting, sources

_SYSTEMS = ("dacapo", "dacapo_spatial", "ekya", "frozen")


def command(arguments: list[str]) -> int:
  """Serves scenarios by systems, and writes a report; returns the status."""
  texts = arguments or list(_SYSTEMS)
  setup = asked.setup()
  if setup.options.cache_dir is not None:
    setups.keep_programs(setup.options.cache_dir)
  seconds = times.published(definitions.PAIR.value, fps=definitions.FPS.value)
  _check(texts, seconds)
  source = setups.read(setup)
  roles = _roles(source, setup.model)
  about = _about(roles, seconds)
  folder = folders.work(f"serve-{folders.slug(setup.data)}", about)
  with workdir.explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  with (
    workdir.explained(folder, writing=False),
    workdir.locked(folder),
  ):
    workdir.claim(folder, about, definitions.RESUME.value)
    assets = serving_setup.Assets(source, roles, folder / "weights")
    found = list(_serve(texts, assets, seconds, folder, about))
    with workdir.explained(folder):
      target, frame = runs.write(assets, found, folder, about)
  show.scores(runs.table(frame), target)
  return 0


def _check(texts: list[str], seconds: times.Times) -> None:
  """Raises UsageError, ahead of any work, for a system or scenario."""
  for text in texts:
    runs.build(text, seconds, definitions.LIVE.value)
  for name in definitions.SCENARIOS.value:
    drifting.ladder(name, seed=0, segments=1)


def _roles(source: sources.Source, model: str) -> serving_setup.Roles:
  student = "" if model == "auto" else model
  roles = serving_setup.roles(source, student, definitions.TEACHER.value)
  return roles._replace(recipe=definitions.RETRAIN.value)


def _about(roles: serving_setup.Roles, seconds: times.Times) -> dict[str, Any]:
  """Returns what identifies the runs of a work directory."""
  return {
    "data": definitions.DATA_SET.value,
    **roles._asdict(),
    "labels": "oracle" if definitions.ORACLE.value else "teacher",
    "clock": "the wall's" if definitions.LIVE.value else "virtual",
    "frames per second": definitions.FPS.value,
    "seconds of a segment": definitions.SEGMENT_SECONDS.value,
    "times": seconds.source,
    "updates take": serving_setup.UPDATES,
  }


def _serve(
  texts: list[str],
  assets: serving_setup.Assets,
  seconds: times.Times,
  folder: Path,
  about: Mapping[str, Any],
) -> Iterator[Any]:
  """Yields what each run found: by seed, scenario and system."""
  live = definitions.LIVE.value
  fps, length = definitions.FPS.value, definitions.SEGMENT_SECONDS.value
  seconds = seconds.training(assets.student.training_share)
  for seed in flags.seeds():
    for name in definitions.SCENARIOS.value:
      stream_script = runs.StreamScript(name, fps, length)
      for text in texts:
        path = folder / name / folders.slug(text) / f"seed_{seed}"
        with console.counted(f"{name} {text}", "frame", live) as count:
          found = runs.run(
            assets,
            stream_script,
            text,
            seconds,
            seed,
            path,
            oracle=definitions.ORACLE.value,
            about=about,
            live=live,
            progress=count,
          )
        show.score(name, text, seed, runs.row(found)["score"])
        yield found
