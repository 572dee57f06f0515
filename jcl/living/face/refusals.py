"""Answers to requests that cannot be served: a status and one sentence."""

from collections.abc import Mapping


class Refused(Exception):
  """A request that is not served.

  Args:
    status: of HTTP.
    told: a sentence for who asked: no paths, no names of modules.
    headers: that the answer has beside its usual ones.
  """

  def __init__(
    self, status: int, told: str, headers: Mapping[str, str] | None = None
  ) -> None:
    super().__init__(told)
    self.status, self.told = status, told
    self.headers = dict(headers or {})


def malformed(told: str) -> Refused:
  """Returns the refusal of a request whose body or options do not serve."""
  return Refused(400, told)


def busy(seconds: int = 1) -> Refused:
  """Returns the refusal of a request for which there is no room now."""
  return Refused(
    503,
    f"too many requests are waiting: ask again in {seconds} s",
    {"Retry-After": str(seconds)},
  )
