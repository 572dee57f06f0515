"""Tests of the report page."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from jcl.report import drawing, page, summary

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Reader(html.parser.HTMLParser):
  """Collects text, the sources of pictures, and tags left open."""

  def __init__(self):
    super().__init__()
    self.text, self.sources, self.open = [], [], []

  def handle_starttag(self, tag, attrs):
    if tag == "img":
      self.sources.append(dict(attrs)["src"])
    elif tag != "meta":
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def read_page(path):
  reader = Reader()
  reader.feed(path.read_text(encoding="utf-8"))
  assert not reader.open
  reader.joined = re.sub(r"\s+", " ", " ".join(reader.text))
  return reader


@pytest.fixture(scope="module")
def report(write_run, tmp_path_factory):
  """The page on two seeds of one recipe and a broken run of another."""
  folder = tmp_path_factory.mktemp("page")
  write_run(folder / "runs" / "a", recipe="er", seed=0)
  write_run(folder / "runs" / "deep" / "b", recipe="er", seed=1)
  write_run(folder / "runs" / "c", recipe="<b>new</b>", seed=5, done=2)
  runs = [summary.read_run(each) for each in page.find_runs([folder / "runs"])]
  return page.write(runs, folder / "report")


@pytest.fixture
def sketched(monkeypatch):
  """Leaves pictures empty, where pages are read for their text alone."""

  monkeypatch.setattr(drawing, "save", lambda _, path: path.write_bytes(b""))


def test_the_page_stands_alone(report):
  reader = read_page(report)
  assert len(reader.sources) == 10
  assert all(s.startswith("data:image/png;base64,") for s in reader.sources)
  markup = report.read_text(encoding="utf-8")
  assert not re.search(r"https?://|<script|<link|@import", markup)


def test_classes_and_what_reading_changed_are_told_by_name(write_run, tmp_path):
  names = ["phone box", "猫", "<i>", "d" * 99, "\udce9", "f"]
  folder = write_run(
    tmp_path / "a", class_names=names, notes=["3 files were left out (.txt)"]
  )
  lines = (folder / "records.jsonl").read_text().splitlines()
  first = json.loads(lines[0]) | {"class_names": names[:2], "name": "süd<b>"}
  second = json.loads(lines[1]) | {
    "class_names": names[2:4],  # long: numbers
    "name": "e" * 99,
  }
  (folder / "records.jsonl").write_text(
    "".join(json.dumps(each) + "\n" for each in (first, second))
    + "\n".join(lines[2:])
  )
  report = page.write([summary.read_run(folder)], tmp_path / "report")
  text = read_page(report).joined
  assert "Data: 3 files were left out (.txt)" in text
  accuracies = summary.read_run(folder).summary["accuracy_class"]
  assert f"phone box {accuracies[0]:.3f}" in text
  assert (
    "1 (süd<b>) phone box, 猫 2 " in text
  )  # of the first experience, and its epochs
  assert "e" * 41 not in text and "2 (eee" in text
  assert "2, 3 2 " in text and "4, 5 2 " in text
  assert "d" * 41 not in text and "\\udce9" in text and "<i>" in text


def test_the_page_says_what_matters(report):
  text = read_page(report).joined
  for part in (
    "joules (modelled)",
    "unfinished: 2 of 3 experiences",
    "4 of 10",
    "4,000 of 10,000",
    "60 s",
    "git revision",
    "0123abc",
    "a CPU",
    "Source of joules: modelled (from the data sheet).",
    "average incremental accuracy",
  ):
    assert part in text, part


@pytest.mark.usefixtures("sketched")
def test_modelled_joules_are_never_shown_as_measured(write_run, tmp_path):
  for name, source in (
    ("er", "measured (a counter)"),
    ("lost", "partly measured (a counter)"),
    ("ft", "modelled (5 W)"),
  ):
    write_run(tmp_path / "runs" / name, recipe=name, joules_source=source)
  runs = [summary.read_run(f) for f in page.find_runs([tmp_path / "runs"])]
  text = read_page(page.write(runs, tmp_path / "report")).joined
  assert (
    "Source of joules: of er, measured (a counter); of ft, modelled (5 W); "
    "of lost, partly measured (a counter)."
  ) in text
  # The comparison, then the costs of each run.
  assert re.findall(r"joules \(([^)]*)\)", text) == [
    "measured, modelled, partly measured",
    "measured",
    "modelled",
    "partly measured",
  ]


def test_the_memory_of_a_step_is_shown_where_runs_tell_it(
  report, sketched, write_run, tmp_path, step_memory
):
  assert "Memory of a training step" not in read_page(report).joined
  folder = write_run(tmp_path / "er", recipe="er", step_memory=step_memory)
  another = report.parents[1] / "runs" / "c"
  runs = [summary.read_run(each) for each in (another, folder)]
  text = read_page(page.write(runs, tmp_path / "out")).joined
  assert "Memory of a training step recipe frozen trunk weights" in text
  assert "anchors and references" in text
  assert "er 200 B 400 B 300 B 300 B 50 B 1 kB 20 B 4 kB 6 kB" in text
  # Not once more, in bare numbers, among the run's circumstances.
  assert "step memory" not in text.lower()


def test_sentences_come_first(report):
  markup = report.read_text(encoding="utf-8")
  assert 0 < markup.index('<p class="lead">') < markup.index("<table")
  text = read_page(report).joined
  assert "What was learned: made up, 3 experiences with 6 classes" in text


def test_accuracy_against_cost_is_the_first_picture(report):
  markup = report.read_text(encoding="utf-8")
  first = markup.index("<figure>")
  titles = re.findall(r"<figure>\s*<h3>([^<]*)</h3>", markup)
  assert titles[:3] == [
    "Accuracy against what it cost",
    "What was bought, and at which price",
    "Accuracy as experiences arrive",
  ]
  assert markup.index('<p class="lead">') < first < markup.index("<table")
  assert 'alt="Accuracy against what it cost"' in markup


def test_every_table_has_a_box_to_scroll_in(report):
  markup = report.read_text(encoding="utf-8")
  assert markup.count("<table") == markup.count('<div class="scroll"><table')
  # Else pictures of full width stick out by their padding.
  assert "box-sizing: border-box" in markup


WIDTH = """<script>window.onload = () => {
  document.querySelectorAll("details").forEach(each => each.open = true);
  const page = document.documentElement;
  document.body.dataset.beyond = page.scrollWidth - page.clientWidth;
}</script></body>"""


def pixels_beyond(page_file, tmp_path):
  """Pixels that scroll sideways in a browser of 1200, everything open."""
  probe = tmp_path / "probe.html"
  markup = page_file.read_text(encoding="utf-8")
  probe.write_text(markup.replace("</body>", WIDTH), encoding="utf-8")
  command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
  command += ["--window-size=1200,900", "--virtual-time-budget=3000"]
  command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
  done = subprocess.run(
    [*command, probe.as_uri()], capture_output=True, text=True, timeout=120
  )
  return int(re.search(r'data-beyond="(\d+)"', done.stdout)[1])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_nothing_scrolls_sideways_at_1200_pixels(write_run, tmp_path):
  folder = write_run(
    tmp_path / "a",
    recipe="er" * 20,
    options={"weights": "/a/path" * 6},
    num_experiences=12,
    done=12,
    class_names=["c" * 80] * 24,
    notes=["n" * 400],
  )
  made = page.write([summary.read_run(folder)], tmp_path / "out")
  assert pixels_beyond(made, tmp_path) == 0


def test_all_text_is_escaped(report):
  reader = read_page(report)
  assert "<b>new</b>" in reader.joined
  assert "the share <asked> for" in reader.joined
  assert "<b>" not in report.read_text(encoding="utf-8")


def test_what_lies_beside_the_page(report):
  assert len(list((report.parent / "pictures").glob("*.png"))) == 10
  value = json.loads((report.parent / "summary.json").read_text())
  assert [each["folder"] for each in value["runs"]] == [
    "../runs/a",
    "../runs/c",
    "../runs/deep/b",
  ]
  assert value["runs"][0]["class_incremental"]["matrix"]


def test_a_report_inside_a_run_keeps_the_summary(write_run, tmp_path):
  folder = write_run(tmp_path / "run")
  before = (folder / "summary.json").read_text()
  run = summary.read_run(folder)
  assert page.write([run], folder) == folder / "report.html"
  assert (folder / "summary.json").read_text() == before


def test_a_run_that_has_only_begun_has_a_page(write_run, tmp_path):
  run = summary.read_run(write_run(tmp_path / "run", done=0))
  text = read_page(page.write([run], tmp_path / "out")).joined
  assert "unfinished: 0 of 3 experiences" in text


def test_finding_runs(write_run, tmp_path):
  first = write_run(tmp_path / "x" / "b")
  second = write_run(tmp_path / "x" / "a" / "deep")
  assert page.find_runs([tmp_path / "x", first]) == [second, first]
  assert page.find_runs([first]) == [first]
  (tmp_path / "empty").mkdir()
  for name in ("empty", "missing"):
    with pytest.raises(FileNotFoundError, match=f"no run in .*{name}"):
      page.find_runs([tmp_path / name])


def test_no_runs_no_report(tmp_path):
  with pytest.raises(ValueError, match="no run to compare"):
    page.write([], tmp_path)


@pytest.mark.usefixtures("sketched")
def test_sparse_steps_show_dense_beside_effective_operations(
  write_run, tmp_path
):
  told = "2 GFLOP dense, 500 MFLOP without products with zeros"
  for name, flops in (("dense", []), ("sparse", [2e9, 5e8])):
    folder = write_run(tmp_path / name)
    *lines, last = (folder / "records.jsonl").read_text().splitlines()
    changed = json.dumps({**json.loads(last), "effective_flops": flops})
    (folder / "records.jsonl").write_text("\n".join([*lines, changed, ""]))
    text = page.write([summary.read_run(folder)], folder).read_text("utf-8")
    assert (told in text) == bool(flops)
