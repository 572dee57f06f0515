"""Flags of serving, converting and exporting."""

from jcl.cli.definitions import declaring

SCENARIOS = declaring.several(
  "scenario",
  ["S6"],
  "streams, of none, S1 to S6, ES1 and ES2",
  group=declaring.SERVING,
  identifies=(),
  by=(declaring.SERVE,),
)
FRAMES = declaring.text(
  "frames",
  None,
  "frames to serve in place of --scenario: a list of image files with their "
  "classes (.csv or .json), a video, or camera:0",
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
TEACHER = declaring.text(
  "teacher",
  "",
  "network that labels; default larger than the student",
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
RETRAIN = declaring.text(
  "retrain",
  "finetune",
  "recipe of retraining, such as freeze:until=0.5 or elastic:rho=0.5",
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
ORACLE = declaring.boolean(
  "oracle",
  False,
  "have the truth label instead of the teacher",
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
PAIR = declaring.choice(
  "pair",
  "resnet18",
  ["resnet18", "resnet34", "vit_b32"],
  "published student for whose work, and its teacher's, time passes",
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
LIVE = declaring.boolean(
  "live",
  False,
  "on the wall clock, a thread answering frames as they come; it takes as long "
  "as the stream, 28 segments",
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
FPS = declaring.integer(
  "fps",
  30,
  "frames per second",
  lower_bound=1,
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
SEGMENT_SECONDS = declaring.integer(
  "segment_seconds",
  60,
  "of a segment, 28 of which make a stream; systems count in seconds and "
  "labels, which are to be given with it",
  lower_bound=5,
  group=declaring.SERVING,
  identifies=(declaring.SERVE,),
  by=(declaring.SERVE,),
)
OVERWRITE = declaring.boolean(
  "overwrite",
  False,
  "replace the new file if it is there",
  group=declaring.CONVERTING,
  identifies=(),
  by=(declaring.CONVERT, declaring.EXPORT),
)
FORMAT = declaring.choice(
  "format",
  "stablehlo",
  ["stablehlo", "onnx"],
  "of the program: for JAX and compilers of StableHLO, FILE.safetensors, or "
  "for ONNX Runtime and others, FILE.onnx",
  group=declaring.CONVERTING,
  identifies=(),
  by=(declaring.EXPORT,),
)
SHA256 = declaring.text(
  "sha256",
  None,
  "digest that the file of PyTorch must have, as its publisher tells it",
  group=declaring.CONVERTING,
  identifies=(),
  by=(declaring.CONVERT,),
)
