"""Products read off networks, and those of the published ones."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import pytest
import signatures

from jcl import base
from jcl.cost import gemms, pairs, systolic
from jcl.networks import catalogue, linen, resnet
from jcl.options.errors import UsageError
from jcl.selection import mask

VIT = catalogue.build(
  "vit", (8, 8, 3), 5, patch=4, width=8, depth=2, heads=2, expansion=3
)


def seconds(name, pass_, batch, fmt, rows):
  found = pairs.published(name, mode="compat", batch=batch, pass_=pass_)
  cycles = systolic.network_cycles(found, rows=rows, fmt=fmt)
  return float(systolic.seconds(cycles))


@pytest.mark.parametrize(
  "name, pass_, batch, fmt, rows, expected",
  [
    ("resnet18", "forward", 1, "mx6", 3, 0.022648166),
    ("wide_resnet50_2", "forward", 1, "mx6", 13, 0.034770054),
    ("resnet18", "train", 16, "mx9", 13, 0.993158584),
    ("vit_b32", "train", 16, "mx9", 12, 1.70103653),
  ],
)
def test_published_times(name, pass_, batch, fmt, rows, expected):
  assert round(seconds(name, pass_, batch, fmt, rows), 9) == expected


@pytest.mark.parametrize(
  "pair, rows, first, train, valid, label",
  [
    (0, 13, 15.02, 20.86, 0.60, 3.76),
    (1, 12, 31.14, 43.44, 1.29, 7.79),
    (2, 12, 15.10, 35.72, 0.97, 3.78),
  ],
)
def test_published_durations(pair, rows, first, train, valid, label):
  """432 and 108 frames labelled, 324 trained on, 108 validated on."""
  student, teacher = pairs.PAIRS[pair]
  frame = seconds(teacher, "forward", 1, "mx6", rows)
  assert (round(432 * frame, 2), round(108 * frame, 2)) == (first, label)
  batch = seconds(student, "forward", 16, "mx6", rows)
  assert round(7 * batch, 2) == valid
  found = 21 * seconds(student, "train", 16, "mx9", rows)
  if student == "resnet34":  # published below its own rule
    assert found == pytest.approx(1.025 * train, rel=1e-3)
  else:
    assert round(found, 2) == train


def test_the_patch_embedding_of_a_transformer_in_training():
  """[in, rows] x [rows, out], as all layers of transformers."""
  found = pairs.published("vit_b32", pass_="train")[:3]
  assert [gemm[:3] for gemm in found] == [
    (49, 3072, 768),
    (49, 768, 3072),
    (3072, 49, 768),
  ]


def test_rows_of_the_published_pairs_at_30_frames_per_second():
  rows = []
  for student, _ in pairs.PAIRS:
    found = pairs.published(student, mode="compat")
    rows.append(systolic.rows_for(systolic.latencies(found, fmt="mx6"), 30))
  assert rows == [3, 4, 4]


@pytest.mark.parametrize(
  "name, billions",
  [
    ("resnet18", 1.81),
    ("resnet34", 3.66),
    ("vit_b32", 4.41),
    ("wide_resnet50_2", 11.4),
    ("wide_resnet101_2", 22.8),
    ("vit_b16", 17.6),
  ],
)
def test_multiplications_of_the_published_networks(name, billions):
  found = pairs.published(name)
  count = sum(g.m * g.k * g.n * g.times for g in found) / 1e9
  assert count == pytest.approx(billions, rel=5e-3)


def test_tables_are_what_a_trace_finds(monkeypatch):
  monkeypatch.setattr(pairs, "_SIDE", 32)
  stages = (1, 2)
  network = resnet._resnet(
    "resnet", (32, 32, 3), 9, stages, 64, bottleneck=True, large=True
  )
  for mode, classes in (("full", 9), ("compat", 4)):
    found = gemms.of(network, mode=mode, batch=2)
    table = pairs._resnet(2, classes, stages, 1)
    assert [gemm._replace(name="") for gemm in found] == table


@pytest.mark.parametrize("mode", ["full", "compat"])
def test_a_transformer_with_and_without_attention(mode):
  rows = 2 * 5  # a class token and four patches
  attention = [(rows, 8, 8, 1)] * 3 + [(5, 4, 5, 4), (5, 5, 4, 4)]
  attention.append((rows, 8, 8, 1))
  block = [(rows, 8, 24, 1), (rows, 24, 8, 1)]
  if mode == "full":
    block = attention + block
  head = (2, 8, 5 if mode == "full" else 4, 1)
  expected = [(8, 48, 8, 1), *block * 2, head]
  found = gemms.of(VIT, mode=mode, batch=2)
  assert [gemm[:4] for gemm in found] == expected
  assert found[0].name == "embed/patch/kernel"


def test_gradients_of_each_kind():
  found = gemms.of(VIT, pass_="train")
  by_name = {}
  for gemm in found:
    by_name.setdefault(gemm.name.partition(" (")[0], []).append(gemm[:3])
  assert by_name["embed/patch/kernel"] == [(4, 48, 8), (4, 8, 48), (48, 4, 8)]
  dense = by_name["block_0/mlp_0/kernel"]
  assert dense == [(5, 8, 24), (5, 24, 8), (8, 5, 24)]
  products = by_name[""]
  assert products[:3] == [(5, 4, 5), (5, 5, 4), (4, 5, 5)]
  convolutional = catalogue.build("conv1d", (8, 3), 4, width=4, depth=1)
  head = gemms.of(convolutional, batch=6, pass_="train")[-3:]
  assert [gemm[:3] for gemm in head] == [(6, 4, 4), (6, 4, 4), (4, 6, 4)]


def test_groups_are_products_of_their_own():
  class Grouped(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Conv(6, (3, 3), strides=2, feature_group_count=3)(x)
      return nn.Dense(2)(x.mean(axis=(1, 2)))

  network = linen.from_linen(Grouped(), (8, 8, 3), 2)
  conv, head = gemms.of(network, batch=4)
  assert conv[:4] == (4 * 16, 9, 2, 3) and conv.kind == "conv"
  assert head[:4] == (4, 6, 2, 1)


def test_what_is_made_of_a_parameter_keeps_its_name():
  class Turned(nn.Module):
    @nn.compact
    def __call__(self, x):
      kernel = self.param("kernel", nn.initializers.ones, (4, 2))
      return x @ (1.0 - kernel)

  network = linen.from_linen(Turned(), (4,), 2)
  (found,) = gemms.of(network)
  assert (found.name, found.kind) == ("kernel", "linear")


def with_tail(tail):
  """A small network whose logits go through a function of themselves."""
  network = catalogue.build("mlp", (4,), 2, width=3, depth=1)

  def apply(*args, **options):
    out = network.apply(*args, **options)
    return out._replace(logits=tail(out.logits))

  return dataclasses.replace(network, apply=apply)


def test_a_scan_counts_once_a_turn():
  kernels = jnp.ones((3, 2, 2))

  def tail(logits):
    return jax.lax.scan(lambda x, w: (x @ w, None), logits, kernels)[0]

  found = gemms.of(with_tail(tail), batch=5)
  assert [gemm[:4] for gemm in found] == [
    (5, 4, 3, 1),
    (5, 3, 2, 1),
    (5, 2, 2, 3),
  ]
  assert {gemm.kind for gemm in found} == {"linear"}


def test_products_that_run_who_knows_how_often():
  def tail(logits):
    return jax.lax.cond(
      logits.sum() > 0, lambda x: x @ jnp.eye(2), lambda x: x, logits
    )

  with pytest.raises(ValueError, match="^a product is within a cond: how of"):
    gemms.of(with_tail(tail))


@pytest.mark.parametrize(
  "options, message",
  [
    ({"mode": "paper"}, "mode='paper'"),
    ({"pass_": "backward"}, "pass_='backward'"),
    ({"batch": 0}, "batch=0"),
    ({"batch": 2.0}, "batch=2.0"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    gemms.of(VIT, **options)


@pytest.mark.parametrize(
  "name, options, message",
  [
    ("resnet19", {}, "name='resnet19': choose from resnet18"),
    ("resnet18", {"mode": "paper"}, "mode='paper'"),
    ("resnet18", {"pass_": "backward"}, "pass_='backward'"),
  ],
)
def test_bad_names(name, options, message):
  with pytest.raises(ValueError, match=message):
    pairs.published(name, **options)


def test_what_training_a_part_takes():
  # 6 -> 3 -> 3 -> 2: 18, 9 and 6 multiplications forward, and as many for each
  # gradient: of the weights that train, and of what depends on such weights.
  network = catalogue.build("mlp", (6,), 2, width=3, depth=2)
  whole = 18 * 2 + 9 * 3 + 6 * 3

  def share(*units):
    chosen = [tensor.unit in units for tensor in network.tensors]
    return gemms.training_share(network, base.Selection(tuple(chosen)))

  first, second, head = network.units
  assert share(first, second, head) == 1
  assert share(head) == (18 + 9 + 6 * 2) / whole
  assert share(second, head) == (18 + 9 * 2 + 6 * 3) / whole
  assert share(first) == (18 * 2 + 9 * 2 + 6 * 2) / whole
  assert share() == (18 + 9 + 6) / whole


def test_attention_passes_gradients_on_to_both_of_its_operands():
  everything = mask.everything(VIT)
  assert gemms.training_share(VIT, everything) == 1
  head = base.Selection(
    tuple(tensor.unit == VIT.units[-1] for tensor in VIT.tensors)
  )
  first = base.Selection(
    tuple(tensor.unit == VIT.units[0] for tensor in VIT.tensors)
  )
  least = gemms.training_share(VIT, head)
  assert 1 / 3 < least < 0.4 < gemms.training_share(VIT, first) < 0.8


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(gemms.of) == {
    "mode": "full",
    "batch": 1,
    "pass_": "forward",
  }
  assert signatures.defaults(pairs.published) == {
    "mode": "full",
    "batch": 1,
    "pass_": "forward",
    "num_classes": 9,
  }


def test_attention_of_the_published_transformers():
  found = pairs.published("vit_b32", batch=2)
  assert [gemm[:4] for gemm in found[:9]] == [
    (2 * 49, 3 * 32 * 32, 768, 1),
    *[(2 * 50, 768, 768, 1)] * 3,
    (50, 64, 50, 24),
    (50, 50, 64, 24),
    (2 * 50, 768, 768, 1),
    (2 * 50, 768, 4 * 768, 1),
    (2 * 50, 4 * 768, 768, 1),
  ]
  assert all(type(size) is int for gemm in found for size in gemm[:4])
  assert len(found) == 1 + 12 * 8 + 1 and found[-1][:3] == (2, 768, 9)
  last = pairs.published("resnet18", batch=2, num_classes=7)[-1]
  assert last[:3] == (2, 512, 7)


def of_module(call, inputs=(4,), classes=2):
  class Called(nn.Module):
    @nn.compact
    def __call__(self, x):
      return call(self, x)

  return linen.from_linen(Called(), inputs, classes)


def test_weights_on_the_left_are_ordered_as_on_the_right():
  def call(module, x):
    kernel = module.param("kernel", nn.initializers.ones, (4, 2))
    return (kernel.T @ x.T).T

  (found,) = gemms.of(of_module(call), batch=3)
  assert found[:4] == (3, 4, 2, 1) and found.kind == "linear"


def test_training_shares_want_products():
  network = of_module(
    lambda module, x: x * module.param("scale", nn.initializers.ones, (2,)),
    inputs=(2,),
  )
  assert gemms.of(network) == gemms.of(network, mode="compat") == []
  with pytest.raises(UsageError, match="multiplies no matrices"):
    gemms.training_share(network, mask.everything(network))


def test_training_through_a_scan():
  """Its turns pass gradients on where anything ahead of them trains."""
  kernels = jnp.ones((3, 2, 2))
  network = with_tail(
    lambda logits: jax.lax.scan(lambda x, w: (x @ w, None), logits, kernels)[0]
  )
  head = base.Selection(
    tuple(tensor.unit == network.units[-1] for tensor in network.tensors)
  )
  whole = 12 * 2 + 6 * 3 + 12 * 2
  assert gemms.training_share(network, head) == (12 + 6 * 2 + 12 * 2) / whole
  none = base.Selection((False,) * len(network.tensors))
  assert gemms.training_share(network, none) == (12 + 6 + 12) / whole
