"""A small manager that speaks the contract over real HTTP, for the demonstration.

Run as ``python -m entrypoints.cli.demo.manager``; it prints its port, and the secret it signs with.
It registers one host and takes its heartbeats.
"""

import json
import secrets
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt


class DemoManager:
    """What the manager knows."""

    def __init__(self) -> None:
        self.secret = secrets.token_hex(32)
        self.host_id = str(uuid.uuid4())
        self.server_key = self._sign(self.host_id)
        self.beats: list[dict[str, Any]] = []

    def _sign(self, subject: str) -> str:
        claims = {
            "sub": subject,
            "role": "admin",
            "iat": int(time.time()),
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self.secret, algorithm="HS256")

    def register(self) -> tuple[int, dict[str, Any]]:
        """Answers a host's registration."""
        return 201, {"host_id": self.host_id, "server_key": self.server_key}

    def heartbeat(self, host_id: str, key: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Answers a heartbeat as the deployed manager does."""
        if key != self.server_key:
            return 401, {"detail": "Invalid server key"}
        if host_id != self.host_id:
            return 404, {"detail": "Host not found"}
        fields = ("cpu", "mem", "containers")
        if not isinstance(body, dict) or any(type(body.get(name)) is not int for name in fields):
            return 422, {"detail": "cpu, mem and containers must be integers"}
        self.beats.append(body)
        return 200, {"ack": True}


class _Handler(BaseHTTPRequestHandler):
    manager: DemoManager
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Tells what heartbeats came."""
        self._answer(200, {"beats": self.manager.beats[-20:]})

    def do_POST(self) -> None:
        """Takes registrations and heartbeats."""
        length = int(self.headers.get("content-length", "0"))
        try:
            body = json.loads(self.rfile.read(length) or b"null")
        except ValueError:
            self._answer(422, {"detail": "not JSON"})
            return
        parts = self.path.strip("/").split("/")
        if self.path == "/hosts/":
            self._answer(*self.manager.register())
        elif len(parts) == 3 and parts[0] == "hosts" and parts[2] == "heartbeat":
            key = self.headers.get("x-server-key", "")
            self._answer(*self.manager.heartbeat(parts[1], key, body))
        else:
            self._answer(404, {"detail": "Not Found"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing: the demonstration shows what matters."""


def run() -> None:
    """Serves until the process is ended."""
    manager = DemoManager()
    handler = type("Handler", (_Handler,), {"manager": manager})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(json.dumps({"port": server.server_address[1], "jwt_secret": manager.secret}))
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    run()
