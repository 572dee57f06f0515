"""A learner that is asked over HTTP: real requests to a real server."""

import base64
from concurrent import futures
import contextlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import threading
import time

import device_client
import living_data
import numpy as np
import pytest

from jcl.living.face import app as app_lib
from jcl.living.face import box as box_lib
from jcl.living.face import device, guard, kept, pictures, server
from jcl.living.live import Live
from jcl.options.errors import MissingFileError, UsageError
from jcl.replay.store import records

pytest.importorskip("uvicorn", reason="the extra `device` is not installed")
TOKEN = "0123456789abcdef0123456789abcdef"
OPTIONS = {
  "network": "mlp:width=12,depth=1",
  "recipe": "er:buffer=50",
  "batch_size": 8,
  "experience": "call",
}
ask, value = device_client.ask, device_client.value


@contextlib.contextmanager
def serving(folder, *, settings=None, token=None, **options):
  """Serves a folder; yields the device."""
  said = []
  made = device.Device(
    folder,
    {**OPTIONS, **options},
    settings or kept.Settings(),
    "127.0.0.1",
    0,
    token,
    said.append,
  )
  with made:
    yield made
  assert not [each for each in said if "Traceback" in each]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
  """A device that has learned two classes of six."""
  with serving(tmp_path_factory.mktemp("taught") / "box") as made:
    x, y = living_data.examples()
    rows = y < 2
    value(
      made.address,
      "POST",
      "/observe",
      {"x": x[rows].tolist(), "label": [f"kind {each}" for each in y[rows]]},
    )
    device_client.learned(made.address, 2)
    yield made


