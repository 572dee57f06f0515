"""Flags of one run over many processes."""

from jcl.cli.definitions import declaring

COORDINATOR = declaring.text(
  "coordinator",
  None,
  "HOST:PORT of process 0, which all others can reach",
  group=declaring.SHARING,
  identifies=(),
  by=(declaring.LEARN,),
)
NUM_PROCESSES = declaring.integer(
  "num_processes",
  None,
  "processes of the run, which split each batch; all are started with the same "
  "flags but for --process_id",
  group=declaring.SHARING,
  identifies=(),
  by=(declaring.LEARN,),
)
PROCESS_ID = declaring.integer(
  "process_id",
  None,
  "number of this process, from 0; process 0 writes the files",
  group=declaring.SHARING,
  identifies=(),
  by=(declaring.LEARN,),
)
DISTRIBUTED = declaring.boolean(
  "distributed",
  False,
  "have the cluster say all three, as SLURM and Open MPI do",
  group=declaring.SHARING,
  identifies=(),
  by=(declaring.LEARN,),
)
PATIENCE = declaring.number(
  "patience",
  120.0,
  "seconds to wait for other processes, to come and to answer",
  group=declaring.SHARING,
  identifies=(),
  by=(declaring.LEARN,),
)
