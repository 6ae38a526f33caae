"""The conformance suite: what it says of our engines and of others, and how it bears servers that are none."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.conformance import engines
from tests.conformance.__main__ import main
from tests.conformance.cases import CASES
from tests.conformance.engines import OWN, Results
from tests.conformance.rules import RULES
from tests.conformance.runner import PASS
from tests.conformance.session import Fields, Session
from tests.conformance.wire import Answer, Deadline
from tests.harness import description
from tests.harness.description import Seen
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.waiting import PATIENCE

pytestmark = pytest.mark.acceptance

TUSPYSERVER_BY_US = "Videodock with tuspyserver"
OPTIONS = b"HTTP/1.1 204 No Content\r\nTus-Version: 1.0.0\r\nTus-Extension: creation\r\n\r\n"
REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

Reply = Callable[[bytes], bytes | None]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Results]:
    """What became of every case with every engine. Our engines' answers are those that `/openapi.json` describes."""
    ask = Session.ask

    def compared(
        self: Session, method: str, url: str, headers: Fields | None = None, body: bytes | None = None
    ) -> Answer:
        answer = ask(self, method, url, headers, body)
        asked = self.fields(method, headers or {})
        description.compare(Seen(method, url, asked, answer.status, answer.headers, answer.body))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "ask", compared)
        return engines.judge_all(tmp_path_factory.mktemp("engines"))


@contextlib.contextmanager
def answering(reply: Reply) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each head as `reply` says, or not at all for None; its URL, and the heads it got."""
    heads: list[bytes] = []
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            heads.append(connection.recv(1 << 16))
            answer = reply(heads[-1])
            if answer is not None:
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/files", heads
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            for connection in held:
                connection.close()


@pytest.mark.parametrize("engine", [OWN, TUSPYSERVER_BY_US])
def test_videodock_passes_every_case(found: Mapping[str, Results], engine: str) -> None:
    """No case fails, and there is none that we do not offer."""
    others = {name: (result.outcome, result.why) for name, result in found[engine].items() if result.outcome != PASS}
    assert others == {}
    assert len(found[engine]) == len(CASES)


def test_the_engines_page_is_up_to_date(found: Mapping[str, Results]) -> None:
    """docs/engines.md was made after the last change; `make engines` makes it."""
    assert engines.PAGE.read_text() == engines.page(found)


def test_every_rule_has_a_case() -> None:
    """Each rule that clients depend on is judged by a case that names it, and no case names a rule that is none."""
    named = {int(number) for case in CASES for number in re.findall(r"rule (\d+)", case.rule)}
    assert named == set(RULES) == set(range(1, 20))


def test_case_names_are_unique_and_quotable() -> None:
    """A case can be quoted by its name."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert not [name for name in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)]


def test_the_suite_imports_only_the_standard_library() -> None:
    """The suite is pointed at a URL: it loads nothing of the server, of the harness, nor any installed package."""
    code = (
        "import sys, tests.conformance.__main__\n"
        "tops = {name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "print(sorted(top for top in tops if not top.startswith('_')), 'tests.harness' in sys.modules)"
    )
    # -S: without site-packages.
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['tests'] False"


def test_the_command_prints_a_table_and_exits_with_0(server: ServerProcess) -> None:
    """The command prints a table of the chosen cases and ends with 0."""
    command = [sys.executable, "-m", "tests.conformance", f"{server.url}/files", "--only", "patch-*", "--only", "types"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE)
    title, *rows = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.split(r"\s{2,}", title) == ["case", "result", "rule", "what it shows"]
    chosen = [case.name for case in CASES if case.name.startswith("patch-") or case.topic == "types"]
    assert [row.split()[:2] for row in rows[:-2]] == [[name, "pass"] for name in chosen]
    assert rows[-1] == f"{len(chosen)} passed, 0 failed, 0 not offered"


