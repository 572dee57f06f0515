"""Small real files of every kind that jcl reads, for `fuzz_readers.py`."""

from collections.abc import Callable
import dataclasses
import gzip
import io
import json
import math
from pathlib import Path
import pickle
import struct
import tarfile
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from safetensors import numpy as safetensors
import torch_layouts

from jcl import base
from jcl.cost.meters import calibration
from jcl.networks import external
from jcl.options.errors import UsageError
from jcl.replay.store import index, records, segments
from jcl.replay.store.store import Store
from jcl.report import encoding, summarising, summary
from jcl.run import cursor_json, loop, workdir
from jcl.selection import times
from jcl.serving import log
from jcl.streams import (
  cifar,
  folders,
  frame_lists,
  idx,
  images,
  manifest,
  sensors,
  sources,
  tables,
)
from jcl.train.profiling import store as profiles

RNG = np.random.default_rng(0)


def _nothing(folder: Path) -> int:
  return 0


class Reader(NamedTuple):
  """Files to damage, and the function that reads them."""

  samples: list[dict[str, bytes]]  # folders: the content of each file
  read: Callable[[Path], Any]  # of a folder
  errors: tuple[type[Exception], ...] = (UsageError,)
  is_target: Callable[[str], bool] = bool  # whether a file is damaged
  # Bytes that the damaged file says it decodes to, where that is told.
  declared: Callable[[Path], int] = _nothing


def image_files(place: Path) -> Reader:
  """Images of several formats and modes, one a folder."""
  pixels = RNG.integers(0, 256, (9, 13, 3), np.uint8)
  deep = RNG.integers(900, 5000, (9, 13))
  exif = Image.Exif()
  exif[0x0112] = 6
  colour = Image.fromarray(pixels)
  made = {
    "a.png": (colour, {"exif": exif}),
    "b.jpg": (colour, {"exif": exif}),
    "c.gif": (colour.quantize(8), {}),
    "d.bmp": (colour, {}),
    "e.tif": (colour, {"exif": exif}),
    "f.webp": (colour, {"exif": exif}),
    "g.png": (Image.fromarray(deep.astype(np.uint16)), {}),
    "h.tif": (Image.fromarray(deep.astype(np.float32)), {}),
    "i.tif": (colour, {"compression": "tiff_lzw"}),
    "j.png": (colour.quantize(8), {"transparency": 3}),
    "k.png": (colour.convert("LA"), {}),
    "l.ppm": (colour, {}),
    "m.pgm": (Image.fromarray(deep.astype(np.uint16)), {}),
    "n.jpg": (colour.convert("CMYK"), {"progressive": True}),
    "o.tga": (colour, {"compression": "tga_rle"}),
    "p.jp2": (colour, {}),
    "q.ico": (colour, {}),
    "r.gif": (
      colour.quantize(4),
      {"save_all": True, "append_images": [colour.quantize(9)]},
    ),
    "s.webp": (colour.convert("RGBA"), {"lossless": True}),
    "t.pcx": (colour, {}),
    "u.dds": (colour, {}),
    "v.sgi": (colour, {}),
  }
  samples = []
  for name, (image, options) in made.items():
    file = io.BytesIO()
    file.name = name
    image.save(file, **options)
    samples.append({name: file.getvalue()})

  def read(folder: Path):
    [path] = folder.iterdir()
    return images.Images([path], size=8)[np.arange(1)]

  return Reader(samples, read, declared=_declared_by_image)


def _declared_by_image(folder: Path) -> int:
  [path] = folder.iterdir()
  try:
    with Image.open(path) as image:
      return 4 * image.width * image.height
  except Exception:
    return 0


def csv(place: Path) -> Reader:
  """Tables in several dialects."""
  plain = b"temp,hum,label\n" + b"".join(
    b"%.3f,%d,%s\n" % (value, i, b"ab"[i % 2 : i % 2 + 1])
    for i, value in enumerate(RNG.normal(size=12))
  )
  return Reader(
    [
      {"t.csv": plain},
      {"t.csv": plain.replace(b",", b";").replace(b".", b",")},
      {"t.csv": plain.partition(b"\n")[2]},
      {"t.csv": b"".join(b'"%d",' % i + r for i, r in _lines(plain))},
      {"t.csv": plain.decode().encode("utf-16")},
      {"t.csv.gz": gzip.compress(plain, mtime=0)},
    ],
    lambda folder: tables.csv(folder, path=next(folder.iterdir()).name),
  )


