"""`jcl device` as a process: started, asked, killed, started again."""

from collections import Counter
import os
from pathlib import Path
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from absl.testing import flagsaver
import device_client
import pytest
import ready

import jcl
from jcl.cli import flags, main

ROOT = Path(__file__).parents[2]
pytest.importorskip("uvicorn", reason="the extra `device` is not installed")
PROGRAM = "from jcl.cli import start; start.jcl()"
FAST = ("--recipe=ncm", "--model=mlp:width=8,depth=1", "--port=0")


class Process:
  """A command that runs; `address` is where it is asked."""

  def __init__(self, *words, cwd=None):
    self.lines: list[str] = []
    end, out = os.pipe()
    with open(os.devnull) as nothing:
      self._running = ready.begin(
        *("-c", PROGRAM, "device", *words),
        streams=[nothing.fileno(), out, out],
        cwd=cwd,
      )
    os.close(out)
    self._out = open(end)
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._reader.is_alive():
      self.send(signal.SIGKILL)
    self.ended()

  @property
  def pid(self):
    return self._running.pid

  @property
  def address(self):
    """Waits until it is asked somewhere."""

    def found():
      assert self._reader.is_alive(), self.told
      match = re.search(r" at (http://\S+/),", self.told)
      return match and match[1]

    return device_client.until(found)

  @property
  def told(self):
    return "".join(self.lines)

  def send(self, number):
    os.kill(self.pid, number)

  def ended(self):
    """Waits for its end; returns the exit status."""
    status = self._running.wait(120)
    self._reader.join(60)
    return status

  def _read(self):
    with self._out:
      self.lines += self._out


def test_a_newcomer_starts_asks_stops_and_goes_on(tmp_path):
  folder = tmp_path / "box"
  with Process(folder, *FAST, "--experience=2", "--seed=3") as first:
    body = {"x": [[1.0, 2.0], [3.0, 4.0]], "label": ["a", "b"]}
    device_client.value(first.address, "POST", "/observe", body)
    device_client.learned(first.address, 2)
    with Process(folder, "--port=0") as second:
      assert second.ended() == 2
    told = " ".join(second.told.split())
    assert f"process {first.pid} serves it at {first.address}" in told
    assert "Traceback" not in told
    first.send(signal.SIGTERM)
    assert first.ended() == 0
    assert "SIGTERM: saving" in first.told
    assert f"`jcl device {folder}` goes on" in first.told
    assert "Traceback" not in first.told
  with Process(folder, "--port=0") as again:
    told = device_client.learned(again.address, 2)
    assert told["settings"]["recipe"] == "ncm" and told["examples"] == 2
    assert told["settings"]["an experience ends"] == "after 2 examples"
    again.send(signal.SIGINT)
    assert again.ended() == 0
  with Process(folder, *FAST, "--recipe=slda") as other:
    assert other.ended() == 2
  assert "was made with recipe='ncm'" in other.told


def test_killed_again_and_again_it_loses_and_repeats_nothing(tmp_path):
  folder, photos = tmp_path / "box", tmp_path / "photos"
  photos.mkdir()
  expected, sent, acknowledged = Counter(), Counter(), Counter()
  for number in range(4):
    words = (*FAST, f"--watch={photos}", "--experience=7") if not number else ()
    with Process(folder, "--port=0", *words) as process:
      address = process.address
      write(photos, range(60 * number, 60 * number + 60), expected)
      began, seed = time.monotonic(), 10_000 * (number + 1)
      while time.monotonic() - began < 1.2 + 0.35 * number:
        seed += 1
        data = device_client.png(seed)
        key = device_client.pixels(data).tobytes(), "asked"
        sent[key] += 1
        path, kind = "/observe?label=asked", {"Content-Type": "image/png"}
        status, _, _ = device_client.ask(address, "POST", path, data, kind)
        acknowledged[key] += status == 200
      process.send(signal.SIGKILL)
      assert process.ended() == -signal.SIGKILL
  with Process(folder, "--port=0") as last:
    files = expected.total()

    def taken():
      status = device_client.value(last.address, "GET", "/status")
      return status["watch"]["files"] == files

    device_client.until(taken)
    last.send(signal.SIGTERM)
    assert last.ended() == 0
  held = everything(folder)
  assert {k: n for k, n in held.items() if k[1] != "asked"} == expected
  asked = Counter({k: n for k, n in held.items() if k[1] == "asked"})
  assert acknowledged <= asked <= sent


