import struct

import numpy as np
from PIL import Image, TiffImagePlugin
import pytest

from jcl.streams import images


def read(path, **options):
  return images.Images([path], **options)[0]


@pytest.mark.parametrize(
  "values, suffix",
  [
    (np.array([[1000, 2000], [3000, 4000]], np.uint16), "png"),
    (np.array([[1000, 2000], [3000, 4000]], np.uint16), "tif"),
    (np.array([[1000, 2000], [3000, 4000]], ">u2"), "tif"),
    (np.array([[-1000, 0], [1000, 2000]], np.int32), "tif"),
    (np.array([[-1.0, 0], [1, 2]], np.float32), "tiff"),
  ],
  ids=["I;16", "I;16 tif", "I;16B", "I", "F"],
)
def test_deep_images_are_scaled_by_their_range(tmp_path, values, suffix):
  path = tmp_path / f"a.{suffix}"
  Image.fromarray(values).save(path)
  x = images.Images([path], color="grey")
  assert x[0][..., 0].tolist() == [[0, 85], [170, 255]]
  assert x.range == (float(values.min()), float(values.max()))
  assert x.notes == (
    "1 of 1 images have more than 8 bits a value: "
    f"{values.min():g} to {values.max():g} became 0 to 255 (range=LOW-HIGH "
    "sets it)",
  )
  assert read(path)[0, 1].tolist() == [85, 85, 85]
  low, high = values.min(), 2 * int(values.max()) - int(values.min())
  half = read(path, color="grey", range=f"{low}-{high}")
  assert half[1, 1, 0] == 128


def test_all_deep_images_share_a_range_and_others_keep_their_values(tmp_path):
  paths = [tmp_path / f"{i}.png" for i in range(3)]
  for path, level in zip(paths, (1000, 3000), strict=False):
    Image.fromarray(np.full((2, 2), level, np.uint16)).save(path)
  Image.new("L", (2, 2), 77).save(paths[2])
  x = images.Images(paths, color="grey")
  assert x[np.arange(3)][:, 0, 0, 0].tolist() == [0, 255, 77]


def test_images_of_one_deep_value_are_black(tmp_path):
  Image.fromarray(np.full((2, 2), 9, np.uint16)).save(tmp_path / "a.png")
  assert read(tmp_path / "a.png").max() == 0


@pytest.mark.parametrize(
  "text, wanted",
  [
    ("0-4095", (0, 4095)),
    ("-1.5-2e3", (-1.5, 2000)),
    ("-20--10", (-20, -10)),
    ("data", None),
  ],
)
def test_ranges_as_text(text, wanted):
  assert images.parse_range(text) == wanted


@pytest.mark.parametrize("text", ["", "5", "9-3", "a-b", "0-0", "all"])
def test_ranges_that_are_none(text):
  with pytest.raises(ValueError, match="range=0-4095"):
    images.parse_range(text)


def test_values_that_are_not_finite_are_refused(tmp_path):
  values = np.array([[np.nan, 1]], np.float32)
  Image.fromarray(values).save(tmp_path / "a.tif")
  with pytest.raises(ValueError, match="a.tif holds NaN"):
    images.Images([tmp_path / "a.tif"])
  with pytest.raises(ValueError, match="a.tif holds NaN"):
    images.Images([tmp_path / "a.tif"], range="0-1")


def test_deep_pixels_take_a_range():
  deep = Image.fromarray(np.array([[0, 9]], np.uint16))
  assert images.to_array(deep, None, "grey", (0, 9)).max() == 255
  with pytest.raises(ValueError, match="more than 8 bits .*write range="):
    images.to_array(deep, None, "grey")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_viewers_do(tmp_path, suffix, orientation):
  seen = np.zeros((16, 32, 3), np.uint8)
  seen[:8, :16] = 255  # white at the upper left
  undo = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
  }
  stored = Image.fromarray(seen)
  if orientation in undo:
    stored = stored.transpose(undo[orientation])
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = tmp_path / f"a.{suffix}"
  stored.save(path, exif=exif)
  pixels = read(path, color="grey")
  assert pixels.shape == (16, 32, 1)
  assert pixels[2:6, 2:14].min() > 200 and pixels[10:].max() < 50


def test_white_shows_through(tmp_path):
  Image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(tmp_path / "clear.png")
  Image.new("RGBA", (1, 1), (0, 0, 200, 255)).save(tmp_path / "solid.png")
  Image.new("LA", (1, 1), (0, 51)).save(tmp_path / "fifth.png")
  palette = Image.new("P", (1, 1), 3)
  palette.save(tmp_path / "palette.gif", transparency=3)
  names = ("clear.png", "solid.png", "fifth.png", "palette.gif")
  x = images.Images([tmp_path / name for name in names])
  assert x[np.arange(4)][:, 0, 0].tolist() == [
    [255, 255, 255],
    [0, 0, 200],
    [204, 204, 204],
    [255, 255, 255],
  ]
  assert x.notes == ("4 of 4 images may be transparent: white shows through",)


@pytest.mark.parametrize(
  "mode, value, suffix",
  [
    ("1", 1, "png"),
    ("P", 0, "png"),
    ("CMYK", (0, 0, 0, 0), "tif"),
    ("YCbCr", (255, 128, 128), "jpg"),
    ("L", 255, "ppm"),
    ("L", 255, "pgm"),
    ("RGB", (255, 255, 255), "bmp"),
    ("RGB", (255, 255, 255), "tga"),
    ("RGB", (255, 255, 255), "jp2"),
  ],
)
def test_other_modes_and_formats(tmp_path, mode, value, suffix):
  image = Image.new(mode, (2, 2), value)
  if mode == "P":
    image.putpalette([255, 255, 255])
  image.save(tmp_path / f"a.{suffix}")
  assert f".{suffix}" in images.suffixes()
  assert read(tmp_path / f"a.{suffix}").tolist() == [[[255] * 3] * 2] * 2


