"""Names that records refer to by number: classes, runs and layouts."""

from collections.abc import Mapping, Sequence
from typing import Any

from jcl.options import errors
from jcl.replay.store import records

# By table: the field of a record that holds a number of the table.
TABLES = {"classes": "label", "runs": "run", "layouts": "layout"}
# A number whose definition is lost has this ahead of it for a name.
LOST = "lost:"
_REPAIR = "`python -m jcl.replay.store FOLDER --repair` leaves them out"
_MOST = 1 << 24  # names of a table: a larger number is damage


def are_tables(value: Any) -> bool:
  """Returns whether `Names.learn` accepts a value from JSON."""
  return isinstance(value, dict) and all(
    table in TABLES and _are_names(given) for table, given in value.items()
  )


def _are_names(given: Any) -> bool:
  if not isinstance(given, list):
    return False
  if len(given) == 2 and type(given[0]) is int:
    start, given = given
    if not (0 <= start < _MOST and isinstance(given, list)):
      return False
  return all(isinstance(name, str) for name in given)


class Names:
  """Numbered names; names are added, never removed.

  `learn` takes tables of two forms: all names from number 0 on, as segments and
  index files repeat them, or a pair (first number, names), as definition
  records hold.
  """

  def __init__(self) -> None:
    self._names: dict[str, list[str]] = {table: [] for table in TABLES}
    self._numbers: dict[str, dict[str, int]] = {t: {} for t in TABLES}
    self._layouts: dict[int, records.Layout] = {}

  def all(self, table: str) -> tuple[str, ...]:
    return tuple(self._names[table])

  def tables(self) -> dict[str, list[str]]:
    """Returns all that is defined, for `learn`."""
    return {table: list(names) for table, names in self._names.items()}

  def number(self, table: str, name: str) -> int:
    """Returns a name's number.

    Raises:
      ValueError: for an unknown name.
    """
    try:
      return self._numbers[table][name]
    except KeyError:
      known = self._names[table]
      raise ValueError(
        f"{errors.short(name)} is none of the {table} {errors.some(known)}"
      ) from None

  def layout(self, number: int) -> records.Layout:
    """Returns a layout by number.

    Raises:
      DamageError: for a layout whose definition is lost.
    """
    if number not in self._layouts:
      known = self._names["layouts"]
      if number >= len(known) or known[number].startswith(LOST):
        raise records.DamageError(
          "the shapes of these examples are lost with the segment that "
          f"defined them: {_REPAIR}"
        )
      try:
        self._layouts[number] = records.Layout.from_json(known[number])
      except ValueError as error:
        raise records.DamageError(
          f"the shapes of these examples are damaged ({error}): {_REPAIR}"
        ) from error
    return self._layouts[number]

  def strides(self) -> list[int]:
    """Returns the bytes of a record by layout; 0 for a lost definition."""
    return [
      0 if text.startswith(LOST) else self.layout(number).dtype.itemsize
      for number, text in enumerate(self._names["layouts"])
    ]

  def learn(self, tables: Mapping[str, Any]) -> None:
    """Adds definitions.

    Raises:
      StoreError: for a number that has another name already.
    """
    for table, given in tables.items():
      whole = not given or isinstance(given[0], str)
      start, fresh = (0, given) if whole else given
      known, numbers = self._names[table], self._numbers[table]
      for number, name in enumerate(fresh, start):
        self.cover(table, number + 1)
        old = known[number]
        if old == name or name.startswith(LOST):
          continue
        if not old.startswith(LOST):
          raise records.StoreError(
            f"number {number} of the {table} is {errors.short(old)} in one "
            f"segment and {errors.short(name)} in another: the segments are "
            "of copies that went different ways; keep those of one copy"
          )
        known[number] = name
        numbers[name] = number

  def cover(self, table: str, count: int) -> None:
    """Reserves all numbers below `count`, so that no new name gets them."""
    known = self._names[table]
    known.extend(f"{LOST}{number}" for number in range(len(known), count))

  def define(
    self, wanted: Mapping[str, Sequence[str]]
  ) -> tuple[dict[str, dict[str, int]], dict[str, tuple[int, list[str]]]]:
    """Returns the numbers of names, new ones included, without adding these.

    Returns:
      By table: each name's number; and the new names, for `learn`.
    """
    numbers: dict[str, dict[str, int]] = {}
    fresh: dict[str, tuple[int, list[str]]] = {}
    for table, names in wanted.items():
      known, start = self._numbers[table], len(self._names[table])
      wanted_once = dict.fromkeys(names)
      new = [name for name in wanted_once if name not in known]
      later = {name: number for number, name in enumerate(new, start)}
      numbers[table] = {
        name: known[name] if name in known else later[name]
        for name in wanted_once
      }
      if new:
        fresh[table] = (start, new)
    return numbers, fresh