def _lines(text: bytes):
  return enumerate(text.splitlines(keepends=True))


def npz(place: Path) -> Reader:
  """Archives, and arrays in their place."""
  x = RNG.integers(0, 256, (6, 3, 3, 1), np.uint8)
  y = np.array([3, 1, 2, 3, 1, 2])
  samples = []
  for save, arrays in (
    (np.savez, {"x": x, "y": y}),
    (np.savez_compressed, {"x": x.astype(np.float32), "y": y[:, None]}),
    (
      np.savez,
      {"x_train": x, "y_train": y, "x_test": x, "y_test": y.astype(str)},
    ),
    (np.savez, {"x": x, "y": y, "group": np.array(list("aabbcc"))}),
  ):
    file = io.BytesIO()
    save(file, **arrays)
    samples.append({"a.npz": file.getvalue()})
  file = io.BytesIO()
  np.save(file, x)
  samples.append({"a.npz": file.getvalue()})

  def read(folder: Path):
    return sources.load("npz", folder, path="a.npz")

  return Reader(samples, read)


def idx_files(place: Path) -> Reader:
  """IDX files, plain and compressed."""
  values = RNG.integers(0, 256, (5, 4, 4), np.uint8)
  plain = struct.pack(">4B3I", 0, 0, 8, 3, *values.shape) + values.tobytes()
  return Reader(
    [{"a": plain}, {"a.gz": gzip.compress(plain, mtime=0)}],
    lambda folder: idx.read(next(folder.iterdir())),
  )


def cifar_files(place: Path) -> Reader:
  """CIFAR-100 as pickles of several kinds, in binary and in an archive."""
  pixels = RNG.integers(0, 256, (2, 3072), np.uint8)
  meta = {
    "fine_label_names": [f"f{i}" for i in range(100)],
    "coarse_label_names": [f"c{i}" for i in range(20)],
  }
  part = {"fine_labels": [9, 3], "coarse_labels": [1, 0], "data": pixels}
  samples = []
  for protocol in (0, 2, 5):
    files = {"train": part, "test": part, "meta": meta}
    sample = {n: pickle.dumps(v, protocol) for n, v in files.items()}
    samples.append(sample)
  binary = b"".join(bytes([1, 9]) + row.tobytes() for row in pixels)
  samples.append(
    {
      "train.bin": binary,
      "test.bin": binary,
      "fine_label_names.txt": "\n".join(meta["fine_label_names"]).encode(),
    }
  )
  archive = io.BytesIO()
  with tarfile.open(fileobj=archive, mode="w:gz") as tar:
    for name, content in samples[1].items():
      member = tarfile.TarInfo(f"cifar-100-python/{name}")
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  samples.append({"cifar-100-python.tar.gz": archive.getvalue()})
  return Reader(samples, cifar.cifar100)


def safetensors_files(place: Path) -> Reader:
  """Learned weights."""
  arrays = {
    "model.fc.weight": np.ones((2, 3), np.float32),
    "model.fc.bias": np.zeros(2, np.float16),
    "model.bn.num_batches_tracked": np.array(3),
  }
  return Reader(
    [{"a.safetensors": safetensors.save(arrays)}],
    lambda folder: external.read(str(folder / "a.safetensors")),
  )


def torch_files(place: Path) -> Reader:
  """Learned weights in both layouts of PyTorch."""
  storages = {"7": np.arange(8, dtype="<f4"), "8": np.array([3], "<i8")}
  arrays = {
    "fc.weight": torch_layouts.Array("7", 0, (3, 2), (1, 3)),
    "fc.bias": torch_layouts.Array("7", 6, (2,), (1,)),
    "bn.num_batches_tracked": torch_layouts.Array("8", 0, (), ()),
  }
  return Reader(
    [
      {"a.pth": torch_layouts.stream(arrays, storages)},
      {"a.pth": torch_layouts.archive(arrays, storages)},
      {"a.pth": torch_layouts.model(arrays, storages)},
    ],
    lambda folder: external.read(str(folder / "a.pth")),
  )


