"""The local page: uploads are scored, answered in words and gone; limits, token and turns hold."""

import asyncio
import json
import os
import re
import socket
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from hostile_uploads import uploads
from media import write_clip

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from apt_lightning.common.traits import TRAITS
from apt_lightning.experiments.clips.picture import NOTICE
from apt_lightning.experiments.clips.service import JSON_PATH, Limits, Service
from apt_lightning.stages.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(chain):
    return Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "good.mp4", 50)


@pytest.fixture
def client(scorer):
    with serving(Service(scorer, Limits(megabytes=1, seconds=60))) as client:
        yield client


def serving(service):
    return TestClient(service.application(), "http://localhost", raise_server_exceptions=False)


def send(client, path, content, name="good.mp4", **options):
    return client.post(path, files={"clip": (name, content, "video/mp4")}, **options)


class Instant(Service):
    """Answers without scoring, and counts how many it serves at once."""

    at_once = most = 0

    def _judge(self, upload, words):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        time.sleep(0.1)
        self.at_once -= 1
        return {"clip": upload.filename, "error": f"not scored: {words}"}, None


def test_an_upload_is_scored_as_by_the_command_and_gone(scorer, good):
    service = Service(scorer, Limits(megabytes=1, seconds=60))
    with serving(service) as client:
        folder = service.folder
        assert folder.stat().st_mode & 0o077 == 0
        told = send(client, JSON_PATH, good.read_bytes(), data={"transcript": "we are calm"}).json()
        assert told["notice"] == NOTICE and told["clip"] == "good.mp4"
        expected = scorer.score(good, "we are calm", explain=True)
        assert told["traits"] == expected["traits"] and told["explanation"] == expected["explanation"]
        page = send(client, "/", good.read_bytes(), "<b>mine</b>.mp4")
        assert page.status_code == 200 and NOTICE in page.text and "data:image/svg+xml" in page.text
        assert "<b>" not in page.text and "no text: no transcript given" in page.text
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_what_cannot_be_scored_is_answered_in_words(client):
    found = send(client, JSON_PATH, b"no video at all", "a.mp4")
    assert found.status_code == 422 and found.json()["error"].startswith("not-a-video: The file is no media file.")
    assert "/tmp" not in found.text and "apt-serve" not in found.text
    page = send(client, "/", b"no video at all", "a.mp4")
    assert page.status_code == 422 and "Not scored: not-a-video" in page.text and NOTICE in page.text
    assert client.post("/", data={"transcript": "x"}).status_code == 400
    assert client.post(JSON_PATH, content=b"junk").status_code == 400
    assert send(client, JSON_PATH, b"x" * 2_000_000).json() == {"error": "the clip is larger than 1 MB; cut it"}
    assert client.post(JSON_PATH, data={"transcript": "x" * 100_000}, files={"clip": ("a", b"x")}).status_code == 400
    assert client.get("/other").status_code == 404 and client.put("/").status_code == 405


def test_pages_load_nothing_and_are_kept_nowhere(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "same-origin"  # else a browser does not tell the origin of its own form
    assert page.headers["cache-control"] == "no-store" and "default-src 'none'" in policy
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)[1]
    assert page.text.count("<script") == 1 and f'<script nonce="{nonce}">' in page.text
    assert not re.search(r"https?://", page.text)
    assert client.get("/").headers["content-security-policy"] != policy


def test_who_does_not_know_the_token_is_not_let_in(scorer):
    client = serving(Instant(scorer, Limits(), token="secret-word"))
    with client:
        for path in ("/", "/?token=wrong", "/?token=s\u00e9cret"):
            assert client.get(path).status_code == 401
        assert send(client, JSON_PATH, b"x").status_code == 401
        bearer = {"Authorization": "Bearer secret-word"}
        assert send(client, JSON_PATH, b"x", headers=bearer).status_code == 422
        first = client.get("/?token=secret-word", follow_redirects=False)
        assert first.status_code == 303 and first.headers["location"] == "/"
        assert "httponly" in first.headers["set-cookie"].lower() and "strict" in first.headers["set-cookie"].lower()
        assert client.get("/").status_code == 200


