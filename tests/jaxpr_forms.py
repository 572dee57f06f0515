"""Programs rewritten into the forms in which versions of JAX write them."""

from types import SimpleNamespace

import jax
from jax.extend import core

FORMS = ("until 0.10", "from 0.11")


class Tree(tuple):
  """Stands for the trees that newer scans carry in their parameters."""

  def unpack(self):
    return tuple(self)


def written(program, form):
  """Returns a traced program as a version of JAX would have written it."""
  return _program(getattr(program, "jaxpr", program), program.consts, form)


def equation(name, params, takes, gives):
  """Returns a made-up equation on operands and results of given shapes."""
  return SimpleNamespace(
    primitive=SimpleNamespace(name=name),
    params=params,
    invars=[SimpleNamespace(aval=_aval(shape)) for shape in takes],
    outvars=[SimpleNamespace(aval=_aval(shape)) for shape in gives],
    effects=set(),
  )


def _aval(shape):
  return jax.ShapeDtypeStruct(shape, "float32")


def _program(jaxpr, consts, form, closed=True):
  opened = SimpleNamespace(
    constvars=jaxpr.constvars,
    invars=jaxpr.invars,
    outvars=jaxpr.outvars,
    eqns=[_equation(each, form) for each in jaxpr.eqns],
    effects=jaxpr.effects,
  )
  if form == FORMS[0]:
    if not closed:
      return opened
    return SimpleNamespace(jaxpr=opened, consts=consts)
  opened.consts, opened.jaxpr = consts, opened
  return opened


def _equation(equation, form):
  name, params = equation.primitive.name, dict(equation.params)
  if name == "scan":
    params |= _parts(params, len(equation.invars), form)
    for key in ("ft_in", "ft_out") if form == FORMS[0] else _COUNTS:
      params.pop(key, None)
  if name == "jit" and form == FORMS[0]:
    name = "pjit"
  for key, value in params.items():
    params[key] = _rewritten(value, form, closed=not name.startswith("remat"))
  return SimpleNamespace(
    primitive=SimpleNamespace(name=name),
    params=params,
    invars=equation.invars,
    outvars=equation.outvars,
    effects=equation.effects,
  )


_COUNTS = ("num_consts", "num_carry")


def _parts(params, num_inputs, form):
  """Says which operands are constants and carried, as a version does."""
  if "ft_in" in params:
    consts, carry = map(len, params["ft_in"].unpack()[:2])
  else:
    consts, carry = (params[key] for key in _COUNTS)
  if form == FORMS[0]:
    return dict(zip(_COUNTS, (consts, carry), strict=True))
  sizes = (consts, carry, num_inputs - consts - carry)
  return {"ft_in": Tree((None,) * size for size in sizes), "ft_out": Tree()}


def _rewritten(value, form, closed):
  if type(value) in (tuple, list):
    return type(value)(_rewritten(each, form, closed) for each in value)
  if isinstance(value, (core.Jaxpr, core.ClosedJaxpr)):
    jaxpr = getattr(value, "jaxpr", value)
    return _program(jaxpr, getattr(value, "consts", []), form, closed)
  return value