def storage(place: Path) -> Reader:
  """A store of two segments with their indexes."""
  x = RNG.integers(0, 256, (40, 150), np.uint8)
  names = [f"class {i % 3}" for i in range(len(x))]
  with Store.open(place, segment_bytes=4096) as store:
    for start in range(0, len(x), 5):
      rows = slice(start, start + 5)
      store.append(
        x[rows], names[rows], extras={"z": x[rows, :2].astype(np.float32)}
      )

  def read(folder: Path):
    with Store.open(folder, mode="r") as store:
      there = np.ones(store.contents.index.count, bool)
      there[store.lost()] = False
      ids = np.flatnonzero(there)
      store.count_by_class()
      return records.intact(store.read, ids) if len(ids) else None

  return Reader(
    [_folder(place)],
    read,
    (records.StoreError,),
    lambda name: name.endswith((".segment", ".index")),
    _declared_by_segments,
  )


def _declared_by_segments(folder: Path) -> int:
  """Bytes of the records that headers say to lie ahead of them, at least."""
  first = 0
  for path in folder.glob("*.segment"):
    with open(path, "rb") as file:
      header = segments.read_header(file.fileno())
    part = index.peek(folder, int(path.stem))
    first = max(first, *(each.first_id for each in (header, part) if each), 0)
  return first * records.stride(0)


def _folder(place: Path) -> dict[str, bytes]:
  files = sorted(path for path in place.iterdir() if path.is_file())
  return {path.name: path.read_bytes() for path in files}


def _record() -> base.Record:
  return base.Record(
    experience=0,
    classes=(0, 2),
    decision=base.Decision(
      base.Allocation(2, 0.5), base.Cost(1.0, 1.0, 1e9, 1e6), "half"
    ),
    trained=(2, 4),
    parameters=(10, 40),
    steps=8,
    examples=64,
    loss=0.7,
    online_accuracy=0.5,
    accuracy=(0.5, math.nan),
    accuracy_task=(0.75, math.nan),
    accuracy_class=(0.5, 0.0, 1.0),
    memory={"counts": [1, 2, 3]},
    costs={"train": base.Cost(1.0, 2.0, 3.0, 4.0)},
    peak_bytes=1000,
    choices=(base.Choice(1, 0, (True, False), 0.5, 1),),
    class_names=("cat", "dog"),
  )


def checkpoints(place: Path) -> Reader:
  """The JSON of a checkpoint."""
  where = loop.Cursor(
    control={"phase": "probe"},
    trainee={"selection": [True, False]},
    decision=_record().decision,
    initial=((0.25, 0.0), (0.5, 0.5)),
    records=[_record()],
  )
  text = json.dumps(cursor_json.to_json(where)).encode()

  def read(folder: Path):
    fields = json.loads((folder / "place.json").read_bytes())
    return cursor_json.from_json(fields)

  return Reader([{"place.json": text}], read, (ValueError, RecursionError))


def runs(place: Path) -> Reader:
  """Run folders."""
  first = _record()
  both = [first, dataclasses.replace(first, experience=1, accuracy=(0.5, 0.7))]
  context = {
    "recipe": {"name": "er", "options": {}},
    "stream": {"name": "class_incremental", "options": {}},
    "num_experiences": 2,
  }
  point = {"step": 3, "experience": 0, "accuracy": [0.5, 0.1]}
  point["accuracy_task"] = point["accuracy"]
  whole = summarising.summarise(
    both, initial=None, test_sizes=[4, 4], anytime=(), context=context
  )
  lines = [json.dumps(encoding.to_json(record)) + "\n" for record in both]
  files = {
    "records.jsonl": "".join(lines).encode(),
    "curve.jsonl": (json.dumps(point) + "\n").encode(),
    "summary.json": json.dumps(whole).encode(),
  }
  started = {**files, "records.jsonl": lines[0].encode()}
  return Reader([files, started], summary.read_run)


def configs(place: Path) -> Reader:
  """The settings that a work directory was made with."""
  config = {"recipe": {"name": "er", "options": {"buffer": 500}}, "seed": 0}
  text = json.dumps(config).encode()

  def read(folder: Path):
    return workdir.claim(folder, config)

  return Reader([{"config.json": text}], read, (workdir.WorkdirError,))


def frames(place: Path) -> Reader:
  """Lists of frames, with an image."""
  file = io.BytesIO()
  Image.new("RGB", (4, 4)).save(file, "png")
  listed = [
    {"file": "a.png", "category": "car", "attributes": {"weather": "rain"}},
    {"file": "a.png", "category": "van", "attributes": {"weather": "sun"}},
  ]
  table = b"file,category,frame\na.png,car,0\na.png,van,1.5\n"
  samples = [
    {"list.json": json.dumps(listed).encode()},
    {"list.csv": table},
  ]

  def read(folder: Path):
    [path] = folder.glob("list.*")
    found = frame_lists.read(path, folder)
    return found.x[np.arange(len(found))]

  samples = [{**sample, "a.png": file.getvalue()} for sample in samples]
  return Reader(samples, read, is_target=lambda name: name.startswith("list"))


