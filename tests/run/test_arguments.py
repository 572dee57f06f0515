import pytest

import jcl
from jcl.run import arguments

STREAM = jcl.class_incremental(jcl.load("digits"), tasks=2)
NETWORK = jcl.build_network("mlp", (8, 8, 1), 10, width=2)
METHOD = jcl.recipes.finetune()


@pytest.mark.parametrize(
  ("parts", "told"),
  [
    ({"stream": jcl.load("digits")}, "stream=Source.*jcl.class_incremental"),
    ({"network": "mlp"}, "network='mlp': give a network.*build_network"),
    ({"method": "er"}, r"method='er': give a recipe.*jcl.recipes.er\("),
    ({"method": jcl.recipes.er}, "function, which is to be called"),
    ({"seed": "a"}, "seed='a': give a whole number from 0"),
    ({"seed": -1}, "seed=-1: give a whole number"),
    ({"seed": True}, "seed=True"),
    ({"workdir": 3}, "workdir=3: give the path of a folder"),
    ({"workdir": "a\0b"}, "workdir=.*path of a folder"),
    ({"options": {"resume": False}}, "jcl.Options"),
    ({"resume": False}, r"write options=jcl.Options\(resume=...\)"),
    ({"epoch": 1}, "no option 'epoch'; did you mean 'epochs'"),
    ({"options": jcl.Options(checkpoint_seconds=-1)}, "from 0, or inf"),
  ],
)
def test_a_mix_up_is_told_in_a_sentence(parts, told):
  called = {"stream": STREAM, "network": NETWORK, "method": METHOD, **parts}
  with pytest.raises(ValueError, match=told) as caught:
    jcl.learn(**called)
  assert len(str(caught.value)) < 400


def test_what_fits_passes():
  arguments.check_parts(stream=STREAM, network=NETWORK, method=METHOD)
  arguments.check_folder(None)
  arguments.check_folder("here")
  assert arguments.seed(2**40) == 2**40
  assert arguments.seed(3.0) == 3
