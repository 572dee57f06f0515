"""What a frozen trunk saves of a compiled step's memory, and what does not.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, train the last stage of a ResNet-18 and its head.
"""

import jax
import numpy as np
import optax

from jcl import base, recipes
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.networks import resnet
from jcl.selection import fixed, mask
from jcl.train import augment as augmentation
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train import slots, step_spec

DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")
NETWORK = resnet.resnet18((32, 32, 3), 10, filters=8)
EVERYTHING = mask.everything(NETWORK)
TAIL = fixed.frozen_prefix("block_6").choose(np.int32(0), NETWORK, None, 1.0)


def masked(optimizer):
  """The optimiser behind gradients of which all but the tail's are times 0."""

  def update(grads, state, params=None):
    chosen = mask.as_mask(grads, NETWORK, TAIL)
    grads = jax.tree.map(lambda grad, yes: grad * float(yes), grads, chosen)
    return optimizer.update(grads, state, params)

  return optax.GradientTransformation(optimizer.init, update)


MASKED = base.Sparsity(
  start=lambda params: params,
  wrap=lambda rule: masked(slots.per_tensor(rule)),
  restart=lambda opt_state: opt_state,
)


def temp_bytes(method, selection, sparsity=None):
  training = base.Training(batch_size=32, learning_rate=0.01, momentum=0.0)
  spec = step_spec.StepSpec(
    NETWORK,
    method,
    optimizers.complete(training),
    augmentation.Preprocess(np.float32(0), np.float32(1)),
    sparsity=sparsity,
  )
  learner = learner_lib.Learner(
    spec,
    np.zeros(NETWORK.input_shape, np.uint8),
    ledger_lib.Ledger(DEVICE),
    steps_per_dispatch=1,
    executor="whole",
    devices=jax.devices()[:1],
  )
  return learner.step_program(selection).cost.temp_bytes


def test_a_frozen_trunk_keeps_no_activations_and_masked_gradients_do():
  full = temp_bytes(recipes.finetune(), EVERYTHING)
  frozen = temp_bytes(recipes.er(buffer=15, minibatch=15), TAIL)
  # Frozen, what is left is the forward pass. A full step took half as much
  # again before the derivative of batch normalisation was written out.
  assert frozen <= 0.42 * full
  assert temp_bytes(recipes.finetune(), EVERYTHING, MASKED) >= 0.99 * full
