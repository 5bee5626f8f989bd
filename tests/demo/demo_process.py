"""Run the command demo in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


class DemoProcess:
    """The command in a process of its own, with requests to it without a browser."""

    def __init__(self, folder, *words):
        (folder / "temporary").mkdir()
        self.temporary = folder / "temporary"
        environment = {**os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-m", "pix2pix_lightning.demo", "port=0", "device=cpu", "open_browser=false"]
        command += words
        self.errors = folder / "errors"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        self.address = re.fullmatch(r"draw on (http://127\.0\.0\.1:\d+); Ctrl-C ends it\n", line)[1] + "/"

    def stop(self, by=signal.SIGINT):
        """Return the exit status, and what was printed to stderr at the end."""
        before = len(self.errors.read_text())
        self.process.send_signal(by)
        self.process.communicate(timeout=20)
        return self.process.returncode, self.errors.read_text()[before:]

    def get(self, path, data=None, **headers):
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def ask(self, *values):
        """Send a request as the page does; return the status with the values or the error."""
        events = json.loads(self.get("config")[1])["dependencies"]
        event = next(each["id"] for each in events if each["api_name"] == "answer")
        session = uuid.uuid4().hex
        body = json.dumps({"data": values, "fn_index": event, "session_hash": session}).encode()
        status, answer = self.get("gradio_api/queue/join", body, **{"Content-Type": "application/json"})
        if status != 200:
            return status, answer.decode()
        with urllib.request.urlopen(f"{self.address}gradio_api/queue/data?session_hash={session}", timeout=120) as sent:
            for line in sent:
                message = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if message.get("msg") == "process_completed":
                    output = message["output"]
                    return (200, output["data"]) if message["success"] else (500, output["error"])
        return None

    def memory(self, kind):
        """Return the memory of the process in MiB: VmRSS now, or VmHWM at its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) / 1024
