"""Places at which a network is tapped, and where it is cut below them."""

import dataclasses

import pytest
import signatures
import tiny_network

from jcl import base
from jcl.objectives import taps

PLAIN = tiny_network.build()  # units "first", "second" and "head"
NETWORK = dataclasses.replace(PLAIN, places=("first/map", "second/map"))
CHAIN = dataclasses.replace(
  NETWORK,
  blocks=tuple(base.Block(unit, lambda *_: None) for unit in NETWORK.units),
)


def test_places_of_the_units_that_train_or_their_outputs():
  assert taps.default_taps(NETWORK, 0) == ("first/map", "second/map")
  assert taps.default_taps(NETWORK, 1) == ("second/map",)
  assert taps.default_taps(PLAIN, 0) == ("first", "second")
  assert taps.default_taps(PLAIN, 2) == ()


def test_a_chain_is_cut_below_the_first_unit_that_trains():
  found = taps.layout(CHAIN, 1)
  assert found == (NETWORK.units, 1, ("second/map",), "first")
  assert found.wanted == ("first", "second/map")
  for whole in (
    taps.layout(CHAIN, 0),  # nothing lies below
    taps.layout(NETWORK, 1),  # no chain
    taps.layout(CHAIN, 1, keeps_inputs=True),
  ):
    assert whole.below is None and whole.wanted == whole.taps


def test_taps_may_be_given_and_are_checked():
  assert taps.layout(NETWORK, 1, ["second"]).taps == ("second",)
  with pytest.raises(ValueError, match="no place 'no/map'.*second/map"):
    taps.layout(NETWORK, 1, ("no/map",))
  with pytest.raises(ValueError, match="'first' lies in the frozen part"):
    taps.layout(NETWORK, 1, ("first",))
  with pytest.raises(ValueError, match="no place 'head'"):
    taps.layout(NETWORK, 1, ("head",))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(taps.layout) == {"taps": (), "keeps_inputs": False}
