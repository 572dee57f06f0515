import json

import pytest
import ready


def run(script, *arguments, check=True):
  done = ready.call(ready.ROOT / "experiments" / script, *arguments)
  assert not check or done.returncode == 0, done.stderr
  return done


def cells(line):
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_bounds_table_orders_the_bounds_and_takes_up_finished_runs(
  tmp_path,
):
  command = (
    "bounds_table.py",
    "--data=digits",
    "--quick",
    "--seeds=1",
    "--recipes=joint,finetune",
    f"--workdir={tmp_path}",
  )
  run(*command)
  header, _, *lines = (tmp_path / "table.md").read_text().splitlines()
  assert cells(header)[:2] == ["recipe", "runs"]
  rows = [dict(zip(cells(header), cells(line), strict=True)) for line in lines]
  assert [row["recipe"].split()[0] for row in rows] == ["joint", "finetune"]
  accuracy = [
    float(row["class-incremental accuracy"].split()[0]) for row in rows
  ]
  assert accuracy[0] > 0.9 and accuracy[1] < 0.3
  assert all(row["runs"] == "1" for row in rows)
  assert "<html" in (tmp_path / "report.html").read_text()
  records = tmp_path / "finetune" / "seed_0" / "records.jsonl"
  before = records.read_text()
  run(*command)
  assert records.read_text() == before


def test_tuning_writes_the_best_of_the_grid_on_held_out_data(tmp_path):
  chosen = tmp_path / "chosen.json"
  done = run(
    "bounds_table.py",
    "--data=digits",
    "--quick",
    "--tune",
    "--recipes=er:buffer=200",
    f"--chosen={chosen}",
  )
  tried = {
    line.split(": ")[0]: float(line.split(": ")[1])
    for line in done.stdout.splitlines()
  }
  assert len(tried) == 2
  found = json.loads(chosen.read_text())["er:buffer=200"]
  assert found["held_out_accuracy"] == max(tried.values())
  best = max(tried, key=lambda text: tried[text])
  rate = found["options"]["learning_rate"]
  assert best == f"er:buffer=200,learning_rate={rate}"


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--recipes=er:buffer=7"], "--recipes: no row er:buffer=7; choose from"),
    (["--chosen=missing.json"], "--data=digits --tune --recipes=joint"),
  ],
)
def test_the_bounds_table_names_what_is_wrong(tmp_path, arguments, message):
  done = run(
    "bounds_table.py",
    "--data=digits",
    f"--workdir={tmp_path}",
    *arguments,
    check=False,
  )
  assert done.returncode != 0
  assert message in done.stderr


def test_overhead_compares_loop_and_step_with_their_references():
  lines = run("overhead.py", "--quick").stdout.splitlines()
  assert lines[0].split()[-3:] == ["ratio", "quartiles", "target"]
  names = ["host, mlp", "host, mlp, work directory", "step, mlp 10 + 10"]
  assert len(lines) == 1 + len(names)
  for line, name in zip(lines[1:], names, strict=True):
    what, _, rest = line.strip().partition(" us/step ")
    assert what == name
    ours, theirs, ratio = map(float, rest.split()[:3])
    # Medians of two rounds; a round's ratio lies near the medians' own.
    assert ours > 0 and theirs > 0
    assert 0.2 < ratio / (ours / theirs) < 5


def test_the_transfer_study_makes_its_table_and_map(tmp_path):
  command = (
    "elastic_transfer.py",
    "--data=digits",
    "--networks=mlp:width=24",
    "--row=full",
    "--row=elastic:rho=0.1",
    "--row=elastic:rho=0.9",
    "--row=head_only",
    "--row=pruning:ratio=0.5",
    "--seeds=1",
    "--profile=analytic",
    "--rounds=2",
    f"--workdir={tmp_path}",
  )
  told = run(*command).stdout
  assert "elastic:rho=0.1" in told and "left out" in told
  lines = (tmp_path / "table.csv").read_text().splitlines()
  rows = {line.split(",")[1]: line.split(",") for line in lines[1:]}
  assert set(rows) == {
    "full",
    "elastic:rho=0.9",
    "head_only",
    "pruning:ratio=0.5",
  }
  accuracy = {row: float(cells[2]) for row, cells in rows.items()}
  assert accuracy["full"] > accuracy["head_only"] > 30
  operations = lines[0].split(",").index("operations")
  assert float(rows["head_only"][operations]) < 0.7
  assert float(rows["full"][operations]) == 1
  assert (tmp_path / "mlp-width=24-elastic-rho=0.9.png").exists()
  run(*command)  # takes up what is finished


