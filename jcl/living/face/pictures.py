"""Images as examples, read as those before them were."""

import dataclasses

import numpy as np

from jcl.options.errors import UsageError
from jcl.streams import images

_DEEP = (0.0, 65535.0)  # values that become 0 and 255 in images of 16 bits


@dataclasses.dataclass(frozen=True)
class Reading:
  """How images become examples.

  Attributes:
    size: height and width in pixels to resize to; None keeps an image's own,
      which must then be that of the images before.
    color: channels of the examples, three or one; None: as the examples before
      have them, and as the first image has them.
  """

  size: int | None = None
  color: images.Color | None = None

  def check(self, example: np.ndarray | None) -> None:
    """Raises UsageError where the examples before were read otherwise."""
    if example is None or example.ndim != 3:
      return
    height, width, channels = example.shape
    if self.size is not None and (height, width) != (self.size, self.size):
      raise UsageError(
        f"--image_size={self.size}, and the examples so far are {height} by "
        f"{width} pixels: leave it out, or give another folder"
      )
    if self.color is not None and channels != _channels(self.color):
      raise UsageError(
        f"--color={self.color}, and the examples so far have {channels} "
        "channels: leave it out, or give another folder"
      )

  def pixels(
    self,
    data: bytes,
    name: str,
    example: np.ndarray | None,
    formats: tuple[str, ...] | None = None,
  ) -> np.ndarray:
    """Decodes an image to [height, width, channels] uint8.

    Args:
      data: content of the file.
      name: of the file, for messages.
      example: like all before, None where there is none.
      formats: that are read, as Pillow names them; None for all.

    Raises:
      UsageError: for what is no image, is damaged, too large or of another size
        than the examples before.
    """
    color = self.color
    if color is None and example is not None and example.ndim == 3:
      color = "grey" if example.shape[-1] == 1 else "rgb"
    found = images.decoded(data, name, self.size, color, _DEEP, formats)
    if example is None or example.ndim != 3 or found.shape == example.shape:
      return found
    height, width, _ = found.shape
    raise UsageError(
      f"{name} is {height} by {width} pixels, and the examples before it are "
      f"{example.shape[0]} by {example.shape[1]}: resize it, or start the "
      "learner with --image_size"
    )


def _channels(color: images.Color) -> int:
  return 3 if color == "rgb" else 1
