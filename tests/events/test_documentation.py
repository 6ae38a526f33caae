"""docs/webhooks.md is true: its examples verify what Videodock signs, and its table has every event."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from server.events import signing
from server.events.types import WEBHOOKS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "webhooks.md").read_text()
BODY = '{"type":"task.completed","data":{"message":"处理完成"}}'.encode()


def example(language: str) -> str:
    """The one example in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def signed(secret: str, at: float | None = None) -> dict[str, str]:
    """The headers of a message."""
    made = signing.headers("msg_1", int(time.time() if at is None else at), BODY, [signing.new_secret(), secret])
    return {name.decode(): value.decode() for name, value in made}


def test_the_table_has_every_event() -> None:
    """In the order of the list."""
    assert re.findall(r"^\| `((?:upload|task|video)\.[a-z]+)` \|", PAGE, re.MULTILINE) == list(WEBHOOKS)


def test_the_example_in_node_verifies(tmp_path: Path) -> None:
    """What is right; and nothing that was changed, is old, or bears another secret."""
    (tmp_path / "verify.mjs").write_text(example("js"))
    (tmp_path / "run.mjs").write_text(
        "import { verify } from './verify.mjs'\n"
        "const cases = JSON.parse(process.argv[2])\n"
        "const tried = cases.map(({ body, headers, secret }) => {\n"
        "  try { return verify(Buffer.from(body), headers, secret).type } catch (error) { return error.message }\n"
        "})\nconsole.log(JSON.stringify(tried))\n"
    )
    secret = signing.new_secret()
    text = BODY.decode()
    cases: list[dict[str, Any]] = [
        {"body": text, "headers": signed(secret), "secret": secret},
        {"body": text + " ", "headers": signed(secret), "secret": secret},
        {"body": text, "headers": signed(secret), "secret": signing.new_secret()},
        {"body": text, "headers": signed(secret, time.time() - 3600), "secret": secret},
        {"body": text, "headers": {}, "secret": secret},
    ]
    done = subprocess.run(
        ["node", str(tmp_path / "run.mjs"), json.dumps(cases)], capture_output=True, text=True, check=True
    )
    refused = "not from Videodock"
    assert json.loads(done.stdout) == ["task.completed", refused, refused, "too old", "too old"]


def test_the_example_in_python_is_the_public_library(tmp_path: Path) -> None:
    """Its calls verify what is right, and refuse the rest."""
    code = example("python")
    assert 'webhook = Webhook(os.environ["WEBHOOK_SECRET"])' in code
    assert "webhook.verify(request.get_data(), dict(request.headers))" in code
    from standardwebhooks import Webhook, WebhookVerificationError

    secret = signing.new_secret()
    # Flask's names of headers begin with capitals.
    headers = {name.title(): value for name, value in signed(secret).items()}
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(BODY, headers)
