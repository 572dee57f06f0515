"""The live page, which asks for the status again and again."""

import functools

from jcl.report import page as report_page

_PLACE = "NONCE"  # in the page that is kept


def made(nonce: str) -> str:
  """Returns the page.

  Args:
    nonce: by which a browser knows that its script is ours.
  """
  return _page().replace(_PLACE, nonce)


@functools.cache
def _page() -> str:
  return report_page.rendered("device.html", nonce=_PLACE)
