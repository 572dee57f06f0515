"""Lists, checks and repairs a store.

  python -m jcl.replay.store FOLDER
  python -m jcl.replay.store FOLDER --verify
  python -m jcl.replay.store FOLDER --repair

The exit status is 1 if anything is damaged or lost, 2 if FOLDER is no store.
"""

import argparse
import sys

import numpy as np

from jcl.replay.store import check, records, store


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jcl.replay.store",
    description="Lists the contents of a store, and checks and repairs it.",
  )
  parser.add_argument("folder", help="of the store")
  parser.add_argument(
    "--verify", action="store_true", help="read everything, check every sum"
  )
  parser.add_argument(
    "--repair",
    action="store_true",
    help="cut what a crash left; leave out of the index what is damaged",
  )
  parser.add_argument(
    "--rebuild_index",
    action="store_true",
    help="make the index anew from the segments",
  )
  options = parser.parse_args(argv)
  try:
    return run(
      options.folder, options.verify, options.repair, options.rebuild_index
    )
  except records.StoreError as error:
    print(error, file=sys.stderr)
    return 2


def run(folder: str, verify: bool, repair: bool, rebuild: bool) -> int:
  """Lists, checks or repairs a store; returns the exit status."""
  if repair or rebuild:
    # Opening for writing would make a store of an empty folder.
    store.Store.open(folder, mode="r").close()
    if repair and not rebuild:
      with store.Store.open(folder) as opened:
        found = check.verify(opened)
        tell(found)
        rebuild = bool(
          len(found.damaged) or len(found.regained) or opened.notes
        )
    if rebuild:
      with store.Store.open(folder, rebuild=True) as opened:
        print("the index was made anew")
  with store.Store.open(folder, mode="r") as opened:
    damage = bool(opened.notes)
    print(overview(opened))
    if verify:
      found = check.verify(opened)
      tell(found)
      damage |= bool(len(found.damaged))
  return int(damage)


def overview(opened: store.Store) -> str:
  """Returns counts per class and run, and notes on damage."""
  index = opened.contents.index
  size = sum(segment.end for segment in opened.contents.segments)
  lines = [
    f"{len(opened)} examples of {len(opened.classes)} classes in "
    f"{len(opened.contents.segments)} segments, {size} bytes",
    f"index: {index.bytes} bytes of memory",
  ]
  for run_name in opened.runs:
    lines.append(f"run {run_name}:")
    counts = opened.count_by_class(run_name)
    lines += [f"  {name}: {count}" for name, count in counts.items() if count]
  lines += [f"note: {note}" for note in opened.notes]
  return "\n".join(lines)


def tell(found: check.Report) -> None:
  """Prints the findings of a check."""
  print(f"{found.records} examples are intact, in {found.bytes} bytes read")
  for what, ids in (
    ("damaged", found.damaged),
    ("not in the index though intact", found.regained),
  ):
    if len(ids):
      shown = ", ".join(map(str, np.asarray(ids)[:20])) + ", ..." * (
        len(ids) > 20
      )
      print(f"{len(ids)} are {what}: {shown}")


if __name__ == "__main__":
  sys.exit(main())
