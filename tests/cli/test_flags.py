"""Which flags make a run another one, and the folders that they name."""

from absl.testing import flagsaver
import pytest

from jcl.cli import asked, definitions, flags, folders
from jcl.options.errors import UsageError

# A work directory of an earlier version is found by these, and by no others.
IDENTIFYING = """
  accumulate augment base_classes base_epochs batch_size busy_watts clip data
  diagnose energy_budget epochs equal_flops evaluate_every executor flops_budget
  head idle_watts lead learning_rate model momentum norms optimizer precision
  schedule seconds_budget steps_per_dispatch stream train_share trunk_bytes
  trunk_cache weight_decay weights
""".split()
OTHERS = """
  budget cache_dir checkpoint_seconds color compare data_dir download estimate
  experience format fps frames host image_size label list live memory_budget
  meter oracle overwrite pair port recipe resume retrain scenario seed
  segment_seconds sha256 store teacher token token_file trunk_disk_bytes watch
  workdir workers workers_memory
  coordinator distributed num_processes patience process_id
""".split()


@pytest.fixture
def parse():
  """Reads flags as a command line does; they are put back afterwards."""
  with flagsaver.flagsaver():
    flags.reset()
    yield lambda *words: flags.VALUES(["jcl", *words])


def named():
  texts = flags.recipes()
  shared = {**flags.identity(), "content": "0123"}
  name = folders.slug(definitions.DATA_SET.value)
  settings = [folders.chosen(shared), texts]
  return folders.work(f"{name}-{folders.slug(texts[0])}", settings).as_posix()


def test_the_flags_that_identify_a_run_are_the_same_as_ever(parse):
  parse()
  assert sorted(flags.identity()) == IDENTIFYING
  assert sorted(flags.values()) == sorted([*IDENTIFYING, *OTHERS])


@pytest.mark.parametrize(
  "words, name",
  [
    ("", "digits-er-58687c3e"),
    (
      "--recipe=derpp:buffer=500 --compare=er:buffer=500 --seed=0,1,2",
      "digits-derpp-buffer=500-5ce7e4df",
    ),
    (
      "--model=mlp:width=100 --epochs=3 --optimizer=adam --learning_rate=0.01 "
      "--noresume",
      "digits-er-41ef9490",
    ),
    (
      "--data=npz:path=t.npz, --clip=1.5 --compare=none --lead=4",
      "npz-path=t.npz-er-aa5cbd07",
    ),
    (
      "--data_dir=x --meter=modelled --memory_budget=64MiB --cache_dir=none "
      "--checkpoint_seconds=3 --download --estimate",
      "digits-er-58687c3e",
    ),
  ],
)
def test_work_directories_keep_their_names(parse, words, name):
  parse(*words.split())
  assert named() == f"runs/{name}"


def test_every_flag_fills_a_field_or_is_read_by_a_command(parse):
  parse(
    "--data=npz:path=t",
    "--stream=blurry",
    "--precision=bfloat16",
    "--epochs=7",
    "--clip=2",
    "--lead=3",
    "--noresume",
    "--cache_dir=none",
    "--flops_budget=1e9",
  )
  setup = asked.setup()
  assert (setup.data, setup.stream) == ("npz:path=t", "blurry")
  assert (setup.precision, setup.flops_budget) == ("bfloat16", 1e9)
  assert (setup.training.epochs, setup.training.clip) == (7, 2.0)
  assert setup.training.momentum is None
  assert (setup.options.lead, setup.options.resume) == (3, False)
  assert setup.options.cache_dir is None
  for name, flag in definitions.ALL.items():
    assert flag.group in definitions.GROUPS or not flag.by, name
    assert set(flag.identifies) <= set(flag.by), name
    assert flag.help and flag.help[0] != " ", name


def test_flags_are_put_back_between_runs_of_a_process(parse):
  parse("--list", "--seed=3", "--recipe=si")
  flags.reset()
  assert flags.values() == flags.defaults() and not flags.given()


@pytest.mark.parametrize(
  "words, told",
  [
    ("--seed=a", "--seed=a: write whole numbers"),
    ("--seed=1,1", "different numbers"),
    ("--seed=99999999999", "below 2\\*\\*32"),
    ("--epochs=-1", "--epochs=-1: give a whole number from 0"),
    ("--seconds_budget=0", "--seconds_budget=0.0"),
  ],
)
def test_numbers_that_no_flag_takes(parse, words, told):
  parse(words)
  with pytest.raises(UsageError, match=told):
    flags.check()
    flags.seeds()
