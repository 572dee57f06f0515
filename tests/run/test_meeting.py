"""Processes that find each other, or are told why not."""

from concurrent import futures
import socket
import time

import pytest

from jcl.options.errors import UsageError
from jcl.run import meeting


def free_port():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def met(*members, patience=3.0):
  """Returns what each process, (number, count), was told; "" for nothing."""
  place = f"127.0.0.1:{free_port()}"

  def meet(member):
    number, count = member
    try:
      meeting.meet(meeting.Members(place, count, number, patience))
    except meeting.MeetingError as error:
      return str(error)
    return ""

  with futures.ThreadPoolExecutor(len(members)) as pool:
    return list(pool.map(meet, members))


def test_those_who_say_the_same_meet_in_any_order():
  assert met((2, 3), (0, 3), (1, 3)) == [""] * 3
  assert met((0, 1)) == [""]


def test_all_are_told_who_counts_otherwise():
  told = met((0, 2), (1, 3))
  assert (
    told
    == [
      "--num_processes is 2 for process 0 and 3 for process 1: give all the "
      "same"
    ]
    * 2
  )
  told = met((0, 3), (1, 3), (1, 3))
  assert told == ["two processes say --process_id=1: give each its own"] * 3


def test_waiting_ends_in_time():
  started = time.monotonic()
  (told,) = met((1, 2), patience=0.5)
  assert "process 0 does not answer at 127.0.0.1:" in told
  assert "within 0.5 s" in told
  first, second = met((0, 3), (2, 3), patience=0.5)
  assert first == second
  assert first.startswith("of 3 processes, 1 did not come to 127.0.0.1:")
  assert time.monotonic() - started < 10


def test_strangers_are_left_alone():
  place = f"127.0.0.1:{free_port()}"

  def stranger():
    until = time.monotonic() + 5
    while time.monotonic() < until:
      try:
        with socket.create_connection(meeting.address(place)) as connection:
          connection.sendall(b"GET / HTTP/1.1\n")
          return connection.recv(10)
      except ConnectionRefusedError:
        time.sleep(0.02)
    return None

  with futures.ThreadPoolExecutor(2) as pool:
    first = pool.submit(meeting.meet, meeting.Members(place, 2, 0, 5.0))
    assert not pool.submit(stranger).result()
    meeting.meet(meeting.Members(place, 2, 1, 5.0))
    first.result()


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", ":1", "h:0"])
def test_addresses_that_are_none(text):
  with pytest.raises(UsageError, match="write host and port of process 0"):
    meeting.address(text)


def test_a_port_in_use_is_told():
  with socket.create_server(("", 0)) as taken:
    port = taken.getsockname()[1]
    members = meeting.Members(f"127.0.0.1:{port}", 2, 0, 0.5)
    with pytest.raises(meeting.MeetingError, match=f"listen on port {port}"):
      meeting.meet(members)
