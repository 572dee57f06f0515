"""The tests marked `quick`, by file or by name.

What reads programs of JAX, every kind of network, every recipe, one run from
end to end and one resumed: they tell within three minutes whether a version of
Python and JAX will do.
"""

QUICK = (
  "cost/test_gemms.py",
  "kernels/test_rules.py",
  "networks/test_chain.py",
  "networks/test_linen.py",
  "networks/test_nnx.py",
  "networks/test_order.py",
  "networks/test_precision.py",
  "networks/test_progressive.py",
  "profiling/test_learners.py",
  "profiling/test_operations.py",
  "test_alike.py",
  "test_checkpoint.py",
  "test_jaxprs.py",
  "test_layers.py",
  "test_recipes.py::test_recipe_keeps_the_contract",
  "test_run.py::test_main_job_writes_everything",
  "test_run.py::test_the_same_command_again_trains_nothing",
  "test_surroundings.py",
)
