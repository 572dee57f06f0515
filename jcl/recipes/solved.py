"""A closed-form head, then gradients: the better of both predicts."""

from typing import Literal

from jcl import base
from jcl.objectives import closed_form, solved_head
from jcl.options import kinds
from jcl.recipes import judged
from jcl.recipes.er import er
from jcl.replay import held_out, sampled
from jcl.selection import fixed


def solved(
  behind: base.Method | None = None,
  /,
  *,
  by: Literal["slda", "ridge"] = "slda",
  share: kinds.InnerShare = 0.05,
  aside: kinds.Count = 200,
) -> base.Method:
  """Starts the last units from a solved head; the better of both predicts.

  Semantics: ahead of an experience's updates one pass adds its features to
  sums, of which `slda` or `ridge` is solved and written into the head, scaled
  by the temperature of least cross-entropy on 256 of the examples. The recipe
  then trains what it leaves free. Its trunk has to be frozen: sums at the cut
  stay exact, and a classifier solved from them predicts wherever it answers
  more of the examples set aside than the trained network does, or as many.

  Args:
    behind: recipe with a frozen trunk and a memory, such as
      er+freeze:until=block_6; None: er, of which the head alone trains.
    by: what solves the head, with its defaults.
    share: of the examples, those that neither train nor enter the sums, and
      are judged by.
    aside: examples set aside that the memory holds beside its own, the same
      number of every experience.
  """
  if behind is None:
    behind = er()._replace(selector=fixed.head_only())
  judged.check(
    behind,
    "+solved",
    "chooses between the network's outputs and a solved classifier",
    "er+head_only or derpp+freeze:until=0.7",
  )
  trunk = behind.trunk

  def begins(network: base.Network) -> int:
    if trunk is None:
      return len(network.units) - 1
    return fixed.first_trained(network, trunk)

  rule = held_out.by_number(share)
  parts = solved_head.SolvedHead(
    behind.objective,
    closed_form.ridge if by == "ridge" else closed_form.shared_covariance,
    begins,
    rule,
    aside,
  )
  return behind._replace(
    objective=parts.objective,
    consolidation=parts.consolidation,
    predictor=solved_head.trained_or_solved(until=trunk),
    replay=held_out.aside(behind.replay, sampled.sampled(aside, 0), rule),
  )
