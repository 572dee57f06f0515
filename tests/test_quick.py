"""The quick tests exist, and no two test files share a name."""

from collections import Counter
from pathlib import Path
import re

import pytest
import quick_tests


@pytest.mark.parametrize("name", quick_tests.QUICK)
def test_what_is_quick_exists(name):
  path, _, test = name.partition("[")[0].partition("::")
  text = (Path(__file__).parent / path).read_text(encoding="utf-8")
  assert re.search(rf"^def {test or 'test_'}", text, re.MULTILINE)


def test_they_alone_are_marked(request):
  marked = {
    item.path.name
    for item in request.session.items
    if item.get_closest_marker("quick")
  }
  assert marked <= {
    name.partition("::")[0].split("/")[-1] for name in quick_tests.QUICK
  }


def test_no_two_test_files_share_a_name():
  """Pytest imports a test file by its name alone and refuses a second one."""
  names = Counter(
    path.name for path in Path(__file__).parent.rglob("test_*.py")
  )
  assert [name for name, count in names.items() if count > 1] == []
