"""Downloads: whole or not at all, going on where they stopped, against a real server on this machine."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mesomer.data import download as module
from mesomer.data.download import download, exclusive
from mesomer.errors import MesomerError

CONTENT = bytes(range(251)) * 8000  # two megabytes that differ at every offset
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `behave(request number, handler)` may answer instead and then returns True."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.modified = CONTENT, '"one"', None
        self.behave = lambda number, handler: False
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/set.csv.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        if not self.server.behave(len(self.server.ranges), self):
            self.answer()

    def answer(self, sent: int | None = None) -> None:
        """The whole file or the range asked for; closes the connection after `sent` bytes of the body."""
        content, start, wanted = self.server.content, 0, self.headers.get("Range")
        same = self.headers.get("If-Range") in (self.server.etag, self.server.modified)
        if wanted and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.validators()
        self.end_headers()
        self.wfile.write(body if sent is None else body[:sent])

    def validators(self) -> None:
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        if self.server.modified:
            self.send_header("Last-Modified", self.server.modified)

    def plain(self, code: int, body: bytes = b"", **headers: str) -> bool:
        """Any answer: headers by name, `_` for `-`."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        return True


@pytest.fixture
def server():
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield one
        one.shutdown()


class Pauses(list):
    """Stands for `time.sleep` and keeps what was asked."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def get(server: Server, folder: Path, **options: object) -> str:
    options = {"pause": Pauses(), "timeout": 5.0, "quiet": True} | options
    return download(server.url, folder / "set.csv.gz", **options)


def breaks_after(*sizes: int):
    """The first answers end after so many bytes, the later ones are whole."""

    def behave(number: int, handler: Handler) -> bool:
        if number <= len(sizes):
            handler.answer(sizes[number - 1])
            return True
        return False

    return behave


def test_a_file_arrives_whole_and_nothing_else_stays(server, tmp_path):
    assert get(server, tmp_path / "new" / "folder") == SHA256
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["set.csv.gz"]
    assert (tmp_path / "new" / "folder" / "set.csv.gz").read_bytes() == CONTENT


def test_broken_connections_go_on_where_they_broke(server, tmp_path):
    server.behave = breaks_after(500_000, 700_001, 0, 1)
    pauses = Pauses()
    assert get(server, tmp_path, pause=pauses) == SHA256
    assert server.ranges == [None, "bytes=500000-", "bytes=1200001-", "bytes=1200001-", "bytes=1200002-"]
    assert pauses == [0.5, 0.5, 1.0, 0.5]  # only tries without progress make the pauses longer


def test_it_goes_on_in_another_process_after_a_kill(server, tmp_path):
    """kill -9 in the middle: the next call asks only for the rest."""
    stuck = threading.Event()

    def hang(number: int, handler: Handler) -> bool:
        if number > 1:
            return False
        handler.answer(1_000_000)
        stuck.wait(20)
        return True

    server.behave = hang
    code = f"from mesomer.data.download import download; download({server.url!r}, {str(tmp_path / 'set.csv.gz')!r})"
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "set.csv.gz.part"
    while child.poll() is None and not (part.exists() and part.stat().st_size == 1_000_000):
        time.sleep(0.01)
    child.kill()
    child.wait()
    stuck.set()
    assert not (tmp_path / "set.csv.gz").exists()
    kept = part.stat().st_size
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None, f"bytes={kept}-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    server.behave = lambda number, handler: handler.plain(503) if number > 1 else handler.answer(500_000) or True
    with pytest.raises(MesomerError):
        get(server, tmp_path, tries=1)
    assert (tmp_path / "set.csv.gz.part").stat().st_size == 500_000
    server.content, server.etag, server.behave = CONTENT[::-1], '"two"', lambda number, handler: False
    assert get(server, tmp_path) == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_the_date_of_the_last_change_serves_where_no_etag_is_given(server, tmp_path):
    server.etag, server.modified = None, "Wed, 01 Jan 2020 00:00:00 GMT"
    server.behave = breaks_after(500_000)
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None, "bytes=500000-"]


def test_without_a_mark_of_the_version_it_starts_again(server, tmp_path):
    server.etag = None
    server.behave = breaks_after(500_000)
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None, None]


def test_a_server_that_ignores_ranges(server, tmp_path):
    server.behave = lambda number, handler: (
        handler.answer(600_000) or True
        if number == 1
        else handler.plain(200, CONTENT, Content_Length=str(len(CONTENT)), ETag='"one"')
    )
    assert get(server, tmp_path) == SHA256


@pytest.mark.parametrize("header", ["bytes 7-2007999/2008000", "bytes 0-5/2008000", "items 1-2/3", None])
def test_a_wrong_range_is_not_glued_on(server, tmp_path, header):
    def behave(number: int, handler: Handler) -> bool:
        if number == 1:
            handler.answer(500_000)
            return True
        if number == 2:
            body = CONTENT[7:]
            extra = {"Content_Range": header} if header else {}
            return handler.plain(206, body, Content_Length=str(len(body)), **extra)
        return False

    server.behave = behave
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None, "bytes=500000-", None]


def test_a_server_that_always_breaks_at_the_same_byte_is_given_up(server, tmp_path):
    server.behave = lambda number, handler: handler.plain(
        200, CONTENT[:1000], Content_Length=str(len(CONTENT)), ETag='"one"'
    )
    with pytest.raises(MesomerError, match=r"ended after 1,000 of 2,008,000 bytes") as caught:
        get(server, tmp_path)
    assert "1,000 bytes are kept" in caught.value.hint
    assert len(server.ranges) == 6
    assert not (tmp_path / "set.csv.gz").exists()


def test_a_server_without_version_marks_that_always_breaks_is_given_up(server, tmp_path):
    server.etag = None
    server.behave = lambda number, handler: handler.answer(1000) or True
    with pytest.raises(MesomerError, match="Cannot download"):
        get(server, tmp_path)


def test_a_server_that_never_continues_rightly_is_given_up(server, tmp_path):
    server.behave = lambda number, handler: handler.plain(206, b"abc", Content_Length="3")
    with pytest.raises(MesomerError, match="did not continue"):
        get(server, tmp_path)
    assert len(server.ranges) == 5


def test_a_whole_part_is_recognised(server, tmp_path):
    part = tmp_path / "set.csv.gz.part"
    part.write_bytes(CONTENT)
    part.with_name(part.name + ".json").write_text(json.dumps({"url": server.url, "validator": '"one"'}))
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    part = tmp_path / "set.csv.gz.part"
    part.write_bytes(CONTENT + b"more")
    part.with_name(part.name + ".json").write_text(json.dumps({"url": server.url, "validator": '"one"'}))
    assert get(server, tmp_path) == SHA256


@pytest.mark.parametrize("state", ["{", "[]", json.dumps({"url": "http://elsewhere/", "validator": '"one"'})])
def test_a_part_of_unknown_origin_is_thrown_away(server, tmp_path, state):
    part = tmp_path / "set.csv.gz.part"
    part.write_bytes(b"something else")
    part.with_name(part.name + ".json").write_text(state)
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None]


@pytest.mark.parametrize("code", [404, 410, 403])
def test_a_no_is_final_and_said_at_once(server, tmp_path, code):
    server.behave = lambda number, handler: handler.plain(code)
    with pytest.raises(MesomerError, match=f"the server answered {code}") as caught:
        get(server, tmp_path)
    assert "MESOMER_DATA" in caught.value.hint
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_busy_server_is_asked_again(server, tmp_path, code):
    server.behave = lambda number, handler: number < 3 and handler.plain(code)
    assert get(server, tmp_path) == SHA256
    server.behave = lambda number, handler: handler.plain(code)
    with pytest.raises(MesomerError, match=f"the server answered {code}"):
        get(server, tmp_path)


def test_chunked_bodies_and_their_early_end(server, tmp_path):
    """Without a length, only the end mark of the chunks tells that the file is whole."""

    def chunks(handler: Handler, content: bytes, ended: bool) -> bool:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for at in range(0, len(content), 100_000):
            block = content[at : at + 100_000]
            handler.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        if ended:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True
        return True

    server.behave = lambda number, handler: chunks(handler, CONTENT if number > 1 else CONTENT[:300_000], number > 1)
    assert get(server, tmp_path) == SHA256
    assert len(server.ranges) == 2


def test_redirects_are_followed(server, tmp_path):
    server.behave = lambda number, handler: number == 1 and handler.plain(302, Location=server.url)
    assert get(server, tmp_path) == SHA256


def test_a_silent_server_times_out(server, tmp_path):
    over = threading.Event()
    server.behave = lambda number, handler: over.wait(5)
    with pytest.raises(MesomerError, match="did not answer in time"):
        get(server, tmp_path, timeout=0.1, tries=2)
    over.set()


def test_no_network_is_said_at_once(tmp_path, monkeypatch):
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    pauses = Pauses()
    with pytest.raises(MesomerError, match="Name or service not known") as caught:
        download("http://nowhere.invalid/set.csv", tmp_path / "set.csv", pause=pauses, quiet=True)
    assert "MESOMER_DATA" in caught.value.hint
    assert pauses == []


def test_a_closed_port_is_tried_again_then_said(tmp_path):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    pauses = Pauses()
    with pytest.raises(MesomerError, match="refused"):
        download(f"http://127.0.0.1:{port}/x.csv", tmp_path / "x.csv", pause=pauses, quiet=True)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "set.csv"])
def test_only_http(url, tmp_path):
    with pytest.raises(MesomerError, match="not an http address"):
        download(url, tmp_path / "x")


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MesomerError, match="Cannot write"):
        get(server, tmp_path / "file")
    assert server.ranges == []


def test_a_full_disk_is_one_sentence(server, tmp_path):
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000));"
        "from mesomer.data.download import download; from mesomer.errors import MesomerError\n"
        f"try: download({server.url!r}, {str(tmp_path / 'set.csv.gz')!r}, quiet=True)\n"
        "except MesomerError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "grew past the size limit" in done.stdout, done.stderr
    assert not (tmp_path / "set.csv.gz").exists()


def test_an_old_file_stays_until_the_new_one_is_whole(server, tmp_path):
    (tmp_path / "set.csv.gz").write_text("old")
    server.behave = lambda number, handler: handler.plain(503) if number > 1 else handler.answer(1000) or True
    with pytest.raises(MesomerError):
        get(server, tmp_path, tries=1)
    assert (tmp_path / "set.csv.gz").read_text() == "old"


def test_progress_counts_from_where_it_went_on(server, tmp_path, monkeypatch):
    seen = []

    class Bar(module.Progress):
        def advance(self, n: int = 1) -> None:
            super().advance(n)
            seen.append((self.done, self.total))

    monkeypatch.setattr(module, "Progress", Bar)
    server.behave = breaks_after(500_000)
    get(server, tmp_path)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_lock_lets_one_at_a_time_in(tmp_path):
    inside, most, guard = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with exclusive(tmp_path / "deep" / "lock"):
            with guard:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.02)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
