"""Trained models as ONNX graphs, by the converter jax2onnx.

A graph has one input `x` [N, ...], raw inputs in the model's dtype, and one
output `scores` [N, C]; a JSON text, `about`, is among its properties. ONNX
Runtime runs it, and the scores are compared, before it is written.

The converter is given a program of JAX's primitives alone, whose calls are
written out. Its own rules for whole layers expect arguments by name and lose
the axes of some convolutions (0.17.1).
"""

from collections.abc import Callable
import json

import jax
from jax import export as jax_export

from jcl.base import jaxprs
from jcl.options import errors
from jcl.options.errors import MissingPackageError, UsageError
from jcl.run.inference import export, model

_OPSET = 21  # ONNX Runtime from 1.17 on, and most others, read it


def content(made: model.Model, plain: export.Plain) -> bytes:
  """Returns the bytes of an ONNX file.

  Raises:
    UsageError: where the converter or ONNX Runtime does not know an operation
      of the model, the scores differ, or a package is missing.
  """
  try:
    import jax2onnx
    import onnxruntime
  except ImportError as error:
    raise MissingPackageError(
      f"ONNX files cannot be written ({error}); install what writes them with "
      'pip install "jcl[onnx]"'
    ) from error
  try:
    graph = jax2onnx.to_onnx(
      *_program(made, plain),
      opset=_OPSET,
      input_names=["x"],
      output_names=["scores"],
    )
    graph.metadata_props.add(key="about", value=json.dumps(plain.about))
    written = graph.SerializeToString()
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
      written, quiet, providers=["CPUExecutionProvider"]
    )
  except Exception as error:  # whatever the two libraries raise
    raise UsageError(
      f"{export.told(made)} cannot be exported as onnx "
      f"({errors.reason(error)}): give format=stablehlo"
    ) from error
  export.check(made, lambda x: session.run(["scores"], {"x": x})[0], "onnx")
  return written


def _program(
  made: model.Model, plain: export.Plain
) -> tuple[Callable[..., jax.Array], list[jax.ShapeDtypeStruct]]:
  """Returns a function of primitives alone, and what it takes."""
  (rows,) = jax_export.symbolic_shape("N")
  shape = (rows, *made.inputs.network.input_shape)
  x = jax.ShapeDtypeStruct(shape, made.inputs.dtype)
  with jax.disable_jit():  # calls are written out
    program = jaxprs.trace(lambda x: plain.scores(plain.weights, x), x)
  run, _ = jaxprs.own_results(program)
  return (lambda x: run(x)[0]), [x]
