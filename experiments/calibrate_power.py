"""What does this machine draw at rest, and what at work?

The power model prices seconds with two numbers, watts at rest and watts at
work. Where a sensor can be read, this measures both and keeps them for runs in
which it cannot: another user, a container, a sensor that fails.

  python experiments/calibrate_power.py --out=power.json --seconds=30

It sleeps for the first half and multiplies matrices on all devices that JAX
has for the second. Nothing else should run: sensors see the whole board, GPU
or processor. It takes twice `--seconds` and some for JAX to start. Without a
sensor it says why there is none and what it would write, writes nothing, and
ends with status 1.
"""

import dataclasses
import json
import time

from absl import app, flags
import jax
import jax.numpy as jnp

from jcl.cost import devices
from jcl.cost.meters import calibration, detection, meter, modelled

_OUT = flags.DEFINE_string("out", "power.json", "file to write")
_SECONDS = flags.DEFINE_float(
  "seconds", 30.0, "at rest, and once more at work", lower_bound=0.01
)
_ROOT = flags.DEFINE_string("root", "/sys", "where the kernel shows sensors")
_RAILS = flags.DEFINE_list(
  "rails", [], "rails of the board to add up, where it is not a known one"
)


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  device = devices.detect()
  power = modelled.Power(device.idle_watts, device.busy_watts, device.source)
  try:
    found = detection.detect(power, _ROOT.value, device.platform, _RAILS.value)
  except meter.Unavailable as error:
    raise app.UsageError(f"--rails={','.join(_RAILS.value)}: {error}") from None
  print(detection.explain(found))
  if not found.measures:
    modelled_only(device)
    return 1
  load = build_load(device.platform)
  load(0.0)  # compiles
  try:
    result = calibration.measure(
      device.name,
      device.platform,
      found.meter,
      time.sleep,
      load,
      _SECONDS.value,
    )
  except ValueError as error:
    print(f"nothing is written: {error}")
    return 1
  calibration.save(result, _OUT.value)
  print(
    f"{device.name}: {result.idle_watts:.4g} W at rest, "
    f"{result.busy_watts:.4g} W at work; the model had {device.idle_watts:.4g} "
    f"and {device.busy_watts:.4g}\nwritten to {_OUT.value}\n"
    "for runs that no meter measures: python run.py "
    f"--idle_watts={result.idle_watts:.4g} --busy_watts={result.busy_watts:.4g}"
  )
  return 0


def modelled_only(device: devices.Device) -> None:
  """Says what a sensor would have given."""
  fields = {
    field.name: f"<{field.type.__name__}>"
    for field in dataclasses.fields(calibration.Calibration)
  }
  fields |= {"device": device.name, "platform": device.platform}
  print(
    f"no sensor: nothing is written. With one, {_OUT.value} would hold\n"
    f"{json.dumps(fields, indent=2)}\n"
    f"Until then the model has {device.idle_watts:.4g} W at rest and "
    f"{device.busy_watts:.4g} W at work."
  )


def build_load(platform: str):
  """Returns a function that keeps all devices busy for some seconds."""
  size, dtype = (
    (1024, jnp.float32) if platform == "cpu" else (8192, jnp.bfloat16)
  )

  @jax.jit
  def multiply(x):
    for _ in range(4):
      x = x @ x / size
    return x

  tiles = [
    jax.device_put(jnp.ones((size, size), dtype), where)
    for where in jax.devices()
  ]

  def load(seconds: float) -> None:
    end = time.perf_counter() + seconds
    state = tiles
    while True:
      state = jax.block_until_ready([multiply(x) for x in state])
      if time.perf_counter() >= end:
        return

  return load


if __name__ == "__main__":
  app.run(main)
