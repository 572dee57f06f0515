"""The tests marked `quick`, by file or by name.

They tell within three minutes whether jcl works on a version of Python and JAX:
they cover the readers of JAX's programs, every kind of network, one recipe of
each kind, one run from end to end and one resumed.
"""

# With its own way to replay, project, choose tensors, exemplars or sizes, or to
# solve.
_RECIPES = "agem carm elastic gdumb icarl miro slda".split()

QUICK = (
  "control/test_allowance.py",
  "cost/test_gemms.py",
  "train/kernels/test_rules.py",
  "living/test_portable.py",
  "networks/test_chain.py",
  "networks/test_linen.py",
  "networks/test_nnx.py",
  "networks/test_order.py",
  "networks/test_precision.py",
  "networks/test_progressive.py",
  "train/profiling/test_learners.py::test_the_learner_is_as_it_was",
  "train/profiling/test_operations.py",
  "test_alike.py",
  "run/test_checkpoint.py",
  "test_jaxprs.py",
  "test_layers.py::test_importing_jcl_is_light",
  *(
    f"test_recipes.py::test_recipe_keeps_the_contract[{name}]"
    for name in _RECIPES
  ),
  "test_run.py::test_main_job_writes_everything",
  "test_run.py::test_the_same_command_again_trains_nothing",
  "run/test_surroundings.py",
  "run/inference/test_export.py::test_a_process_without_jcl_gives_the_same_bits",
)
