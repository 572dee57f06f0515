"""Flags of what a run may cost, and of a frozen trunk that saves some."""

from jcl.cli.definitions import declaring
from jcl.cost.meters import find

declaring.varied_text(
  "memory_budget",
  None,
  "bytes for the memory hierarchy of recipes that have one (carm, frugal), "
  "such as 64MiB; or a file that says so, which may be rewritten while the run "
  "goes on; or auto: half of what the machine has left, and what its cgroup "
  "allows",
  group=declaring.BUDGET,
  identifies=(),
)
TRUNK_CACHE = declaring.text(
  "trunk_cache",
  "",
  "keeps the output of the frozen trunk of recipes that have one (slda, "
  "lightcl, er+freeze) instead of computing it anew: raw, uint8 or pq:32; a "
  "memory then replays codes. disk, or disk:pq:32, keeps it in --cache_dir as "
  "well, where later runs find it by the trunk's weights and the example. It "
  "needs a trunk that never changes and --augment=none",
  group=declaring.TRUNK,
  identifies=(declaring.LEARN,),
)
declaring.text(
  "trunk_bytes",
  None,
  "bytes of that cache at most, such as 64MB, in memory",
  group=declaring.TRUNK,
  identifies=(declaring.LEARN,),
)
declaring.text(
  "trunk_disk_bytes",
  "10GB",
  "bytes on disk at most with --trunk_cache=disk, of all runs together; what "
  "was used least recently makes room",
  group=declaring.TRUNK,
  identifies=(),
)
declaring.varied_number(
  "seconds_budget",
  None,
  "training seconds for each whole run",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
declaring.varied_text(
  "energy_budget",
  None,
  "joules, counted as --meter says, for each whole run, such as 1500; or a "
  "file that says so, such as 1500J, which may be rewritten while the run goes "
  "on: it is read again at every epoch",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
declaring.varied_number(
  "flops_budget",
  None,
  "floating-point operations for each whole run",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
declaring.varied_number(
  "equal_flops",
  None,
  "floating-point operations for each experience, the same for every recipe: "
  "all passes that learning makes count, evaluation does not, and what is left "
  "over goes to the next experience. Give --epochs enough to spend them",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
declaring.varied_number(
  "train_share",
  1.0,
  "share of a full step's time for recipes that select",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
declaring.choice(
  "meter",
  "auto",
  list(find.NAMES),
  "where joules come from; rails: power monitors at a board's input, as on a "
  "Jetson; nvml: counters of NVIDIA GPUs (pip install nvidia-ml-py); rapl: "
  "counters of the processor (root only on most machines); modelled: seconds "
  "times watts, with no sensor; auto: the first of these that measures what "
  "computes. A sensor sees all programs: let nothing else run. A run may be "
  "taken up again with another meter and then says 'partly measured'",
  group=declaring.BUDGET,
  identifies=(),
)
declaring.number(
  "idle_watts",
  None,
  "power of an idle device, where no meter measures it",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
declaring.number(
  "busy_watts",
  None,
  "power of a busy device, where no meter measures it",
  group=declaring.BUDGET,
  identifies=(declaring.LEARN,),
)
