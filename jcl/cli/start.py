"""How the command line starts, before anything else is imported."""

import os
import sys

_TUNED = "GLIBC_TUNABLES"


def jcl() -> None:
  """Runs the command `jcl`, as the wheel installs it."""
  if os.path.basename(sys.argv[0]) == "jcl":
    with_huge_pages(sys.argv[0])
  from jcl.cli import main

  main.run(main.JCL)


def with_huge_pages(program: str) -> None:
  """Starts the process again with huge pages of memory, on Linux, once.

  A step takes its working memory anew and gives it back. In small pages that
  is a tenth of a ResNet's step, and the C library asks for huge ones only where
  it is told to before it starts (glibc from 2.35 on).

  It does nothing where the user tunes the C library, or where `program` is not
  what Python was started with: a notebook's `%run`, `runpy`, a debugger, a
  profiler and coverage run it in a process of their own, which is never
  replaced.

  Args:
    program: path of the file that asks for it.
  """
  if sys.platform != "linux" or not sys.executable or _TUNED in os.environ:
    return
  if _is_begun_by(sys.argv, sys.orig_argv) and _is_same(sys.argv[0], program):
    os.environ[_TUNED] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_begun_by(argv: list[str], command: list[str]) -> bool:
  """Tells whether a command was `python [options] FILE ...` and no more.

  Args:
    argv: as the program sees its arguments, its file first.
    command: as Python was started.
  """
  options = command[1 : len(command) - len(argv)]
  if command[1 + len(options) :] != argv:
    return False
  simple, valued = set("-bBdEIOPqRsSuvx"), ("-W", "-X")
  return all(
    set(word) <= simple or word[:2] in valued or before in valued
    for before, word in zip(command, options, strict=False)
  )


def _is_same(path: str, other: str) -> bool:
  try:
    return os.path.samefile(path, other)
  except OSError:
    return False
