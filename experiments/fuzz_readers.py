"""Do readers of files answer damage by nothing but their documented errors?

python experiments/fuzz_readers.py --inputs=100000
python experiments/fuzz_readers.py --readers=images,csv --inputs=10000 --seed=1
python experiments/fuzz_readers.py --reproduce=images:4711 --keep=DIR
python experiments/fuzz_readers.py --quick      # 200 of each, in 10 s

Small files of every kind that jcl reads are damaged, by bits that flip, cuts,
splices, lengths and shapes that become huge, with and without checksums that
fit, and read in processes with limits. Each input is counted as

  read      it was read, damage or not
  refused   by a documented error that names a file in at most five lines

and everything else is printed with what reproduces it: another error, a message
that is long, more than 10 s of processors, more memory than 100 MB and ten
times what the file declares to decode to (Linux only), or a process that died.
The last column has the most MB that were held beyond those at the beginning.
The run must end with none of these. Readers take 0.2 to 3 ms for an input.
"""

import collections
import json
import os
from pathlib import Path
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from typing import NamedTuple
import warnings

from absl import app, flags, logging
import fuzz_mutations
import fuzz_samples
import psutil

_READERS = flags.DEFINE_list("readers", None, "names of readers; all if none")
_INPUTS = flags.DEFINE_integer("inputs", 100_000, "per reader", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the damage")
_QUICK = flags.DEFINE_bool("quick", False, "200 inputs a reader, one process")
_REPRODUCE = flags.DEFINE_string("reproduce", None, "READER:INPUT, traced")
_KEEP = flags.DEFINE_string("keep", None, "folder for what is reproduced")
_FIRST = flags.DEFINE_integer("first", 0, "input to begin with")
_STATUS = flags.DEFINE_string("status", None, "file of a process of its own")

SECONDS = 10  # of processors that an input may take
# Seconds of processors without another input, after which a process is ended;
# or ten times as many by the clock, as others may keep processors busy.
DEAD = 40
MEMORY = 100 << 20  # bytes that any input may take
ADDRESS_SPACE = 6 << 30  # bytes beyond what a process has at its beginning
# Files in memory take a fifth of the time.
FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else None
SHOWN = 5  # findings of one kind that are printed
LINES, LETTERS = 5, 800


class _Slow(BaseException):
  """An input that takes too long."""


def _slow(*_):
  raise _Slow


class Finding(NamedTuple):
  kind: str
  where: str  # READER:INPUT
  what: str


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  names = _READERS.value or list(fuzz_samples.READERS)
  if wrong := [name for name in names if name not in fuzz_samples.READERS]:
    known = ", ".join(fuzz_samples.READERS)
    raise app.UsageError(f"--readers={wrong}: choose from {known}")
  if _REPRODUCE.value:
    return reproduce(*_REPRODUCE.value.split(":"))
  if _STATUS.value:
    with open(_STATUS.value, "r+b", buffering=0) as status:
      work(names[0], _FIRST.value, _INPUTS.value, status)
    return 0
  print("| reader | inputs | read | refused | other | seconds | most MB |")
  print("|---|---|---|---|---|---|---|")
  found = []
  for name in names:
    start = time.monotonic()
    counts, findings = (quick if _QUICK.value else supervised)(name)
    took = time.monotonic() - start
    print(
      f"| {name} | {counts['inputs']:,} | {counts['read']:,} | "
      f"{counts['refused']:,} | {len(findings)} | {took:.0f} | "
      f"{counts['most']} |",
      flush=True,
    )
    for finding in findings:  # at once, as others may take an hour
      print(*finding, sep=": ", file=sys.stderr, flush=True)
    found += findings
  by_kind = collections.defaultdict(list)
  for finding in found:
    by_kind[finding.where.partition(":")[0], finding.kind].append(finding)
  for (_, kind), findings in by_kind.items():
    print(f"\n{kind}, {len(findings)} of them:")
    for finding in findings[:SHOWN]:
      print(f"  --reproduce={finding.where} --seed={_SEED.value}")
      print(f"    {finding.what}")
  return int(bool(found))


def quick(name: str):
  with tempfile.TemporaryFile(buffering=0) as status:
    work(name, 0, 200, status, limited=False)
    return told(status)


def supervised(name: str):
  """Reads all inputs in processes that are begun again where one dies."""
  counts, findings, first = collections.Counter(), [], 0
  while first < _INPUTS.value:
    with tempfile.NamedTemporaryFile(buffering=0) as status:
      command = [sys.executable, __file__, f"--readers={name}"]
      command += [f"--inputs={_INPUTS.value}", f"--seed={_SEED.value}"]
      command += [f"--first={first}", f"--status={status.name}"]
      process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
      last, since, used = b"", time.monotonic(), 0.0
      while process.poll() is None:
        time.sleep(0.2)
        now = os.pread(status.fileno(), 32, 0)
        if now != last:
          last, since, used = now, time.monotonic(), _used(process.pid)
        elif time.monotonic() - since > DEAD and (
          _used(process.pid) - used > DEAD
          or time.monotonic() - since > 10 * DEAD
        ):
          process.kill()
      part, more = told(status)
    most = max(counts["most"], part["most"])
    counts += part
    counts["most"] = most
    findings += more
    done = int(last.split()[0]) if last.strip() else first
    if process.returncode == 0:
      break
    where = f"{name}:{done}"
    findings.append(Finding("died", where, f"status {process.returncode}"))
    counts["inputs"] += 1
    first = done + 1
  return counts, findings


def _used(process: int) -> float:
  """Seconds of processors that a process has taken; 0 where it has ended."""
  try:
    times = psutil.Process(process).cpu_times()
  except psutil.Error:
    return 0.0
  return times.user + times.system


def told(status) -> tuple[collections.Counter, list[Finding]]:
  """Counts and findings that a process has written of its inputs."""
  size = os.fstat(status.fileno()).st_size
  head, *lines = os.pread(status.fileno(), size, 0).decode().splitlines()
  _, read, refused, most = (int(number) for number in head.split())
  found = [Finding(*json.loads(line)) for line in lines if line]
  counts = collections.Counter(read=read, refused=refused, most=most)
  counts["inputs"] = read + refused + len(found)
  return counts, found


def work(name: str, first: int, end: int, status, limited: bool = True) -> None:
  """Reads inputs and writes their outcomes to a file.

  The file's first line has 31 letters: the number of the next input, how many
  were read, how many refused, and the most MB that one held. Each finding is a
  line of JSON after it.
  """
  warnings.simplefilter("ignore")
  logging.set_verbosity(logging.FATAL)
  os.pwrite(status.fileno(), b" " * 31 + b"\n", 0)
  counts, end_of_file = collections.Counter(), 32

  def note(number: int) -> None:
    head = (number, counts["read"], counts["refused"], watch.most >> 20)
    line = " ".join(map(str, head)).ljust(31)
    os.pwrite(status.fileno(), line.encode(), 0)

  with tempfile.TemporaryDirectory(dir=FOLDER) as place:
    reader = fuzz_samples.READERS[name](Path(place) / "samples")
    inputs = Inputs(name, reader, Path(place))
    signal.signal(signal.SIGPROF, _slow)
    if limited:
      limit()
    watch = Watch()
    for number in range(first, end):
      note(number)
      outcome, what = attempt(reader, inputs.write(number), watch)
      counts[outcome] += 1
      if outcome not in ("read", "refused"):
        line = json.dumps([outcome, f"{name}:{number}", what]) + "\n"
        end_of_file += os.pwrite(status.fileno(), line.encode(), end_of_file)
    note(end)


class Inputs:
  """Folders of small files, of which one at a time is damaged."""

  def __init__(self, name: str, reader: fuzz_samples.Reader, place: Path):
    self._name, self._reader, self._place = name, reader, place
    self._undo: tuple[Path, bytes] | None = None
    for i, sample in enumerate(reader.samples):
      for file, content in sample.items():
        path = place / str(i) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

  def write(self, number: int) -> Path:
    """Damages a file, mends the one before, and returns the folder."""
    if self._undo is not None:
      self._undo[0].write_bytes(self._undo[1])
    rng = random.Random(f"{_SEED.value} {self._name} {number}")
    i = rng.randrange(len(self._reader.samples))
    sample = self._reader.samples[i]
    targets = [f for f in sorted(sample) if self._reader.is_target(f)]
    file, content = fuzz_mutations.damaged(sample, targets, rng)
    path = self._place / str(i) / file
    path.write_bytes(content)
    self._undo = path, sample[file]
    return self._place / str(i)


def limit() -> None:
  """Bounds what this process can take."""
  used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
  most = used + ADDRESS_SPACE
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Watch:
  """Meter of the bytes that each input makes this process hold in addition."""

  def __init__(self):
    self._base, self.most = peak(reset=True), 0

  def taken(self) -> int:
    """Bytes at most since the last input that took more than `MEMORY`."""
    most = peak() - self._base
    self.most = max(self.most, most)
    if most > MEMORY:
      self._base = peak(reset=True)  # slow, so only now
    return most


def attempt(
  reader: fuzz_samples.Reader, folder: Path, watch: Watch
) -> tuple[str, str]:
  """Reads one input and returns the outcome, with a few words on it."""
  signal.setitimer(signal.ITIMER_PROF, SECONDS)
  try:
    reader.read(folder)
    outcome, what = "read", ""
  except reader.errors as error:
    outcome, what = judged(str(error))
  except _Slow:
    outcome, what = "slow", f"more than {SECONDS} s"
  except Exception as error:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    outcome = f"{type(error).__name__} at {where}"
    what = " ".join(str(error).split())[:200]
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
  taken = watch.taken()
  if taken > MEMORY and taken > MEMORY + 10 * reader.declared(folder):
    return "memory", f"{taken >> 20} MB, {outcome}"
  return outcome, what


def judged(message: str) -> tuple[str, str]:
  if message.count("\n") >= LINES or len(message) > LETTERS:
    return "long message", message[:200]
  return "refused", ""


def peak(reset: bool = False) -> int:
  """Bytes that this process has held at most since the last reset."""
  try:
    if reset:
      Path("/proc/self/clear_refs").write_text("5")
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10
  except (OSError, IndexError):
    return 0


def reproduce(name: str, number: str) -> int:
  """Reads one input and lets its error through."""
  with tempfile.TemporaryDirectory(dir=FOLDER) as place:
    signal.signal(signal.SIGPROF, _slow)
    reader = fuzz_samples.READERS[name](Path(place) / "samples")
    folder = Inputs(name, reader, Path(_KEEP.value or place)).write(int(number))
    print(f"{folder}: {attempt(reader, folder, Watch())}")
    reader.read(folder)
  return 0


if __name__ == "__main__":
  app.run(main)
