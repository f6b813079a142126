"""What docs/security.md promises: each row of its table has a test here or names one elsewhere."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from zoneplate.acquisition.campaign_lots import check_name, read_lots
from zoneplate.acquisition.control.channel import LONGEST_LINE, ControlServer
from zoneplate.acquisition.control.wishes import Action, Role, may
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import DocumentJournal, JournalError, encode
from zoneplate.acquisition.live_pictures import SLICES, read_picture
from zoneplate.acquisition.page.board import Board, live_slices
from zoneplate.acquisition.page.follower import Follower
from zoneplate.acquisition.page.server import LivePage
from zoneplate.devices import ConfigurationError
from zoneplate.simulators import Specimen

HOSTILE = "<script>hacked()</script>\"'&"
START = {"uid": "aaaa-1", "time": 1.8e9, "plan_name": "mosaic", "sample": HOSTILE}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    data = DataDirectory(tmp_path_factory.mktemp("served"))
    data.create()
    ready = threading.Event()
    found: list[LivePage] = []

    def serve() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        found.append(LivePage(data))
        ready.set()
        found[0].run()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(60)
    yield found[0]
    found[0].stop()
    thread.join(30)


def get(page: LivePage, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def cookie(page: LivePage, role: Role = Role.OBSERVER) -> str:
    answer = get(page, f"/?token={page.access.admit('anna', role)}")
    assert answer.status == 302
    return str(answer.headers["Set-Cookie"]).split(";")[0]


PATHS = ("/", "/ws", "/autoload.js", "/static/js/bokeh.min.js", "/favicon.ico", "/no/such/page")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_a_token(served, path):
    assert get(served, path).status == 401


@pytest.mark.parametrize("token", ["guess", "x" * 5000, "admin", "password"])
def test_wrong_token_is_forbidden(served, token):
    assert get(served, f"/?token={token}").status == 403
    assert get(served, "/", Cookie=f"zoneplate-{served.port}=guess").status == 403


def test_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(served):
    answer = get(served, f"/?token={served.access.admit('anna', Role.OBSERVER)}")
    assert answer.headers["Location"] == "/"
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]
    assert get(served, "/", Cookie=cookie(served)).status == 200


def test_other_site_cannot_use_the_cookie(served):
    mine = cookie(served)
    good = f"http://127.0.0.1:{served.port}"
    assert get(served, "/", Cookie=mine, Origin=good).status == 200
    assert get(served, "/", Cookie=mine, Origin="http://evil.example").status == 403
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert (
        get(served, "/ws", Cookie=mine, Origin="http://evil.example", **upgrade, **key).status
        == 403
    )


@pytest.mark.parametrize(
    "path",
    ["/static/../../../etc/passwd", "/static/..%2f..%2f..%2fetc/passwd", "//etc/passwd", "/../x"],
)
def test_no_path_leads_out_of_what_is_served(served, path):
    answer = get(served, path, Cookie=cookie(served))
    assert answer.status in (400, 403, 404)
    assert b"root:" not in answer.body


def test_page_listens_on_the_loopback_interface_only(served):
    addresses = {s.getsockname()[0] for s in served._server._http._sockets.values()}
    assert addresses == {"127.0.0.1"}


def test_each_start_has_tokens_of_its_own(served):
    first, second = (served.access.admit("anna", Role.OBSERVER) for _ in range(2))
    assert first != second
    assert len(first) >= 32
    with pytest.raises(ConfigurationError):
        served.access.admit("", Role.EXPERT)


def test_roles_allow_what_they_say():
    allowed = {role: [action for action in Action if may(role, action)] for role in Role}
    assert allowed[Role.OBSERVER] == []
    assert Action.ABORT not in allowed[Role.OPERATOR]
    assert allowed[Role.EXPERT] == list(Action)


def test_names_are_text_in_every_card(tmp_path):
    data = DataDirectory(tmp_path)
    data.create()
    journal = DocumentJournal(data.journal)
    journal("start", START)
    stop = {"uid": "s", "run_start": "aaaa-1", "time": 1.8e9, "exit_status": "fail"}
    journal("stop", {**stop, "reason": HOSTILE})
    (tmp_path / "session.log").write_text(f"2026-01-01 10:00:00,123 WARNING zoneplate: {HOSTILE}\n")
    board = Board(data)
    board.follower.poll()
    board.draw()
    for name in ("status", "history", "warnings"):
        assert "hacked()" in board.cards[name], name
    assert not [name for name, html in board.cards.items() if "<script>hacked" in html]


MALFORMED = {
    "no object": b'["start",7]\n',
    "no JSON": b'["start",{"uid":\n',
    "no uid": b'["event",{"descriptor":"nowhere","seq_num":1,"data":{}}]\n',
    "wrong type": b'["start",{"uid":"aaaa-1","time":"yesterday","frames":[1]}]\n',
    "datum of nothing": b'["stream_datum",{"stream_resource":"x","seq_nums":{"start":1}}]\n',
    "deep": b'["start",' + b"[" * 5000 + b"]" * 5000 + b"]\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_document_ends_the_reading_of_its_journal_alone(tmp_path, what):
    data = DataDirectory(tmp_path)
    data.create()
    good = DocumentJournal(data.journal)
    good("start", {**START, "uid": "bbbb-2"})
    bad = data.journal / "20270115T080000.000000_aaaa-1.jsonl"
    bad.write_bytes(encode("start", START) + MALFORMED[what])
    board = Board(data)
    board.follower.poll()
    board.draw()
    runs = {run.uid: run for run in board.follower.runs()}
    assert not runs["bbbb-2"].damaged
    assert [run.damaged for uid, run in runs.items() if uid != "bbbb-2"] != [""]


def test_document_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("zoneplate.acquisition.page.follower.LONGEST_LINE", 1000)
    data = DataDirectory(tmp_path)
    data.create()
    path = data.journal / "20270115T080000.000000_aaaa-1.jsonl"
    path.write_bytes(encode("start", START) + b"x" * 5000)
    follower = Follower(data)
    follower.poll()
    assert "longer than" in follower.runs()[0].damaged


@pytest.mark.parametrize("uid", ["../../evil", "/etc/cron.d/evil", "a/b", "", "x" * 300, ".hidden"])
def test_uid_cannot_lead_out_of_the_journal(tmp_path, uid):
    with pytest.raises(JournalError):
        DocumentJournal(tmp_path / "journal")("start", {**START, "uid": uid})
    assert [path.name for path in tmp_path.rglob("*")] == ["journal"]


def test_damaged_or_pickled_pictures_are_not_loaded(tmp_path):
    path = tmp_path / SLICES
    path.write_bytes(b"PK\x03\x04 no archive")
    assert read_picture(path) is None
    np.savez(path, zx=np.array([{"a": 1}], dtype=object), yx=np.zeros(3), yz=np.zeros(3))
    assert read_picture(path) is None
    np.savez(path, zx=np.zeros((4, 4, 4, 4)), yx=np.zeros(3), yz=np.zeros(3), planned=1)
    assert live_slices(tmp_path) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[]\n",
        b"null\n",
        b'{"ask":"state"}\n',
        b"[" * 3000 + b"\n",
        b"\x80\x04K\x01.\n",
    ],
)
def test_door_refuses_what_is_no_request(tmp_path, line):
    server = ControlServer(tmp_path, steering=None)  # type: ignore[arg-type]
    assert server.answer(line) == {"ok": False, "says": "not a request"}


def test_door_reads_no_endless_line(tmp_path):
    server = ControlServer(tmp_path, steering=None)  # type: ignore[arg-type]
    server.start()
    try:
        known = json.loads((tmp_path / "control.json").read_text())
        with socket.create_connection(("127.0.0.1", known["port"]), 10) as connection:
            connection.sendall(b"x" * (LONGEST_LINE + 1))
            assert b"too long" in connection.makefile("rb").readline()
    finally:
        server.close()


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".x", "a\nb", "x" * 81, "a..b", "<b>", "x ", "ä"]
)
def test_lot_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(ConfigurationError):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'lot'"),
        ("lot\n", "no lots"),
        ("lot,regions\nA,0\n", "row 2: regions"),
        ("lot,regions\nA,1\nB,many\n", "row 3: regions"),
        ("lot,power\nA,9000\n", "row 2: power"),
        ("lot\nA\nA\n", "row 3: lot 'A' comes twice"),
        ("lot,regions\nA\n", "row 2: not as many values"),
        ("lot\n../x\n", "cannot be a name"),
        ("lot\n" + "A" * (1 << 20), "larger than"),
    ],
)
def test_bad_campaign_is_refused_with_its_row(tmp_path, text, says):
    path = tmp_path / "lots.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        read_lots(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"kind,id\n", b"\x89HDF\r\n\x1a\n" + b"\xff" * 99]
)
@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_damaged_specimen_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"specimen{suffix}"
    path.write_bytes(content)
    with pytest.raises((ValueError, OSError, ConfigurationError)):
        Specimen.load(path)


def test_nothing_of_ours_unpickles(request: pytest.FixtureRequest):
    root = Path(__file__).parents[2]
    folders = ("acquisition", "devices", "plans", "analysis", "simulators")
    pattern = re.compile(
        r"\bimport (c?pickle|dill|shelve|marshal)\b|allow_pickle=True|\byaml\.load\("
    )
    guilty = [
        str(path.relative_to(root))
        for folder in folders
        for path in (root / folder).rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert guilty == []
