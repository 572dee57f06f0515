"""Selections that stay as they are for a whole run."""

import dataclasses

import jax
import pytest
import tiny_network

from jcl import base
from jcl.selection import fixed

NETWORK = tiny_network.build()


def chosen(selector, network=NETWORK) -> list[str]:
  selection = selector.choose((), network, None, 1.0)
  return [
    "/".join(tensor.path)
    for tensor, yes in zip(network.tensors, selection.trainable, strict=True)
    if yes
  ]


FIRST = ["first/kernel", "first/bias"]
SECOND = ["second/kernel", "second/bias"]
HEAD = ["head/kernel", "head/bias"]


@pytest.mark.parametrize(
  "selector, expected",
  [
    (fixed.everything(), FIRST + SECOND + HEAD),
    (fixed.head_only(), HEAD),
    (fixed.top_units(1), HEAD),
    (fixed.top_units(2), SECOND + HEAD),
    (fixed.top_units(3), FIRST + SECOND + HEAD),
    (fixed.frozen_prefix(0), FIRST + SECOND + HEAD),
    (fixed.frozen_prefix(1), SECOND + HEAD),
    (fixed.frozen_prefix("second"), SECOND + HEAD),
    (fixed.frozen_prefix("head"), HEAD),
    (fixed.biases(), ["first/bias", "second/bias"] + HEAD),
  ],
)
def test_the_right_tensors_train(selector, expected):
  assert chosen(selector) == expected


@pytest.mark.parametrize(
  "share, first",
  [(0.0, 0), (0.16, 0), (0.17, 1), (0.5, 2), (0.83, 2), (1, 1), (2, 2)],
)
def test_shares_are_rounded_to_units(share, first):
  """Of three units; a half is rounded up, and whole numbers count units."""
  assert fixed.first_trained(NETWORK, share) == first


def test_a_tail_counts_the_units_that_were_cut_off():
  tail = dataclasses.replace(NETWORK, offset=2)
  found = [fixed.first_trained(tail, n) for n in (0, 1, 2, 3, 4)]
  assert found == [0, 0, 0, 1, 2]
  # Of five units: 1.5 are rounded to 2, none of these; 3.5 to 4, two of these.
  shares = [fixed.first_trained(tail, share) for share in (0.3, 0.6, 0.7)]
  assert shares == [0, 1, 2]
  # A unit that was put ahead counts as one more.
  assert fixed.first_trained(dataclasses.replace(NETWORK, offset=-1), 1) == 2


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_shares_that_are_none(share):
  with pytest.raises(ValueError, match=r"give a share in \[0, 1\)"):
    fixed.first_trained(NETWORK, share)


def test_a_whole_network_first_unless_it_has_learned():
  selector = fixed.frozen_once_trained("head")
  learned = dataclasses.replace(NETWORK, pretrained=True)
  state = selector.init(())
  for later in (False, True):
    state = selector.update(None, state, None)
    for network in (NETWORK, learned):
      found = selector.choose(state, network, None, 1.0)
      whole = network is NETWORK and not later
      expected = tiny_network.EVERYTHING if whole else tiny_network.HEAD
      assert found == expected
  assert selector.prompt and state == 2


def test_normalisers_train_with_the_biases():
  scale = base.Tensor(("second", "scale"), "second", "scale", (8,))
  shift = base.Tensor(("second", "shift"), "second", "shift", (8,))
  tensors = (*NETWORK.tensors, scale, shift)
  network = dataclasses.replace(NETWORK, tensors=tensors)
  found = chosen(fixed.biases(), network)
  assert found == ["first/bias", "second/bias", *HEAD] + [
    "second/scale",
    "second/shift",
  ]


def test_nothing_is_remembered():
  selector = fixed.head_only()
  params, _ = NETWORK.init(jax.random.key(0))
  state = selector.init(params)
  probe = base.Probe(params, (), lambda *_: params, lambda *_: params, 0.1)
  later = selector.update(jax.random.key(1), state, probe)
  assert state == later == ()
  assert selector.choose(later, NETWORK, None, 0.1) == tiny_network.HEAD


def test_a_method_may_make_no_updates():
  selector = fixed.nothing()
  assert not any(selector.candidates(NETWORK).trainable)
  with pytest.raises(ValueError, match="makes no updates.*leave out epochs"):
    selector.choose((), NETWORK, None, 1.0)


def test_selectors_tell_what_they_may_ever_choose():
  for selector in (fixed.head_only(), fixed.frozen_prefix(2)):
    assert selector.candidates(NETWORK) == tiny_network.HEAD
  assert fixed.everything().candidates is None
  once = fixed.frozen_once_trained("head")
  assert once.candidates(NETWORK) == tiny_network.EVERYTHING
  learned = dataclasses.replace(NETWORK, pretrained=True)
  assert once.candidates(learned) == tiny_network.HEAD


def test_no_unit_is_no_selection():
  with pytest.raises(ValueError, match="num_units=0: train one unit at least"):
    fixed.top_units(0)


@pytest.mark.parametrize(
  "selector, message",
  [
    (fixed.top_units(4), "has 3 units: train 1 to 3 of them, not 4"),
    (fixed.frozen_prefix(3), "has 3 units: freeze 0 to 2 of them, not 3"),
    (fixed.frozen_prefix(-1), "freeze 0 to 2 of them, not -1"),
    (
      fixed.frozen_prefix("third"),
      "'tiny' has no unit 'third': its units are first, second, head",
    ),
  ],
)
def test_units_that_are_not_there_are_refused(selector, message):
  with pytest.raises(ValueError, match=message):
    chosen(selector)