def test_the_study_of_the_memory_hierarchy_makes_tables_and_pictures(tmp_path):
  command = ("memory_hierarchy.py", "--quick", f"--workdir={tmp_path}")
  run(*command)
  header, *lines = (tmp_path / "table.csv").read_text().splitlines()
  rows = [
    dict(zip(header.split(","), line.split(","), strict=True)) for line in lines
  ]
  accuracy = {
    (row["part"], row["name"]): float(row["accuracy"]) for row in rows
  }
  assert {name for part, name in accuracy if part == "controller"} == {
    "frugal",
    "half",
    "default",
    "oracle",
  }
  full = accuracy["swap", "100 %"]
  assert accuracy["swap", "0 %"] < full < accuracy["swap", "storage_only"]
  trials = {row["name"]: float(row["trials"]) for row in rows}
  assert trials["frugal"] > 0 and trials["half"] == 0
  text = (tmp_path / "table.txt").read_text()
  assert "joules: modelled (" in text and "frugal of 108 examples" in text
  for name in ("swap", "frontier", "decisions"):
    assert (tmp_path / f"{name}-digits.png").exists()
  finished = sorted(tmp_path.glob("digits/*/*/records.jsonl"))
  before = [path.stat().st_mtime_ns for path in finished]
  run(*command)  # takes up what is finished
  assert [path.stat().st_mtime_ns for path in finished] == before


def test_executors_are_compared_on_a_small_network():
  told = run(
    "executors.py",
    "--quick",
    "--model=mlp:width=8,depth=1",
    "--side=8",
    "--batch_size=4",
    "--rho=0.9",
  ).stdout
  assert "everything" in told and "of ten minutes %" in told
  rows = [line.split() for line in told.splitlines()]
  assert {row[0] for row in rows if row} >= {"everything", "pieces", "whole"}


def test_the_cost_of_an_experience_is_told_by_account():
  done = run("many_experiences.py", "--counts=6,12", "--kept=yes")
  header, *rows = done.stdout.splitlines()
  assert header.split()[:4] == ["recipe", "T", "kept", "total"]
  assert [row.split()[:3] for row in rows] == [
    ["er", count, "yes"] for count in ("6", "12")
  ]
  for row in rows:
    total, *accounts = map(float, row.split()[3:-2])
    assert len(accounts) == 7 and 0 < sum(accounts) <= total + 0.1


def test_live_learners_are_killed_and_lose_nothing():
  lines = run("live_crash.py", "--quick").stdout.splitlines()
  assert lines[0].startswith("2 kills, ")
  assert lines[1] == "0 lost, 0 changed, 0 half, 0 failed"
  assert lines[-1].startswith("identical 1 of 1 runs")


def test_live_overhead_times_every_form():
  head, *rows = run("live_overhead.py", "--quick").stdout.splitlines()
  assert head.split() == ["form", "seconds", "ratio", "quartiles"]
  assert len(rows) == 4 and rows[0].split()[2] == "1.00"


def test_a_live_learner_is_looked_at_as_it_lives():
  *_, last = run("live_soak.py", "--quick", "--samples=2").stdout.splitlines()
  assert last.startswith("examples 3,000  ") and "experiences 2" in last


def test_the_times_of_a_live_learner_are_told():
  told = run("live_latency.py", "--quick").stdout
  assert "% of plain writes" in told and "beside: p50" in told
  assert "0 answers torn, 0 arrays changed" in told