def write(photos, seeds, expected):
  """Writes pictures of three classes, and some without one."""
  for seed in seeds:
    label = ("door", "alarm", "light", None)[seed % 4]
    place = photos / label if label else photos
    place.mkdir(exist_ok=True)
    data = device_client.png(seed)
    (place / f"{seed}.png").write_bytes(data)
    expected[(device_client.pixels(data).tobytes(), label)] += 1


def everything(folder):
  """Returns how often each example is in a folder's log, with its label."""
  with jcl.live(folder, experience="call") as learner:
    log = learner.arrivals.log
    if log.open_count:
      learner.end_experience()
    labels = {
      i: log.classes[y]
      for each in log.experiences
      for i, y in zip(each.ids.tolist(), each.labels, strict=True)
    }
    x = log.read(range(len(learner)))
    return Counter((each.tobytes(), labels.get(i)) for i, each in enumerate(x))


def test_the_page_of_the_manual_does_what_it_says(tmp_path):
  """Its commands run as they are, but for the port."""
  if shutil.which("curl") is None:
    pytest.skip("curl is not installed")
  text = (ROOT / "docs" / "tutorials" / "box.md").read_text("utf-8")
  blocks = re.findall(
    r"<!-- not run: [^\n]*tests/cli/test_device\.py runs it -->\n"
    r"```bash\n(.*?)^```",
    text,
    re.M | re.S,
  )
  start, *asking = blocks
  assert start.startswith("jcl device box") and len(asking) == 3
  with Process(*start.split()[2:], "--port=0", cwd=tmp_path) as process:
    answers = []
    for block in asking:
      done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", at(block, process.address)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
      )
      assert done.returncode == 0, block + done.stdout + done.stderr
      answers.append(done.stdout)
  assert '{"ids": [2]}' in answers[0] and '{"ids": [2]}' in text
  assert '"label": ["door"], "probability": [' in answers[2]
  assert "<html" in (tmp_path / "report.html").read_text("utf-8")


def at(block, address):
  """Returns commands that ask at another address than the usual one."""
  assert "http://127.0.0.1:8000/" in block
  return block.replace("http://127.0.0.1:8000/", address)


@pytest.mark.parametrize(
  ("words", "told"),
  [
    ((), "device takes the folder of one learner"),
    (("a", "b"), "device takes the folder of one learner"),
    (("box", "--host=0.0.0.0"), "lets other machines ask"),
    (("box", "--token=short"), "16 characters or more"),
    (("box", "--token_file=nothing"), "there is no such file"),
    (("box", "--watch=nothing"), "there is no such folder"),
    (("box", "--budget=lots"), "is no amount"),
    (("box", "--experience=often"), "give a number of examples"),
    (("box", "--store=much"), "no size in bytes"),
    (("box", "--recipe=pnn"), "tasks are to be known ahead"),
    (("box", "--seed=1,2"), "a learner has one"),
  ],
)
def test_mistakes_are_told_ahead_of_any_work(
  words, told, capsys, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with flagsaver.flagsaver():
    flags.reset()
    given = flags.VALUES(["jcl", "device", "--cache_dir=none", *words])
    assert main.main(given, main.JCL) == 2
  assert told in capsys.readouterr().err
  assert not (tmp_path / "box" / "settings.json").exists()


def test_a_port_that_is_taken_frees_the_folder(capsys, tmp_path):
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    words = (str(tmp_path / "box"), f"--port={taken.getsockname()[1]}")
    with flagsaver.flagsaver():
      flags.reset()
      given = flags.VALUES(["jcl", "device", "--cache_dir=none", *words])
      assert main.main(given, main.JCL) == 2
  assert "give another --port" in capsys.readouterr().err
  jcl.live(tmp_path / "box").close()
