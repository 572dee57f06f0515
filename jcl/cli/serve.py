"""`jcl serve`: systems that answer a drifting stream while learning from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jcl.cli import asked, definitions, flags, folders, show
from jcl.control.drift import times
from jcl.options.errors import UsageError
from jcl.run import console, workdir
from jcl.run import setup as setups
from jcl.serving import footage, log, runs
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
  frames = _frames(source, roles)
  about = _about(roles, seconds, frames)
  folder = folders.work(f"serve-{folders.slug(setup.data)}", about)
  with workdir.explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  with (
    workdir.explained(folder, writing=False),
    workdir.locked(folder),
  ):
    workdir.claim(folder, about, definitions.RESUME.value)
    assets = serving_setup.Assets(source, roles, folder / "weights", frames)
    scripts = _scripts(frames)
    found = list(_serve(texts, scripts, assets, seconds, folder, about))
    with workdir.explained(folder):
      target, frame = runs.write(assets, found, folder, about)
  show.scores(runs.table(frame), target, _measure(found[0]))
  return 0


def _check(texts: list[str], seconds: times.Times) -> None:
  """Raises UsageError, ahead of any work, for a system or scenario."""
  for text in texts:
    runs.build(text, seconds, definitions.LIVE.value)
  for name in definitions.SCENARIOS.value:
    drifting.ladder(name, seed=0, segments=1)
  frames = definitions.FRAMES.value
  if frames is None:
    return
  if "scenario" in flags.given():
    raise UsageError(
      "--scenario makes up streams and --frames brings one: give one of them"
    )
  footage.check(frames)
  if definitions.ORACLE.value and not footage.is_labelled(frames):
    raise UsageError(
      f"--oracle has the truth label, which --frames={frames} does not tell: "
      "leave it out, or give a list of frames that ends in .csv or .json"
    )


def _frames(
  source: sources.Source, roles: serving_setup.Roles
) -> footage.Footage | None:
  """Reads the frames of --frames, and prints what was done to them."""
  if definitions.FRAMES.value is None:
    return None
  script = _script(footage.NAME)
  found = footage.read(
    definitions.FRAMES.value,
    source,
    fps=script.fps,
    window=script.window,
    least=runs.WARMUP + 1,
    most=script.window * script.segments // 2,
    enlarge=roles.enlarge,
  )
  show.notes(found.notes)
  return found


def _script(name: str) -> runs.StreamScript:
  fps, length = definitions.FPS.value, definitions.SEGMENT_SECONDS.value
  return runs.StreamScript(name, fps, length)


def _scripts(frames: footage.Footage | None) -> list[runs.StreamScript]:
  """Returns the streams to serve: the user's, or those of --scenario."""
  if frames is None:
    return [_script(name) for name in definitions.SCENARIOS.value]
  script = _script(footage.NAME)
  return [script._replace(segments=2 * len(frames) // script.window)]


def _measure(run: runs.Run) -> str:
  """Returns what a score is, "" for accuracy, which needs no word."""
  measure = run.log.measure
  return "" if measure == log.ACCURACY else measure


def _roles(source: sources.Source, model: str) -> serving_setup.Roles:
  student = "" if model == "auto" else model
  classes = serving_setup.CLASSES
  if definitions.FRAMES.value is not None:  # they may be of any class
    classes = source.train.num_classes
  roles = serving_setup.roles(
    source, student, definitions.TEACHER.value, classes
  )
  return roles._replace(recipe=definitions.RETRAIN.value)


def _about(
  roles: serving_setup.Roles,
  seconds: times.Times,
  frames: footage.Footage | None,
) -> dict[str, Any]:
  """Returns what identifies the runs of a work directory."""
  own: dict[str, Any] = {}
  if frames is not None:
    own = {
      "frames": definitions.FRAMES.value,
      "digest of the frames": frames.digest(),
    }
    if frames.labels is None:
      own["scores are"] = log.AGREEMENT
  return {
    "data": definitions.DATA_SET.value,
    **roles._asdict(),
    "labels": "oracle" if definitions.ORACLE.value else "teacher",
    "clock": "the wall's" if definitions.LIVE.value else "virtual",
    "frames per second": definitions.FPS.value,
    "seconds of a segment": definitions.SEGMENT_SECONDS.value,
    "times": seconds.source,
    "updates take": serving_setup.UPDATES,
    **own,
  }


def _serve(
  texts: list[str],
  scripts: list[runs.StreamScript],
  assets: serving_setup.Assets,
  seconds: times.Times,
  folder: Path,
  about: Mapping[str, Any],
) -> Iterator[Any]:
  """Yields what each run found: by seed, scenario and system."""
  live = definitions.LIVE.value
  seconds = seconds.training(assets.student.training_share)
  for seed in flags.seeds():
    for stream_script in scripts:
      name = stream_script.name
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
        percent = runs.row(found)["score"]
        show.score(name, text, seed, percent, _measure(found))
        yield found
