"""Flags of many runs."""

from jcl.cli.definitions import declaring

WORKERS = declaring.integer(
  "workers",
  None,
  "processes that learn beside each other, each with its share of the "
  "processors; default one for each processor, or for each run if these are "
  "fewer",
  group=declaring.SWEEPING,
  identifies=(),
  by=(declaring.SWEEP,),
)
WORKERS_MEMORY = declaring.text(
  "workers_memory",
  None,
  "bytes that all of them together may hold, such as 8GiB: where they hold "
  "more, fewer of them work; default nine tenths of what the machine and its "
  "cgroup have left",
  group=declaring.SWEEPING,
  identifies=(),
  by=(declaring.SWEEP,),
)
