"""Downloads of one file: whole and right, or not there."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from http_server import FaultyServer, cut_after, status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algoperf.downloads.fetch import DownloadError, Expected, FetchPolicy, fetch
from algoperf.downloads.partial import PartialFileError

CONTENT = random.Random(1).randbytes(300_000)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
UNKNOWN = Expected(num_bytes=None, checksum="")
KNOWN = Expected(num_bytes=len(CONTENT), checksum=CHECKSUM)
QUICK = FetchPolicy(attempts=4, backoff_s=0.0, stall_s=0.3, connect_timeout_s=1.0)


@pytest.fixture
def server():
    with FaultyServer({"/file.bin": CONTENT}).running() as running:
        yield running


def run(server, folder, expected, *, paths=("/file.bin",), policy=QUICK):
    messages = []
    urls = [path if "://" in path else server.url(path) for path in paths]
    fetch(urls, folder / "file.bin", expected, report=messages.append, policy=policy)
    return messages


def assert_whole(folder, content=CONTENT):
    assert (folder / "file.bin").read_bytes() == content
    assert os.listdir(folder) == ["file.bin"]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 200_000),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    has_checksum=st.booleans(),
    has_etag=st.booleans(),
)
def test_cuts_at_random_points_are_resumed_byte_for_byte(tmp_path_factory, size, cuts, has_checksum, has_etag):
    folder = tmp_path_factory.mktemp("download")
    content = CONTENT[:size]
    with FaultyServer({"/file.bin": content}).running() as server:
        server.etag = '"1"' if has_etag else None
        server.faults = [cut_after(int(cut * size)) for cut in cuts]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}" if has_checksum else ""
        policy = FetchPolicy(attempts=len(cuts) + 1, backoff_s=0.0)
        checksum = fetch(
            [server.url("/file.bin")],
            folder / "file.bin",
            Expected(num_bytes=None, checksum=digest),
            report=lambda message: None,
            policy=policy,
        )
        assert checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
        if has_checksum or has_etag:
            assert server.sent == size, "no byte is sent twice"
    assert_whole(folder, content)


def reset_in_the_middle(handler):
    handler.answer(length=1000)
    handler.drop()


def close_before_the_head(handler):
    handler.close_connection = True


def close_within_the_head(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    handler.close_connection = True


def speak_nonsense(handler):
    handler.wfile.write(b"\x00\x01 nonsense\r\n\r\n")
    handler.close_connection = True


def stall_in_the_middle(handler):
    handler.answer(length=1000, pause_s=0.6)


def stall_before_the_head(handler):
    time.sleep(0.6)
    handler.close_connection = True


def drip(handler):
    handler.head(200, {"Content-Length": str(len(CONTENT)), "ETag": '"1"'})
    for position in range(12):
        handler.send(CONTENT[position : position + 1])
        time.sleep(0.05)
    handler.close_connection = True


def ignore_the_range(handler):
    handler.headers.replace_header("Range", "")
    handler.answer()


def continue_elsewhere(handler):
    start = handler.start()
    handler.head(
        206,
        {
            "Content-Range": f"bytes {start + 7}-{len(CONTENT) - 1}/{len(CONTENT)}",
            "Content-Length": str(len(CONTENT) - start - 7),
        },
    )
    handler.send(CONTENT[start + 7 :])


def continue_without_saying_where(handler):
    handler.head(206, {"Content-Length": str(len(CONTENT) - handler.start())})
    handler.send(CONTENT[handler.start() :])


def flip_a_bit(handler):
    handler.head(200, {"Content-Length": str(len(CONTENT)), "ETag": '"1"'})
    handler.send(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])


def chunked(end):
    def answer(handler):
        handler.head(200, {"Transfer-Encoding": "chunked"})
        for first in range(0, len(CONTENT), 100_000):
            part = CONTENT[first : first + 100_000]
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(end)
        handler.close_connection = True

    return answer


def cut_within_a_chunk(handler):
    handler.head(200, {"Transfer-Encoding": "chunked"})
    handler.wfile.write(b"ffff\r\n" + CONTENT[:100])
    handler.close_connection = True


def announce_gzip(handler):
    handler.answer(extra={"Content-Encoding": "gzip"})


def redirect_in_two_steps(handler):
    if handler.path == "/file.bin":
        handler.owner.faults.insert(0, redirect_in_two_steps)
        status(302, Location="/half.bin")(handler)
    else:
        status(307, Location="/file.bin?signature=1")(handler)


def show_a_login_page(handler):
    page = b"<html>log in</html>"
    handler.head(200, {"Content-Type": "text/html", "Content-Length": str(len(page))})
    handler.send(page)


HALF = cut_after(150_000)
RECOVERED = {
    "cut at once": [cut_after(0)],
    "reset in the middle": [reset_in_the_middle],
    "closed before the head": [close_before_the_head],
    "closed within the head": [close_within_the_head],
    "nonsense": [speak_nonsense],
    "stalls in the middle": [stall_in_the_middle],
    "stalls before the head": [stall_before_the_head],
    "drips": [drip],
    "500": [status(500)],
    "502 and 504 while resuming": [HALF, status(502), status(504)],
    "503 with Retry-After": [status(503, Retry_After="0")],
    "429": [status(429, Retry_After="0")],
    "408": [status(408)],
    "does not resume": [HALF, ignore_the_range],
    "continues elsewhere": [HALF, continue_elsewhere],
    "continues without saying where": [HALF, continue_without_saying_where],
    "one bit is wrong": [flip_a_bit],
    "redirects": [redirect_in_two_steps],
    "redirects while resuming": [HALF, redirect_in_two_steps],
    "chunks": [chunked(b"0\r\n\r\n")],
    "chunks without an end": [chunked(b"")],
    "cut within a chunk": [cut_within_a_chunk],
    "announces gzip that is the file itself": [announce_gzip],
}


@pytest.mark.parametrize("faults", RECOVERED.values(), ids=RECOVERED)
def test_a_fault_of_the_server_costs_time_only(tmp_path, server, faults):
    server.faults = list(faults)
    run(server, tmp_path, KNOWN)
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "name", [name for name in RECOVERED if name not in ("one bit is wrong", "continues without saying where")]
)
def test_so_it_is_where_no_checksum_is_known(tmp_path, server, name):
    server.faults = list(RECOVERED[name])
    run(server, tmp_path, UNKNOWN)
    assert_whole(tmp_path)


REFUSED = {
    "404": ([status(404)], KNOWN, "404 Not Found"),
    "403 of a link with a key": ([status(403)], KNOWN, "403 Forbidden"),
    "500 for ever": ([status(500)] * 9, KNOWN, r"500 Internal Server Error \(4 times in a row\)"),
    "cut at once for ever": ([cut_after(0)] * 9, KNOWN, r"the connection was cut \(4 times in a row\)"),
    "no further for ever": ([HALF, *[cut_after(0)] * 9], KNOWN, r"150 kB are kept"),
    "another size": ([], Expected(num_bytes=7, checksum=""), "it has 300,000 bytes, expected 7"),
    "wrong bytes twice": ([flip_a_bit, flip_a_bit], KNOWN, "the file has sha256:.*, expected sha256:"),
    "a page instead of the file": ([show_a_login_page], UNKNOWN, "a web page, not the file"),
    "redirects without end": ([status(302, Location="/file.bin")] * 40, KNOWN, "redirected without end"),
    "no length": ([lambda handler: handler.head(200, {"Connection": "close"})] * 4, UNKNOWN, "how long the file is"),
    "never resumes": ([cut_after(1000), *[lambda h: ignore_then_cut(h)] * 9], KNOWN, "the connection was cut"),
    "no server": ([], KNOWN, "refuses connections"),
}


def ignore_then_cut(handler):
    del handler.headers["Range"]
    handler.answer(length=1000)


@pytest.mark.parametrize(("faults", "expected", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_fetched_is_one_line_and_leaves_no_file(tmp_path, server, request, faults, expected, message):
    server.faults = list(faults)
    path = "http://127.0.0.1:9/file.bin" if "no server" in request.node.name else "/file.bin?key=secret"
    with pytest.raises(DownloadError, match=message) as error:
        run(server, tmp_path, expected, paths=(path,))
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert "--source_dir" in str(error.value)
    assert not (tmp_path / "file.bin").exists()


def test_the_next_address_serves_where_one_fails(tmp_path, server):
    server.faults = [HALF, *[status(500)] * 4]
    run(server, tmp_path, KNOWN, paths=("/file.bin", "/gone.bin", "/file.bin?other"))
    assert_whole(tmp_path)
    assert server.requests[-1] == ("/file.bin?other", "bytes=150000-"), "with what the first one gave"


def interrupted(server, folder, expected=UNKNOWN, length=150_000):
    """What a run leaves behind that ended after some bytes."""
    server.faults = [cut_after(length), *[status(404)]]
    with pytest.raises(DownloadError, match="kept"):
        run(server, folder, expected)
    server.requests.clear()


def test_the_next_run_resumes(tmp_path, server):
    interrupted(server, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["file.bin.part", "file.bin.part.json"]
    messages = run(server, tmp_path, UNKNOWN)
    assert server.requests == [("/file.bin", "bytes=150000-")]
    assert "50%" in messages[0]
    assert_whole(tmp_path)


def test_a_file_that_changed_in_the_meantime_starts_again(tmp_path, server):
    interrupted(server, tmp_path)
    server.files["/file.bin"], server.etag = CONTENT[::-1], '"2"'
    run(server, tmp_path, UNKNOWN)
    assert_whole(tmp_path, CONTENT[::-1])


def test_also_where_the_server_does_not_look_at_if_range(tmp_path, server):
    interrupted(server, tmp_path)
    server.files["/file.bin"], server.etag = CONTENT[::-1], '"2"'

    def without_if_range(handler):
        del handler.headers["If-Range"]
        handler.answer()

    server.faults = [without_if_range]
    run(server, tmp_path, UNKNOWN)
    assert_whole(tmp_path, CONTENT[::-1])


def test_all_bytes_but_not_yet_in_place(tmp_path, server):
    """As a run leaves it that ended between the last byte and the renaming."""
    interrupted(server, tmp_path)
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    run(server, tmp_path, UNKNOWN)
    assert server.sent == 150_000
    assert_whole(tmp_path)


def test_a_file_that_has_become_shorter_starts_again(tmp_path, server):
    interrupted(server, tmp_path)
    server.files["/file.bin"] = CONTENT[:100_000]
    run(server, tmp_path, UNKNOWN)
    assert_whole(tmp_path, CONTENT[:100_000])


def test_a_damaged_partial_file_is_noticed_by_the_checksum(tmp_path, server):
    interrupted(server, tmp_path, KNOWN)
    (tmp_path / "file.bin.part").write_bytes(b"x" * 150_000)
    assert any("once more" in message for message in run(server, tmp_path, KNOWN))
    assert_whole(tmp_path)


def test_files_of_other_programs_stay(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(b"mine")
    with pytest.raises(PartialFileError, match=r"file\.bin\.part is in the way"):
        run(server, tmp_path, KNOWN)
    (tmp_path / "file.bin.part").rename(tmp_path / "file.bin")
    with pytest.raises(PartialFileError, match="there already"):
        run(server, tmp_path, KNOWN)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"
    assert server.requests == []


def test_a_killed_download_goes_on_where_it_was(tmp_path, server):
    server.faults = [lambda handler: handler.answer(length=200_000, pause_s=5)]
    code = (
        "import sys; from pathlib import Path; from algoperf.downloads.fetch import Expected, fetch\n"
        "fetch([sys.argv[1]], Path(sys.argv[2]), Expected(num_bytes=None, checksum=''), report=print)"
    )
    destination = tmp_path / "file.bin"
    process = subprocess.Popen([sys.executable, "-c", code, server.url("/file.bin"), str(destination)])
    partial = Path(f"{destination}.part")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not destination.exists()
    resumed_at = partial.stat().st_size
    run(server, tmp_path, UNKNOWN)
    assert server.requests[-1] == ("/file.bin", f"bytes={resumed_at}-")
    assert_whole(tmp_path)


def test_progress_says_rate_and_time_left(tmp_path, server, monkeypatch):
    monkeypatch.setattr("algoperf.downloads.progress.REPORT_PERIOD_S", 0.0)
    messages = run(server, tmp_path, KNOWN)
    assert any("file.bin" in line and "B/s" in line and "<" in line for line in messages)


def test_a_server_that_asks_to_wait_is_waited_for(tmp_path, server):
    server.faults = [status(503, Retry_After="1")]
    began = time.monotonic()
    run(server, tmp_path, KNOWN)
    assert time.monotonic() - began >= 1
