"""Settings of the documentation's site; `sphinx-build -W docs docs/_build`."""

import dataclasses
import importlib.metadata
import inspect
import re

project = "jcl"
version = release = importlib.metadata.version("jcl")
author = "the authors of jcl"
copyright = "the authors of jcl, Apache-2.0"

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "jcl"

# Docstrings put code between single backticks.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [
  ("Modes", "params_style"),
  ("Policies", "params_style"),
]

# What `numpy.typing.ArrayLike` stands for, as autodoc spells it out.
ARRAY_LIKE = re.compile(
  r"~numpy\._typing\._array_like\._Buffer \|.*?\[complex \| bytes \| str\]"
)


def field_comments(record):
  """Comments behind the fields of a class, or above them, by field."""
  found, above = {}, []
  for line in inspect.getsource(record).splitlines():
    text = line.strip()
    if text.startswith("#"):
      above.append(text.lstrip("# "))
      continue
    field = re.match(r"(\w+): [^#]*?(?:#\s*(.*))?$", text)
    if field:
      found[field[1]] = " ".join([*above, field[2] or ""]).strip()
    above = []
  return found


def describe_fields(app, what, name, obj, options, lines):
  """Lists the fields of a record with their comments below its docstring."""
  if what != "class" or not is_record(obj):
    return
  told = {name: text for name, text in field_comments(obj).items() if text}
  lines += ["", *(f"* `{name}`: {escaped(told[name])}" for name in told), ""]


def show_fences(app, what, name, obj, options, lines):
  """Shows what stands between fences of three backticks as it is."""
  shown, inside = [], False
  for line in lines:
    if line.strip() == "```":
      inside = not inside
      shown += ["", ".. code-block:: text", ""] if inside else [""]
    else:
      shown.append("  " + line if inside else line)
  lines[:] = shown


def loosen(app, what, name, obj, options, lines):
  """Sets indented lines apart where no section explains them."""
  loose, section, code, before = [], False, False, ""
  for line in lines:
    indent = len(line) - len(line.lstrip())
    if line.strip() and not indent:
      section = bool(re.fullmatch(r"[A-Z][A-Za-z ]*:", line))
      code = line.startswith(".. code-block::")
    deeper = indent - (len(before) - len(before.lstrip()))
    item = re.match(r"\s*([-*]|\d+\.|\.\.|>>>) ?", before)
    if (
      line.strip()
      and before.strip()
      and deeper
      and not (section or item or code)
    ):
      loose.append("")
    loose.append(line if code or ">>>" in line else literal(line))
    before = line
  lines[:] = loose


def literal(line):
  """Keeps stars and bars outside code, and ends code ahead of a letter."""
  if line.lstrip().startswith(("*", "..")):
    return line
  parts = re.split(r"(`[^`]*`)", line)
  parts[::2] = (re.sub(r"([*|])", r"\\\1", part) for part in parts[::2])
  for at in range(2, len(parts), 2):
    if re.match(r"\w", parts[at]):
      parts[at] = "\\ " + parts[at]
  return "".join(parts)


def is_record(obj):
  return dataclasses.is_dataclass(obj) or hasattr(obj, "_fields")


def escaped(text):
  return re.sub(r"([*_|])", r"\\\1", re.sub(r"``?", "", text))


def skip_fields(app, what, name, obj, skip, options):
  """Leaves out fields as members, since the list of fields has them."""
  return (
    True if inspect.isdatadescriptor(obj) and not is_property(obj) else skip
  )


def is_property(obj):
  return isinstance(obj, property)


def plain_signature(app, what, name, obj, options, signature, returns):
  """Shows `Annotated[int, ...]` as `int`, and functions as `...`."""
  if not signature:
    return None
  text = re.sub(r"<function [\w.]+>", "...", signature)
  return plain(ARRAY_LIKE.sub("~numpy.typing.ArrayLike", text)), returns


def plain(text):
  """Returns a signature with the first part of each `Annotated[...]`."""
  start = text.find("Annotated[")
  while start >= 0:
    first = start + len("Annotated[")
    depth, comma, place = 1, 0, first
    while depth:
      depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(text[place], 0)
      if depth == 1 and text[place] == "," and not comma:
        comma = place
      place += 1
    text = text[:start] + text[first:comma] + text[place:]
    start = text.find("Annotated[")
  return text


def setup(app):
  # Ahead of napoleon, which reads the sections.
  app.connect("autodoc-process-docstring", show_fences, priority=400)
  app.connect("autodoc-process-docstring", loosen, priority=450)
  app.connect("autodoc-process-docstring", describe_fields)
  app.connect("autodoc-skip-member", skip_fields)
  app.connect("autodoc-process-signature", plain_signature)
