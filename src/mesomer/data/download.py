"""Fetching a public file: with progress, going on where it stopped, whole or not at all.

Bytes go to `<file>.part`; beside it `<file>.part.json` holds what identifies the version on the server, so that a file
that changed meanwhile is fetched anew instead of being glued to the old half. The part becomes the file only when its
length is the server's. Broken connections, time-outs and server errors are tried again, from where they broke; after
five tries in a row that brought nothing new, or where the server says no, one sentence ends it and the part stays for
the next attempt. Redirects are followed; only http and https are opened.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.files import atomic_write, sha256_of, writing
from mesomer.progress import Progress

TRIES = 5
TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 18
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class _Broken(Exception):
    """The connection ended early or the server is busy: worth another try."""


class _Restart(Exception):
    """What is there cannot be continued: begin from the first byte."""


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    tries: int = TRIES,
    timeout: float = TIMEOUT_SECONDS,
    quiet: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Fetches `url` into `path` and gives the SHA-256 of the file; an existing `path` is replaced at the end.

    Two processes must not fetch into one path at the same time: see `exclusive`.
    """
    if not url.startswith(("http://", "https://")):
        raise MesomerError(f"Cannot download {url}: it is not an http address.")
    final = Path(path)
    part = final.with_name(final.name + ".part")
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
    left, furthest, reason = tries, _size(part), ""
    with Progress(None, "bytes", f"downloading {final.name}", quiet) as bar:
        while left:
            try:
                _fetch(url, part, timeout, bar)
                break
            except _Restart:
                _forget(part)
                left -= 1
                reason = "the server did not continue where the download had stopped"
            except (_Broken, OSError, http.client.HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError):
                    raise _refused(url, error) from error
                reason = _reason(error)
                # Only what goes beyond every try before counts as getting on, else a server that always breaks at
                # the same byte would be asked for ever.
                left = tries if _size(part) > furthest else left - 1
                furthest = max(furthest, _size(part))
                if _is_final(error):
                    left = 0
                if left:
                    pause(min(0.5 * 2.0 ** (tries - left), 30.0))
        else:
            raise _failed(url, part, reason)
    with writing(final):
        os.replace(part, final)
    _state_path(part).unlink(missing_ok=True)
    return sha256_of(final)


@contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets one process at a time do what the block does; the others wait. `path`: a lock file, which stays."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "w")  # noqa: SIM115  (closed below, outside `writing`)
    with handle:
        with writing(path):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(url: str, part: Path, timeout: float, bar: Progress) -> None:
    """One request; returns when `part` is whole, raises otherwise."""
    start, state = _size(part), _read_state(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "mesomer"}
    if start and state.get("url") == url and state.get("validator"):
        headers |= {"Range": f"bytes={start}-", "If-Range": state["validator"]}
    elif start:
        # Without something that identifies the version, two halves might belong to two files.
        raise _Restart
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            if _total_of(error.headers.get("Content-Range")) == start:
                return
            raise _Restart from error
        if error.code in _RETRIED:
            raise _Broken(f"the server answered {error.code}") from error
        raise
    with response:
        if response.status == 206:
            total = _continued_total(response.headers.get("Content-Range"), start)
        else:
            start, total = 0, _number(response.headers.get("Content-Length"))
        _write_state(part, {"url": url, "validator": _validator(response.headers), "total": total})
        _receive(response, part, start, total, bar)


def _receive(response: Any, part: Path, start: int, total: int | None, bar: Progress) -> None:
    bar.total, bar.done = total, start
    with writing(part):
        handle = open(part, "r+b" if part.exists() else "w+b")  # noqa: SIM115  (closed below, outside `writing`)
    with handle:
        handle.truncate(start)
        handle.seek(start)
        for block in _blocks(response):
            with writing(part):
                handle.write(block)
                handle.flush()
            bar.advance(len(block))
        with writing(part):
            os.fsync(handle.fileno())
    size = _size(part)
    if total is not None and size < total:
        raise _Broken(f"the connection ended after {size:,} of {total:,} bytes")
    if total is not None and size > total:
        raise _Restart


def _blocks(response: Any) -> Iterator[bytes]:
    # read1 gives what has come so far, so that a broken connection loses nothing that had arrived.
    while True:
        try:
            block = response.read1(_BLOCK)
        except http.client.IncompleteRead as error:
            raise _Broken("the connection ended early") from error
        if not block:
            return
        yield block


def _continued_total(header: str | None, start: int) -> int | None:
    match = _CONTENT_RANGE.fullmatch(header or "")
    if match is None or match[1] is None or int(match[1]) != start:
        raise _Restart
    return _number(match[3])


def _total_of(header: str | None) -> int | None:
    match = _CONTENT_RANGE.fullmatch(header or "")
    return _number(match[3]) if match else None


def _validator(headers: Any) -> str | None:
    """What identifies the version: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path) -> dict[str, Any]:
    try:
        state = json.loads(_state_path(part).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(part: Path, state: dict[str, Any]) -> None:
    with atomic_write(_state_path(part)) as temporary:
        temporary.write_text(json.dumps(state))


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def _is_final(error: BaseException) -> bool:
    """Whether another try is pointless: the name is unknown (mostly: no network) or the certificate is wrong."""
    return isinstance(getattr(error, "reason", None), (socket.gaierror, ssl.SSLCertVerificationError))


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, TimeoutError):
        return "the server did not answer in time"
    return str(getattr(cause, "strerror", None) or cause) or type(cause).__name__


def _refused(url: str, error: urllib.error.HTTPError) -> MesomerError:
    gone = "The file may have moved. " if error.code in (404, 410) else ""
    return MesomerError(
        f"Cannot download {url}: the server answered {error.code} ({error.reason}).",
        f"{gone}Get it by other means and name the file itself, or its folder with MESOMER_DATA.",
    )


def _failed(url: str, part: Path, reason: str) -> MesomerError:
    kept = f" {_size(part):,} bytes are kept; the same command goes on from there." if _size(part) else ""
    return MesomerError(
        f"Cannot download {url}: {reason}.",
        f"Try again when the network is back, or name a local copy's folder with MESOMER_DATA.{kept}",
    )
