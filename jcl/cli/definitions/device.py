"""Flags of a learner that is asked over HTTP, and watches a folder."""

import functools

from jcl.cli.definitions import declaring

_text, _integer, _choice = (
  functools.partial(
    declare, group=declaring.ASKING, identifies=(), by=(declaring.DEVICE,)
  )
  for declare in (declaring.text, declaring.integer, declaring.choice)
)

BUDGET = _text(
  "budget",
  None,
  "what learning may spend: amounts of J, Wh, s, min, h or FLOP, with k, M or "
  "G ahead, for each experience, hour, day or week, or in total, such as "
  "2kJ/day or 10min,1TFLOP/hour; none for no limit. It may change from start "
  "to start",
)
EXPERIENCE = _text(
  "experience",
  None,
  "when examples that arrived are learned together: after so many, such as "
  "100; a time after the first of them, such as 30s, as a new folder has it, "
  "or 10min; drift: when answers become worse; call: whatever there is, at "
  "once. It may change from start to start",
)
STORE = _text(
  "store",
  None,
  "bound of what is kept of examples, 2GB in a new folder; the oldest that are "
  "learned make room. It may change from start to start",
)
WATCH = _text(
  "watch",
  None,
  "folder whose images are examples, of the class that their folder within is "
  "named after, or without a label; lines that are appended to its .csv files "
  "are examples too. Later starts watch it again; none: no more",
)
LABEL = _text(
  "label",
  None,
  "column of watched tables that is the label, by name, or by number where "
  "there is no header; default the last one",
)
IMAGE_SIZE = _integer(
  "image_size",
  None,
  "height and width in pixels to resize images to; default as they are",
  lower_bound=1,
)
COLOR = _choice(
  "color",
  None,
  ["rgb", "grey"],
  "channels of images; default those of the first one",
)
HOST = _text(
  "host",
  "127.0.0.1",
  "address to listen at; one that other machines reach, such as 0.0.0.0, needs "
  "a token",
)
PORT = _integer(
  "port",
  8000,
  "to listen at; 0 takes one that is free",
  lower_bound=0,
  upper_bound=65535,
)
TOKEN = _text(
  "token",
  None,
  "that every request has to bring, as `Authorization: Bearer TOKEN` or as the "
  "password that a browser asks for; other users of the machine may see it: "
  "rather give --token_file",
)
TOKEN_FILE = _text("token_file", None, "file with the token")