def test_the_first_of_several_frames_is_read(tmp_path):
  frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
  for suffix in ("gif", "tif", "webp"):
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    x = images.Images([path], color="grey")
    assert x[0].max() == 10
    assert "1 of 1 images have several frames" in x.notes[-1]


def test_sixteen_bits_of_several_channels_keep_the_upper_eight(tmp_path):
  path = tmp_path / "a.tif"
  tags = TiffImagePlugin.ImageFileDirectory_v2()
  tags[277], tags[258] = 3, (16, 16, 16)  # samples per pixel, bits per sample
  tags.tagtype[258] = 3
  pixels = np.array([[[0, 256, 65535]]], "<u2").tobytes()
  ifd = [
    (256, 3, 1),
    (257, 3, 1),
    (259, 3, 1),
    (262, 3, 2),
    (273, 4, 200),
    (277, 3, 3),
    (278, 3, 1),
    (279, 4, 6),
  ]
  entries = [(tag, kind, 1, value) for tag, kind, value in ifd]
  entries.insert(2, (258, 3, 3, 180))
  body = b"II*\0" + struct.pack("<IH", 8, len(entries))
  body += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
  body = body.ljust(180, b"\0") + struct.pack("<3H", 16, 16, 16)
  path.write_bytes(body.ljust(200, b"\0") + pixels)
  x = images.Images([path])
  assert x[0].tolist() == [[[0, 1, 255]]]
  assert "16 bits a value and several channels" in x.notes[0]


@pytest.mark.parametrize("name", ["bomb.png", "bomb.jpg"])
def test_huge_images_are_refused_by_name(tmp_path, name, monkeypatch):
  monkeypatch.setattr(images, "MOST_PIXELS", 99)
  Image.new("L", (10, 10)).save(tmp_path / name)
  with pytest.raises(ValueError, match=f"{name} has more than .* million pix"):
    images.Images([tmp_path / name])


def test_images_of_too_many_pixels_are_refused_by_name(tmp_path, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
  Image.new("L", (10, 10)).save(tmp_path / "bomb.png")
  with pytest.raises(ValueError, match="bomb.png has more than"):
    images.Images([tmp_path / "bomb.png"])


@pytest.mark.parametrize(
  "content, reason",
  [
    (b"", "it is no image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image"),
    (b"\x89PNG\r\n\x1a\n", "image"),
  ],
)
def test_files_that_are_no_images_are_named(tmp_path, content, reason):
  (tmp_path / "a.png").write_bytes(content)
  with pytest.raises(ValueError, match=f"a.png is damaged .*{reason}"):
    images.Images([tmp_path / "a.png"])


def test_images_have_67_million_pixels_at_most(tmp_path, monkeypatch):
  assert images.MOST_PIXELS == 2**26
  Image.new("L", (10, 10), 3).save(tmp_path / "a.png")
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
  with pytest.raises(ValueError, match="has more than 67 million pixels; make"):
    images.Images([tmp_path / "a.png"])
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
  monkeypatch.setattr(images, "MOST_PIXELS", 100)
  assert read(tmp_path / "a.png", size=1).tolist() == [[[3, 3, 3]]]


def test_sizes_colours_and_shapes_that_do_not_fit(tmp_path):
  paths = [tmp_path / "a.png", tmp_path / "b.png"]
  for path, size in zip(paths, ((4, 6), (4, 7)), strict=True):
    Image.new("L", size).save(path)
  for options, told in (
    ({"size": 0}, "size=0: write the edge"),
    ({"color": "red"}, "color='red': write color=rgb"),
    ({"range": (1, 2, 3)}, "range=0-4095"),
  ):
    with pytest.raises(ValueError, match=told):
      images.Images(paths, **options)
  found = images.Images(paths)
  assert found.shape == (2, 6, 4, 3) and found[0].shape == (6, 4, 3)
  told = "b.png is 7 by 4 pixels, the first image 6 by 4; write size="
  with pytest.raises(ValueError, match=told):
    found[np.array([0, 1])]
  assert images.Images(paths, size=5)[:].shape == (2, 5, 5, 3)
  assert images.parse_range((1, 2)) == (1.0, 2.0)


def test_values_beyond_the_range_are_black_and_white(tmp_path):
  values = np.array([[0, 10, 15, 20, 30]], np.uint16)
  Image.fromarray(values).save(tmp_path / "a.png")
  found = read(tmp_path / "a.png", color="grey", range=(10, 20))
  assert found[..., 0].tolist() == [[0, 0, 128, 255, 255]]


def test_plain_images_need_no_note(tmp_path):
  for suffix in ("ppm", "png", "bmp"):
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (2, 2), 9).save(path)
    found = images.Images([path], range="0-9")
    assert found.notes == () and found[0].max() == 9
    assert found.range == (0.0, 9.0)


def test_which_images_may_be_coloured(tmp_path):
  for mode, coloured in (
    *(("1", False), ("L", False), ("LA", False), ("I;16", False)),
    *(("P", True), ("RGB", True), ("RGBA", True)),
  ):
    Image.new(mode, (2, 2)).save(tmp_path / "a.png")
    assert images.is_coloured(tmp_path / "a.png") is coloured
  Image.new("F", (2, 2)).save(tmp_path / "a.tif")
  assert not images.is_coloured(tmp_path / "a.tif")


def test_formats_are_asked_for_once():
  assert images.suffixes() is images.suffixes()
  assert images._formats() is images._formats()
  assert not {"EPS", "WMF"} & set(images._formats())