def test_other_sites_are_not_answered(scorer):
    with serving(Instant(scorer, Limits())) as client:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
        assert send(client, "/", b"x", headers={"Origin": "http://evil.example"}).status_code == 403
        assert send(client, "/", b"x", headers={"Origin": "http://localhost"}).status_code == 422


def test_visitors_wait_their_turn_and_too_many_are_sent_away(scorer):
    service = Instant(scorer, Limits(visitors=4))

    async def visit():
        app = service.application()
        async with (
            service._lifespan(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            posts = [client.post(JSON_PATH, files={"clip": (f"{i}.mp4", b"x")}) for i in range(6)]
            return await asyncio.gather(*posts)

    found = asyncio.run(visit())
    assert sorted(answer.status_code for answer in found) == [422] * 4 + [503] * 2
    assert service.most == 1 and service._visitors == 0
    scored = [answer.json()["clip"] for answer in found if answer.status_code == 422]
    assert len(set(scored)) == 4  # each got its own


def test_an_upload_that_drags_on_is_ended(scorer):
    service = Instant(scorer, Limits(seconds=0.3))

    async def drag():
        yield b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a.mp4"\r\n\r\n'
        await asyncio.sleep(20)

    async def visit():
        app = service.application()
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        async with (
            service._lifespan(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            return await client.post(JSON_PATH, content=drag(), headers=headers)

    start = time.monotonic()
    assert asyncio.run(visit()).status_code == 408
    assert time.monotonic() - start < 15 and service._visitors == 0


def test_words_are_written_down_only_where_none_are_given(scorer, good):
    heard = []

    def transcribe(path):
        heard.append(Path(path).read_bytes())
        return "we are calm"

    with serving(Service(scorer, Limits(seconds=60), transcribe=transcribe)) as client:
        told = send(client, JSON_PATH, good.read_bytes()).json()
        assert [part["word"] for part in told["explanation"]["text"]["parts"]] == ["we", "are", "calm"]
        assert (
            told["transcribed"] == {"text": "we are calm"}
            and "the machine found the words: we are calm" in told["notes"]
        )
        assert "transcribed" not in send(client, JSON_PATH, good.read_bytes(), data={"transcript": "hello"}).json()
    assert heard == [good.read_bytes()]


def hostile(scorer, good, count):
    """Send hostile uploads, some of which point to a port that we listen on; how often each status came."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    service = Service(scorer, Limits(megabytes=2, seconds=60))
    beside = set(os.listdir("/tmp"))
    found = {}
    with serving(service) as client:
        threads = threading.active_count()
        for i, (name, kind, what, data) in enumerate(uploads(good.read_bytes(), port, count)):
            path = JSON_PATH if i % 2 else "/"
            answer = client.post(path, files={"clip": (name, data, kind)})
            assert answer.status_code in (200, 400, 413, 422), (name, kind, what, answer.text)
            assert "alert(1)</script>" not in answer.text and "Traceback" not in answer.text
            assert str(service.folder) not in answer.text
            if path == JSON_PATH:
                told = json.loads(answer.text)
                assert "error" in told or list(told["traits"]) == list(TRAITS)
                assert "error" in told or np.isfinite(list(told["traits"].values())).all()
            assert list(service.folder.iterdir()) == [], (name, what)
            found[answer.status_code] = found.get(answer.status_code, 0) + 1
        assert threading.active_count() <= threads + 2
    listener.setblocking(False)
    with listener, pytest.raises(BlockingIOError):  # nobody has called
        listener.accept()
    new = set(os.listdir("/tmp")) - beside
    assert not [name for name in new if name.startswith("apt-serve") or "pwned" in name]
    return found


def test_a_few_hostile_uploads_are_answered_and_leave_nothing(scorer, good):
    assert sum(hostile(scorer, good, 8).values()) == 8


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_hostile_uploads_are_answered_and_leave_nothing(scorer, good):
    found = hostile(scorer, good, 200)
    print(found)
    assert sum(found.values()) == 200 and set(found) >= {200, 422}