def npy(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


def test_what_was_observed_is_learned_and_predicted(taught):
  x, _ = living_data.examples()
  found = value(taught.address, "POST", "/predict", {"x": x[[0, 30]].tolist()})
  assert found["label"] == taught.box.learner.predict(x[[0, 30]]).tolist()
  shares = taught.box.learner.predict_proba(x[[0, 30]]).max(-1)
  assert found["probability"] == pytest.approx(shares.tolist(), abs=1e-6)
  told = value(taught.address, "GET", "/status")
  assert told["classes"] == ["kind 0", "kind 1"]
  assert told["examples"] == 48 and told["state"] == "idle"
  assert told["arrivals"][-1]["count"] == 48
  assert told["predictions"][0]["count"] == 2
  assert told["decisions"][0]["examples"] == 48
  assert told["costs"]["train"]["flops"] > 0
  status, headers, page = ask(taught.address, "GET", "/report")
  assert status == 200 and "text/html" in headers["Content-Type"]
  assert b"kind 1" in page


def test_labels_come_later_and_replace_others(tmp_path):
  with serving(tmp_path / "box", experience="1000", recipe="ncm") as made:
    address = made.address
    x = [[0.0, 1.0], [5.0, 6.0]]
    ids = value(address, "POST", "/observe", {"x": x})["ids"]
    more = value(address, "POST", "/observe", {"x": [[9, 9]], "label": ["c"]})
    assert ids == [0, 1] and more["ids"] == [2]
    told = value(address, "GET", "/status")
    assert (told["unlabelled"], told["open"]) == (2, 1)
    value(address, "POST", "/label", {"ids": ids, "label": ["a", ["b", 1]]})
    value(address, "POST", "/label", {"ids": [2], "label": [7]})
    assert value(address, "POST", "/end") == {"experience": 0}
    told = device_client.learned(address, 3)
    assert told["classes"] == ["a", ["b", 1], 7]
    found = value(address, "POST", "/predict", {"x": [*x, [9, 9]]})
    assert found["label"] == ["a", ["b", 1], 7]
  with serving(tmp_path / "box", recipe="ncm") as again:  # at once
    found = value(again.address, "POST", "/predict", {"x": [[5, 6]]})
    assert found["label"] == [["b", 1]]


def test_pictures_and_arrays_need_no_json(tmp_path):
  settings = kept.Settings(image_size=8, color="grey")
  with serving(tmp_path / "box", settings=settings, experience="99") as made:
    address, kind = made.address, {"Content-Type": "image/png"}
    data = device_client.png(1, 20)
    path = "/observe?label=do%20or"
    assert ask(address, "POST", path, data, kind)[0] == 200
    log = made.box.learner.arrivals.log
    shown = pictures.Reading(8, "grey").pixels(data, "x", None)
    assert np.array_equal(log.read([0])[0], shown)
    batch = np.stack([shown, shown, shown])
    array = {"Content-Type": "application/x-npy"}
    for asked in ("?label=a", "?label=a&label=b&label=c"):
      answer = ask(address, "POST", f"/observe{asked}", npy(batch), array)
      assert len(json.loads(answer[2])["ids"]) == 3
    whole = {"x": batch[:1].tolist(), "label": ["a"]}
    assert value(address, "POST", "/observe", whole)["ids"] == [7]
    assert np.array_equal(log.read([7])[0], shown)
    made.box.learner.end_experience()
    assert list(log.classes) == ["do or", "a", "b", "c"]
    for wrong, headers, words in (
      (device_client.png(1)[:-30], kind, "damaged"),
      (b"GIF89a", kind, "no image"),
      (data, {"Content-Type": "image/jpeg"}, "no image"),
      (npy(batch)[:-1], array, "damaged"),
      (npy(np.array([{}])), array, "than numbers"),
      (b"\x93NUMPY" + bytes(30), array, "no .npy"),
      (npy(batch).replace(b"(3, 8", b"(9, 8"), array, "damaged"),
      (npy(batch.astype(np.float32) * np.nan), array, "nan"),
    ):
      status, _, told = ask(address, "POST", "/observe", wrong, headers)
      assert status == 400 and words in told.decode(), told
    status, _, told = ask(
      address, "POST", "/observe?label=a&label=b", data, kind
    )
    assert status == 400 and b"2 labels for 1 example" in told
    assert len(made.box.learner) == 8


@pytest.mark.parametrize(
  ("path", "body", "status", "words"),
  [
    ("/observe", b"{", 400, "no JSON"),
    ("/observe", b"", 400, "no JSON"),
    ("/observe", b"[" * 100_000, 400, "nested too deeply"),
    ("/observe", b"\xff\xfe", 400, "no JSON"),
    ("/observe", b"[]", 400, "no JSON object"),
    ("/observe", b'{"x": [[NaN, 0, 0, 0, 0]]}', 400, "NaN is no number"),
    ("/observe", b'{"x": [[1e999, 0, 0, 0, 0]]}', 400, "inf"),
    ("/observe", {"y": []}, 400, "'y' is not known"),
    ("/observe", {}, 400, "list of examples"),
    ("/observe", {"x": []}, 400, "list of examples"),
    ("/observe", {"x": [[1, 2], [3]]}, 400, "unequal length"),
    ("/observe", {"x": [["a"] * 5]}, 400, "else than numbers"),
    ("/observe", {"x": [[1] * 4]}, 400, "shape"),
    ("/observe", {"x": [[1] * 5], "label": "door"}, 400, "a list"),
    ("/observe", {"x": [[1] * 5], "label": ["a", "b"]}, 400, "2 labels for 1"),
    ("/observe", {"x": [[1] * 5], "label": [{}]}, 400, "dict"),
    ("/observe", {"x": [[10**400] * 5]}, 400, "numbers"),
    ("/predict", {"x": [[1] * 5], "label": ["a"]}, 400, "not known"),
    ("/predict", {"x": [[1] * 3]}, 400, "shape"),
    ("/predict?label=a", {"x": [[1] * 5]}, 400, "option 'label'"),
    ("/label", {"ids": [9999], "label": ["a"]}, 400, "9999"),
    ("/label", {"ids": [0], "label": [None]}, 400, "takes no label away"),
    ("/label", {"ids": [0, 1], "label": ["a"]}, 400, "1 label for 2"),
    ("/label", {"ids": ["0"], "label": ["a"]}, 400, "'0'"),
    ("/label", {"ids": [], "label": []}, 400, "give one each"),
    ("/end", None, 400, "no labelled example"),
    ("/end", {"x": 1}, 400, "takes no body"),
  ],
)
def test_bad_input_is_told_in_a_sentence(taught, path, body, status, words):
  found, headers, data = ask(taught.address, "POST", path, body)
  told = json.loads(data)["error"]
  assert found == status and words in told, told
  assert "\n" not in told and "Traceback" not in told
  assert str(taught.folder) not in told and "jcl." not in told
  assert "Server" not in headers
  assert len(taught.box.learner) == 48


@pytest.mark.parametrize(
  ("method", "path", "status", "header"),
  [
    ("GET", "/nothing", 404, None),
    ("GET", "/../etc/passwd", 404, None),
    ("GET", "/observe", 405, "POST"),
    ("POST", "/status", 405, "GET, HEAD"),
    ("DELETE", "/", 405, "GET, HEAD"),
    ("OPTIONS", "/observe", 405, "POST"),
  ],
)
def test_paths_and_methods(taught, method, path, status, header):
  found, headers, _ = ask(taught.address, method, path)
  assert found == status and headers["Allow"] == header
  assert "Access-Control-Allow-Origin" not in headers


def test_head_is_get_without_its_content(taught):
  found, headers, data = ask(taught.address, "HEAD", "/")
  assert found == 200 and data == b"" and int(headers["Content-Length"]) > 999


def test_other_kinds_of_bodies_are_refused(taught):
  for headers, words in (
    ({"Content-Type": "text/plain"}, "text/plain"),
    ({"Content-Type": "application/x-www-form-urlencoded"}, "urlencoded"),
    ({"Content-Encoding": "gzip"}, "without Content-Encoding"),
  ):
    status, _, told = ask(taught.address, "POST", "/observe", b"{}", headers)
    assert status == 415 and words in told.decode()


def test_before_anything_is_learned(tmp_path):
  with serving(tmp_path / "box") as made:
    for method, path in (("POST", "/predict"), ("GET", "/report")):
      body = {"x": [[1, 2]]} if method == "POST" else None
      status, headers, told = ask(made.address, method, path, body)
      assert status == 409 and b"nothing is learned yet" in told
      assert headers["Retry-After"]
    told = value(made.address, "GET", "/status")
    assert told["examples"] == 0 and told["classes"] == []


def test_bodies_have_a_bound(taught):
  most = app_lib.MOST_BYTES
  status, _, told = ask(taught.address, "POST", "/observe", b" " * (most + 1))
  assert status == 413 and b"16,777,216 bytes" in told
  found = http.client.HTTPConnection(*address_of(taught))
  with contextlib.closing(found):
    parts = (b" " * (1 << 20) for _ in range(18))
    with contextlib.suppress(ConnectionError):
      found.request("POST", "/observe", parts, encode_chunked=True)
    with contextlib.suppress(ConnectionError):  # it may be cut off
      assert found.getresponse().status == 413
  found = http.client.HTTPConnection(*address_of(taught))
  with contextlib.closing(found):
    found.putrequest("POST", "/observe")
    found.putheader("Content-Length", "9" * 30)
    found.endheaders()
    assert found.getresponse().status in (400, 413)
  assert value(taught.address, "GET", "/status")["examples"] == 48


def address_of(made):
  host, port = re.fullmatch(r"http://(.*):(\d+)/", made.address).groups()
  return host, int(port)


def test_a_body_that_does_not_come_is_not_waited_for(taught, monkeypatch):
  monkeypatch.setattr(app_lib, "_SECONDS", 0.2)
  found = http.client.HTTPConnection(*address_of(taught), timeout=20)
  with contextlib.closing(found):
    found.putrequest("POST", "/observe")
    found.putheader("Content-Length", "10")
    found.endheaders(b"{")
    assert found.getresponse().status == 408


def test_what_is_no_http_is_refused(taught):
  for data in (b"\x16\x03\x01" + bytes(64) + b"\r\n\r\n", b"GET\r\n\r\n"):
    with socket.create_connection(address_of(taught), 20) as found:
      found.sendall(data)
      answer = found.recv(4096)
      assert b" 400 " in answer.splitlines()[0]
      assert b"Traceback" not in answer
  assert value(taught.address, "GET", "/status")["examples"] == 48


def test_names_of_other_places_are_refused(taught):
  port = address_of(taught)[1]
  for host in (
    "evil.example",
    f"evil.example:{port}",
    "127.0.0.1.evil.example",
  ):
    status, _, _ = ask(taught.address, "GET", "/status", headers={"Host": host})
    assert status == 403
  for host in ("localhost", f"LOCALHOST:{port}", f"[::1]:{port}"):
    status, _, _ = ask(taught.address, "GET", "/status", headers={"Host": host})
    assert status == 200


def test_pages_of_other_places_may_send_nothing(taught):
  body = {"x": [[1] * 5]}
  for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
    headers = {"Origin": origin}
    assert ask(taught.address, "POST", "/observe", body, headers)[0] == 403
  headers = {"Origin": taught.address.rstrip("/")}
  assert ask(taught.address, "POST", "/predict", body, headers)[0] == 200


def test_without_its_token_a_server_tells_nothing(tmp_path):
  with serving(tmp_path / "box", token=TOKEN) as made:
    answers = set()
    for method, path, headers in (
      ("GET", "/", {}),
      ("GET", "/status", {"Authorization": f"Bearer {TOKEN[:-1]}"}),
      ("GET", "/nothing", {"Authorization": "Bearer"}),
      ("POST", "/observe", {"Authorization": "Basic !!!"}),
      ("PUT", "/observe", {"Authorization": f"Bearer {TOKEN} "[:-2] + "é"}),
      ("GET", f"/status?token={TOKEN}", {}),
    ):
      headers = {k: v.encode("latin-1") for k, v in headers.items()}
      status, told, data = ask(made.address, method, path, None, headers)
      assert status == 401 and "Basic" in told["WWW-Authenticate"]
      assert not {"Server", "Allow"} & set(told)
      answers.add(data)
    assert answers == {b'{"error": "a token is needed"}\n'}
    status, _, data = ask(made.address, "POST", "/observe", b" " * (1 << 22))
    assert status == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(made.address, "GET", "/status", None, bearer)[0] == 200
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    basic = {"Authorization": f"Basic {basic}"}
    assert ask(made.address, "GET", "/", None, basic)[0] == 200


def test_tokens_are_compared_in_constant_time(monkeypatch):
  compared = []
  monkeypatch.setattr(
    guard.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b
  )
  found = guard.Guard("0.0.0.0", TOKEN)
  headers = {"host": "anything", "authorization": f"Bearer {TOKEN}"}
  found.check("POST", headers)
  with pytest.raises(app_lib.Refused):
    found.check("GET", {**headers, "authorization": "Bearer x"})
  assert [len(a) == len(b) == 32 for a, b in compared] == [True, True]


def test_other_addresses_need_a_token(tmp_path):
  for host in ("0.0.0.0", "192.0.2.1", "::", "box.local"):
    with pytest.raises(UsageError, match="--token_file"):
      guard.Guard(host, None)
  guard.Guard("127.0.0.2", None)
  file = tmp_path / "token"
  file.write_text(TOKEN + "\n")
  assert guard.token(None, str(file)) == TOKEN
  for given, other, words in (
    ("short", None, "16 characters"),
    ("with a blank in between", None, "blank"),
    ("ünïcödé-ünïcödé-ünïcödé", None, "ASCII"),
    (TOKEN, str(file), "give one"),
  ):
    with pytest.raises(UsageError, match=words):
      guard.token(given, other)
  with pytest.raises(MissingFileError, match="no such file"):
    guard.token(None, str(tmp_path / "nothing"))


def test_too_many_at_once_are_told_to_come_back(taught, monkeypatch):
  held, entered = threading.Event(), threading.Semaphore(0)
  observe = Live.observe

  def slow(self, x, label=None):
    entered.release()
    assert held.wait(60)
    return observe(self, x, label)

  monkeypatch.setattr(Live, "observe", slow)
  body = {"x": [[1] * 3]}  # is refused in the end: nothing stays
  with futures.ThreadPoolExecutor(40) as pool:
    asked = [
      pool.submit(ask, taught.address, "POST", "/observe", body)
      for _ in range(40)
    ]
    assert entered.acquire(timeout=60)
    refused = device_client.until(
      lambda: [each for each in asked if each.done()][:24] or None
    )
    # Predictions and the status have places of their own.
    x = [[0.0] * 5]
    assert value(taught.address, "POST", "/predict", {"x": x})["label"]
    assert value(taught.address, "GET", "/status")["examples"] == 48
    held.set()
    answers = [each.result() for each in asked]
  assert refused[0].result()[0] == 503
  count = [status for status, *_ in answers].count(503)
  assert count == 24 and len(answers) - count == 16
  for status, headers, data in answers:
    if status == 503:
      assert int(headers["Retry-After"]) > 0 and b"too many" in data
    else:
      assert status == 400
  assert ask(taught.address, "POST", "/end")[0] == 400  # places are free again


def test_predictions_do_not_wait_for_learning(taught):
  learner = taught.box.learner
  with learner._turn:  # as while it learns
    began = time.monotonic()
    value(taught.address, "POST", "/predict", {"x": [[0.0] * 5]})
    assert time.monotonic() - began < 5


def test_many_at_once_are_all_taken(tmp_path):
  with serving(tmp_path / "box", experience="10000") as made:

    def send(number):
      x = [[float(number), float(i)] for i in range(3)]
      while True:
        status, _, data = ask(made.address, "POST", "/observe", {"x": x})
        if status != 503:
          assert status == 200
          return json.loads(data)["ids"]
        time.sleep(0.01)

    with futures.ThreadPoolExecutor(24) as pool:
      found = list(pool.map(send, range(48)))
    assert sorted(sum(found, [])) == list(range(144))
    log = made.box.learner.arrivals.log
    for number, ids in enumerate(found):
      assert log.read(ids).tolist() == [[number, i] for i in range(3)]


def test_a_full_disk_is_told_and_nothing_more(taught, monkeypatch):
  def full(*_):
    raise records.StoreError(f"cannot write to {taught.folder}: no space")

  monkeypatch.setattr(Live, "observe", full)
  body = {"x": [[1.0] * 5]}
  status, _, data = ask(taught.address, "POST", "/observe", body)
  assert status == 507 and b"nothing was taken" in data
  assert str(taught.folder).encode() not in data


def test_mistakes_of_the_program_are_not_shown(taught, monkeypatch):
  def broken(*_):
    raise ArithmeticError("a secret of the program")

  monkeypatch.setattr(Live, "latest", broken)
  status, _, data = ask(taught.address, "POST", "/predict", {"x": [[1] * 5]})
  assert status == 500 and b"secret" not in data and b"terminal" in data


def test_learning_that_fails_is_told_and_tried_again(tmp_path, monkeypatch):
  monkeypatch.setattr(box_lib, "_RETRY", 0.2)
  monkeypatch.setattr(box_lib, "_LASTS", 0.5)
  with serving(tmp_path / "box") as made:
    learner = made.box.learner
    advance = learner.learning.advance

    def broken(stop):
      raise OSError("the disk has gone away")

    monkeypatch.setattr(learner.learning, "advance", broken)
    body = {"x": [[1.0, 2.0], [3.0, 4.0]], "label": ["a", "b"]}
    value(made.address, "POST", "/observe", body)

    def state():
      return value(made.address, "GET", "/status")

    # Nobody is refused for it, whoever is told first.
    for i in range(20):
      value(made.address, "POST", "/observe", {"x": [[i, 2.0]]})
    told = device_client.until(lambda: (s := state())["problem"] and s)
    assert told["state"] == "failed" and "disk" not in told["problem"]
    monkeypatch.setattr(learner.learning, "advance", advance)
    device_client.learned(made.address, 2)
    device_client.until(lambda: state()["problem"] is None)


def test_a_port_that_is_taken_is_told(tmp_path):
  with contextlib.closing(server.listening("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(UsageError, match="give another --port"):
      server.listening("127.0.0.1", port)
  with pytest.raises(UsageError, match="cannot listen at 192.0.2.1"):
    server.listening("192.0.2.1", 0)


def test_the_page_needs_nothing_from_elsewhere(taught):
  _, headers, data = ask(taught.address, "GET", "/")
  text = data.decode()
  assert "<title>jcl device</title>" in text and 'lang="en"' in text
  assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
  assert "@import" not in text and "url(" not in text
  nonce = re.search(r"'nonce-([\w-]+)'", headers["Content-Security-Policy"])[1]
  assert f'<script nonce="{nonce}">' in text and "NONCE" not in text
  assert nonce not in ask(taught.address, "GET", "/")[2].decode()
  assert "innerHTML" not in text  # names of classes come from anywhere


@pytest.fixture(scope="module")
def browser():
  """A browser, where one is installed; `JCL_BROWSER` names its program."""
  playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed"
  )
  names = "chromium chromium-browser google-chrome chrome".split()
  program = os.environ.get("JCL_BROWSER") or next(
    filter(None, map(shutil.which, names)), None
  )
  with playwright.sync_playwright() as found:
    try:
      opened = found.chromium.launch(
        executable_path=program, args=["--no-sandbox", "--no-zygote"]
      )
    except playwright.Error as error:
      pytest.skip(f"no browser starts: {str(error).splitlines()[0]}")
    yield opened
    opened.close()


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_in_a_browser_shows_what_arrives(tmp_path, browser, width):
  with serving(tmp_path / "box", recipe="ncm") as made:
    page = browser.new_page(viewport={"width": width, "height": 800})
    problems, asked = [], []
    page.on("console", lambda each: problems.append(each.text))
    page.on("pageerror", lambda each: problems.append(str(each)))
    page.on("request", lambda each: asked.append(each.url))
    page.goto(made.address)
    page.get_by_text("0 examples arrived").wait_for()
    names = ["<b>door</b>", "alarm"]
    body = {"x": [[1.0, 2.0], [3.0, 4.0]], "label": names}
    value(made.address, "POST", "/observe", body)
    page.get_by_text("2 examples arrived, 2 classes learned").wait_for()
    value(made.address, "POST", "/predict", {"x": [[1.0, 2.0]]})
    page.locator("#predictions td", has_text="<b>door</b>").wait_for()
    assert page.locator("#classes li").all_inner_texts() == names
    assert page.locator("#decisions tbody tr").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not problems
    own = made.address
    assert all(each.startswith((own, "data:")) for each in asked)
    page.close()
