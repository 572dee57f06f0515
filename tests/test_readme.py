"""The README's snippets run as they are written, one after the other."""

from pathlib import Path
import re

README = Path(__file__).parent.parent / "README.md"


def test_snippets_run(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # where a snippet keeps a model
  snippets = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
  assert len(snippets) == 3
  namespace: dict = {}
  for snippet in snippets:
    exec(compile(snippet, str(README), "exec"), namespace)
  first, used, second = capsys.readouterr().out.strip().splitlines()
  assert int(first.split("%")[0]) > 60  # three classes, well apart
  assert "Cost(seconds=" in first or "'seconds'" in first
  assert used.endswith("('0', '1', '2')") and used.startswith("[")
  assert second.endswith("%")


def test_commands_name_what_exists():
  text = README.read_text()
  for path in re.findall(r"`([\w/.]+\.(?:py|md))`", text):
    assert (README.parent / path).exists(), path