def profile_files(place: Path) -> Reader:
  """Profiles of a network."""
  profile = times.TensorTimes(
    forward=(1.0, 2.0),
    arrival=(0.5, 0.25),
    weight_grad=(1.0, 1.0),
    update=(0.1, 0.1),
    fixed=0.5,
    method="timed",
    backward_total=3.0,
    compile_seconds=math.nan,
    about={"device": "cpu"},
  )
  text = json.dumps(profiles.to_json(profile)).encode()

  def read(folder: Path):
    kept = json.loads((folder / "profile.json").read_bytes())
    return profiles.from_json(kept)

  errors = (ValueError, KeyError, TypeError, RecursionError)
  return Reader([{"profile.json": text}], read, errors)


def drifting(place: Path) -> Reader:
  """Manifests of drifting streams."""
  frames, many = 4, {"shift": np.int8, "plate": np.uint8}
  arrays = {
    name: np.zeros((frames, 2) if name in many else frames, many.get(name, int))
    for name in manifest.ARRAYS
  }
  made = manifest.Manifest(
    "toy",
    0,
    2,
    2,
    1,
    (manifest.Attributes(), manifest.Attributes(light="night")),
    manifest.Strengths(),
    3,
    **arrays,
  )
  place.mkdir()
  manifest.save(made, place / "m")
  return Reader([_folder(place)], lambda folder: manifest.load(folder / "m"))


def logs(place: Path) -> Reader:
  """Logs of serving."""
  zeros = np.zeros(3, np.int32)
  made = log.Log(
    predictions=zeros,
    truth=zeros,
    served=zeros.astype(bool),
    versions=zeros,
    phases=(),
    about={"system": "dacapo"},
  )
  place.mkdir()
  log.save(made, place / "s")
  return Reader([_folder(place)], lambda folder: log.load(folder / "s"))


def watts(place: Path) -> Reader:
  """Calibrations of power."""
  made = calibration.Calibration("board", "cpu", 2.0, 9.0, 1.0, "measured: ina")
  place.mkdir()
  calibration.save(made, place / "watts.json")
  return Reader(
    [_folder(place)], lambda folder: calibration.load(folder / "watts.json")
  )


def sensor_files(place: Path) -> Reader:
  """Series of numbers as text."""
  rows = RNG.normal(size=(125, 45)).round(2)
  segment = b"".join(
    ",".join(map(str, row)).encode() + b"\n" for row in rows.tolist()
  )
  gas = b"".join(
    b"%d;10.0 " % i + b" ".join(b"%d:%.2f" % (j, j / 7) for j in range(1, 129))
    for i in (1, 2)
  ).replace(b"2;", b"\n2;")

  def read(folder: Path):
    if (folder / "batch1.dat").exists():
      return sensors.gas_drift(folder)
    return sensors.dsads(folder)

  path = "a01/p1/s01.txt"
  return Reader([{path: segment}, {"batch1.dat": gas}], read)


def tiny_imagenet(place: Path) -> Reader:
  """Text beside images."""
  file = io.BytesIO()
  Image.new("RGB", (4, 4)).save(file, "jpeg")
  sample = {
    "wnids.txt": b"n01\nn02\n",
    "words.txt": b"n01\tgoldfish, carp\nn02\tshark\n",
    "val/val_annotations.txt": b"v.JPEG\tn01\t0\t0\t9\t9\n",
    "val/images/v.JPEG": file.getvalue(),
    "train/n01/images/a.JPEG": file.getvalue(),
    "train/n02/images/b.JPEG": file.getvalue(),
  }
  return Reader(
    [sample], folders.tiny_imagenet, is_target=lambda n: n.endswith(".txt")
  )


READERS: dict[str, Callable[[Path], Reader]] = {
  "images": image_files,
  "csv": csv,
  "npz": npz,
  "idx": idx_files,
  "cifar": cifar_files,
  "safetensors": safetensors_files,
  "torch": torch_files,
  "storage": storage,
  "checkpoints": checkpoints,
  "runs": runs,
  "configs": configs,
  "frames": frames,
  "profiles": profile_files,
  "drifting": drifting,
  "logs": logs,
  "watts": watts,
  "sensors": sensor_files,
  "tiny_imagenet": tiny_imagenet,
}
