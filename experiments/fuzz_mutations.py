"""Ways to damage files, for `fuzz_readers.py`."""

from collections.abc import Callable, Mapping, Sequence
import gzip
import io
import random
import re
import struct
import zipfile
import zlib

LARGEST = 1 << 18  # bytes of a damaged file

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1)
_NUMBERS += (2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, 2**64)
_TOKEN = re.compile(rb'"[^"\n]{0,40}"|-?\d+(?:\.\d+)?|[a-z]{2,}|[][{}(),:;\n]')
_TOKENS = (
  *(str(number).encode() for number in _NUMBERS),
  *b'-1|1e999|-1e-400|NaN|Infinity|null|true|"x"|"\\ud800"|""|[]|{}'.split(
    b"|"
  ),
  *(b"[" * 3000, b"9" * 5000, b"[1,2]", b'{"a":1}', b"\0", b"\xff\xfe", b'"'),
  *(b",", b";", b"\n", b"\r", b"\t", b"?", b"1,5", b"x" * 300, b"../..", b"."),
)

Mutation = Callable[[bytearray, random.Random], None]


def _flip(data: bytearray, rng: random.Random) -> None:
  data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
  data[rng.randrange(len(data))] = rng.choice((0, 1, 127, 128, 254, 255))


def _number(data: bytearray, rng: random.Random) -> None:
  """Writes a telling number over 1 to 8 bytes, mostly near the beginning."""
  size = rng.choice((1, 2, 4, 4, 8))
  number = rng.choice(_NUMBERS) % 2 ** (8 * size)
  where = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
  data[where : where + size] = number.to_bytes(
    size, rng.choice(("little", "big"))
  )


def _token(data: bytearray, rng: random.Random) -> None:
  """Replaces a word, a number or a bracket of text, as in JSON and headers."""
  found = [match.span() for match in _TOKEN.finditer(data[:8192])]
  if found:
    start, end = rng.choice(found)
    data[start:end] = rng.choice(_TOKENS)


def _cut(data: bytearray, rng: random.Random) -> None:
  del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random) -> None:
  start = rng.randrange(len(data))
  del data[start : start + rng.choice((1, 2, 4, 16, 100))]


def _repeat(data: bytearray, rng: random.Random) -> None:
  start = rng.randrange(len(data))
  piece = data[start : start + rng.choice((1, 4, 30, 300))]
  where = rng.randrange(len(data))
  data[where:where] = piece * rng.choice((1, 2, 20))


_MUTATIONS: Sequence[Mutation] = (
  *(_flip, _set, _number, _number, _token, _token, _cut, _remove, _repeat),
)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
  """Damaged bytes, by one or a few changes, or by a splice with another."""
  if rng.random() < 0.05:
    other = rng.choice(others)
    data = data[: rng.randrange(len(data) + 1)]
    return data + other[rng.randrange(len(other) + 1) :]
  changed = bytearray(data)
  for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
    if changed:
      rng.choice(_MUTATIONS)(changed, rng)
  return bytes(changed[:LARGEST])


def inside(name: str, data: bytes, rng: random.Random) -> bytes | None:
  """A file whose content is damaged below an intact wrapping, if it has one.

  Checksums and lengths of the wrapping are those of the damaged content, so
  that the damage is met by what reads the content.
  """

  def change(content: bytes) -> bytes:
    return mutate(content, rng, [content]) if content else content

  if data[:2] == b"\x1f\x8b":
    return gzip.compress(change(gzip.decompress(data)), 1, mtime=0)
  if data[:2] == b"PK":
    return _zip(data, rng, change)
  if data[:4] == b"\x89PNG":
    return _png(data, rng, change)
  if data[:8] in (b"jclstore", b"jclindex"):
    head = struct.Struct("<8sIII")
    magic, version, _, length = head.unpack_from(data)
    text = change(data[head.size : head.size + length])
    text += b" " * (-(head.size + len(text)) % 8)
    new = head.pack(magic, version, zlib.crc32(text), len(text))
    return new + text + data[head.size + length :]
  if name.endswith(".safetensors"):
    length = int.from_bytes(data[:8], "little")
    text = change(data[8 : 8 + length])
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
  return None


def _zip(data: bytes, rng: random.Random, change) -> bytes:
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  chosen = rng.choice(sorted(members))
  members[chosen] = change(members[chosen])
  if rng.random() < 0.1:
    members[f"other{rng.randrange(9)}.npy"] = members.pop(chosen)
  output = io.BytesIO()
  with zipfile.ZipFile(output, "w") as archive:
    for name, content in members.items():
      archive.writestr(zipfile.ZipInfo(name), content)
  return output.getvalue()


def _png(data: bytes, rng: random.Random, change) -> bytes:
  chunks, at = [], 8
  while at + 12 <= len(data):
    length = int.from_bytes(data[at : at + 4], "big")
    chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
    at += 12 + length
  chosen = rng.randrange(len(chunks))
  if rng.random() < 0.1:
    chunks.insert(rng.randrange(len(chunks)), chunks[chosen])
  kind, content = chunks[chosen]
  if kind == b"IDAT" and rng.random() < 0.5:
    content = zlib.compress(change(zlib.decompress(content)))
  else:
    content = change(content)
  chunks[chosen] = kind, content
  new = data[:8]
  for kind, content in chunks:
    crc = zlib.crc32(kind + content)
    new += len(content).to_bytes(4, "big") + kind + content
    new += crc.to_bytes(4, "big")
  return new


def damaged(
  folder: Mapping[str, bytes], targets: Sequence[str], rng: random.Random
) -> tuple[str, bytes]:
  """A file of a folder, its name and its damaged content."""
  name = rng.choice(targets)
  data = folder[name]
  if rng.random() < 0.5:
    changed = inside(name, data, rng)
    if changed is not None:
      return name, changed
  return name, mutate(data, rng, list(folder.values()))
