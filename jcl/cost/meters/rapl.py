"""Energy counters of processor packages and their memory (RAPL).

The kernel's powercap class shows a zone per package and, inside it, zones of
its cores, graphics and memory. A package's counter holds its cores and
graphics, not its memory. Linux kernel documentation, "Power Capping
Framework"; David et al., "RAPL: Memory Power Estimation and Capping", ISLPED
2010.
"""

from pathlib import Path

from jcl.cost.meters import meter, sysfs

# "intel-rapl" serves AMD's processors too. "intel-rapl-mmio" shows the same
# packages once more.
_ZONES = (
  "class/powercap/intel-rapl:*",
  "class/powercap/intel-rapl:*/intel-rapl:*:*",
)
# The shortest counters hold 65 kJ: two minutes at 500 W.
_PERIOD = 10.0
_RESOLUTION = 0.001  # seconds between updates of the counters


def find(root: str | Path = "/sys") -> meter.Sensor:
  """Returns the sensor of all processor packages and their memory.

  The sensor counts the energy of every program on the machine.

  Args:
    root: the folder where the kernel shows its devices.

  Raises:
    meter.Unavailable: where there are no such counters, or they cannot be
      read: since Linux 5.10 only root may read them.
  """
  base = Path(root)
  zones: dict[str, Path] = {}
  others = set[str]()

  def read() -> tuple[float, ...]:
    return tuple(
      1e-6 * sysfs.number(path / "energy_uj") for path in zones.values()
    )

  try:
    for path in sysfs.folders(base, _ZONES):
      name = sysfs.text(path / "name")
      # "psys" includes the packages; they include "core" and "uncore".
      if name.startswith("package") or name == "dram":
        zones.setdefault(path.name, path)
      else:
        others.add(name)
    labels = [sysfs.text(path / "name") for path in zones.values()]
    values = read()
    wraps = tuple(
      1e-6 * sysfs.number(path / "max_energy_range_uj")
      for path in zones.values()
    )
  except (OSError, ValueError) as error:
    raise meter.Unavailable(sysfs.why(error)) from error
  if not any(label.startswith("package") for label in labels):
    seen = f", only {', '.join(sorted(others))}" if others else ""
    raise meter.Unavailable(
      f"no processor package under {base / 'class/powercap'}{seen}"
    )
  for label, value, wrap in zip(labels, values, wraps, strict=True):
    if not 0 <= value <= wrap or wrap == 0:
      raise meter.Unavailable(
        f"the counter of {label} shows {value:g} J of {wrap:g} J at most"
      )
  return meter.Sensor(
    f"RAPL energy counters of {' + '.join(labels)}, all programs",
    "joules",
    read,
    _PERIOD,
    _RESOLUTION,
    wraps,
  )