def test_a_feature_that_is_not_offered_is_not_a_failure(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default originals are not given out: that is told as such, and is no failure."""
    assert main([f"{server.url}/files", "--only", "read-whole", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["passed"], answer["failed"], answer["not_offered"]) == (0, 0, 1)
    (case,) = answer["cases"]
    assert (case["case"], case["topic"]) == ("read-whole", "downloads")
    assert (case["result"], case["why"]) == ("not offered", "no downloads")


def test_a_failed_case_is_exit_1_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that refuses everything fails with code 1 and one line of why; --header goes with each request."""
    with answering(lambda head: OPTIONS if head.startswith(b"OPTIONS") else REFUSAL) as (url, heads):
        code = main([url, "--only", "create-201", "--header", "Authorization: Bearer abc", "--json"])
    assert code == 1
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert (case["result"], case["why"]) == ("fail", "POST: 201 expected, 404 came")
    assert {head.split()[0] for head in heads} == {b"OPTIONS", b"POST"}
    assert all(b"\r\nAuthorization: Bearer abc\r\n" in head for head in heads)


@pytest.mark.parametrize("kind", ["silent", "gone", "garbage", "endless"])
def test_a_server_that_stops_answering_ends_cases_by_their_time_limit(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that says nothing, hangs up, or talks nonsense after OPTIONS ends no case but by its time limit."""
    replies = {"silent": None, "gone": b"", "garbage": b"SSH-2.0-x\r\n\r\n", "endless": b"HTTP/1.1 201 Created\r\nX: "}
    # Only the silent one is to run into the limit: on a busy machine the others would, too.
    limit = "0.3" if kind == "silent" else "60"
    with answering(lambda head: OPTIONS if head.startswith(b"OPTIONS") else replies[kind]) as (url, _):
        assert main([url, "--timeout", limit, "--only", "patch-*", "--json", "--jobs", "16"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["passed"], answer["not_offered"]) == (0, 0)
    whys = {
        "silent": "no answer within 0.3 s",
        "gone": "the connection was closed without an answer",
        "garbage": "the answer is not HTTP/1.1",
        "endless": "the connection was closed without an answer",
    }
    assert {case["why"] for case in answer["cases"]} == {whys[kind]}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["ftp://127.0.0.1/files"], "begins with http"),
        (["files"], "begins with http"),
        (["http://127.0.0.1:1/files"], "cannot be reached"),
        ([], "A URL is needed"),
        (["http://127.0.0.1:1/files", "--only", "nothing-like-it"], "No case is named nothing-like-it"),
    ],
)
def test_an_unusable_url_is_exit_2(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Code 2 and one sentence."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1


def test_a_server_without_tus_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Code 2 where OPTIONS does not speak of tus, or nothing is said at all."""
    with answering(lambda _: REFUSAL) as (url, _):
        assert main([url]) == 2
    assert "is no tus server" in capsys.readouterr().err
    with answering(lambda _: None) as (url, _):
        assert main([url, "--timeout", "0.2"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--header", "no colon"], ["--timeout", "0"], ["--jobs", "0"], ["--jobs", "x"]])
def test_an_unknown_option_is_exit_2(given: list[str]) -> None:
    """Code 2 for an option that is none."""
    with pytest.raises(SystemExit) as ended:
        main(["http://127.0.0.1:1/files", *given])
    assert ended.value.code == 2


def test_the_list_shows_every_case_and_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """--list tells every case and every rule, and needs no server."""
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(CASES) + 1]] == [case.name for case in CASES]
    assert [line for line in lines if line.startswith("rule ")] == [f"rule {n}: {text}" for n, text in RULES.items()]


def test_all_waits_of_a_case_share_a_deadline() -> None:
    """All waits of a case end together."""
    deadline = Deadline(0.05)
    with contextlib.suppress(TimeoutError):
        for _ in range(100):
            deadline.pause(0.01)
    with pytest.raises(TimeoutError):
        deadline.left()
