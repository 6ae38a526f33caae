import httpx, base64
from pathlib import Path
import pytest
from tests.harness.server_process import ServerProcess
from tests.tus.client import video, metadata
@pytest.mark.parametrize("n", range(10))
@pytest.mark.parametrize("what", ["none", "upload"])
def test_start(start_server, n, what):
    s = start_server()
    if what == "upload":
        data = video(3000)
        r = s.http.post(s.url + "/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "3000", "Upload-Metadata": metadata(filename="a.mp4")})
        assert r.status_code == 201, r.text
        r = s.http.patch(r.headers["location"], content=data, headers={"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"})
        assert r.status_code == 204, r.text
        s.status(r.headers.get("x") or s.http.get(s.url+"/api/tasks").json()["tasks"][0]["task_id"]) if False else None
