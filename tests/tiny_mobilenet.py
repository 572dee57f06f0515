"""MobileNets of a few blocks, one of each kind that a test is about."""

from jcl.networks import chain, layers, mobilenet


def build(shape, classes, *, stem, last, **blocks):
  """Returns a chain of the units of `mobilenet`.

  Args:
    shape: of an image.
    classes: number of outputs.
    stem: channels of the first convolution.
    last: channels ahead of the head.
    **blocks: by name, in their order: expansion, channels, stride, and whether
      the input is added.
  """
  units = [
    ("stem", mobilenet._Conv(stem, 3)),
    *((name, mobilenet._Block(*given)) for name, given in blocks.items()),
    ("last", mobilenet._Last(last)),
    ("head", layers.Head(classes)),
  ]
  return chain.chain("mobilenet", units, shape, classes)
