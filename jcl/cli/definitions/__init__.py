"""The flags of all commands: how each is read and what it says of a run."""

from jcl.cli.definitions.budget import (
  TRUNK_CACHE,
)
from jcl.cli.definitions.data import (
  COMPARE,
  DATA_SET,
  MODEL,
  RECIPE,
)
from jcl.cli.definitions.declaring import (
  ALL,
  DATA,
  GROUPS,
  LEARN,
  SERVE,
  Flag,
)
from jcl.cli.definitions.device import (
  BUDGET,
  COLOR,
  EXPERIENCE,
  HOST,
  IMAGE_SIZE,
  LABEL,
  PORT,
  STORE,
  TOKEN,
  TOKEN_FILE,
  WATCH,
)
from jcl.cli.definitions.keeping import (
  CACHE_DIR,
  ESTIMATE,
  LIST,
  RESUME,
  WORKDIR,
)
from jcl.cli.definitions.serving import (
  FORMAT,
  FPS,
  FRAMES,
  LIVE,
  ORACLE,
  OVERWRITE,
  PAIR,
  RETRAIN,
  SCENARIOS,
  SEGMENT_SECONDS,
  SHA256,
  TEACHER,
)
from jcl.cli.definitions.training import (
  SEED,
)

__all__ = [
  "ALL",
  "BUDGET",
  "CACHE_DIR",
  "COLOR",
  "COMPARE",
  "DATA",
  "DATA_SET",
  "ESTIMATE",
  "FORMAT",
  "EXPERIENCE",
  "FPS",
  "FRAMES",
  "Flag",
  "GROUPS",
  "HOST",
  "IMAGE_SIZE",
  "LABEL",
  "LEARN",
  "LIST",
  "LIVE",
  "MODEL",
  "ORACLE",
  "OVERWRITE",
  "PAIR",
  "PORT",
  "RECIPE",
  "RESUME",
  "RETRAIN",
  "SCENARIOS",
  "SEED",
  "SEGMENT_SECONDS",
  "SERVE",
  "SHA256",
  "STORE",
  "TEACHER",
  "TOKEN",
  "TOKEN_FILE",
  "TRUNK_CACHE",
  "WATCH",
  "WORKDIR",
]
