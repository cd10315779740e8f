"""Take mail by SMTP on port 1025, and list it on port 8025: GET /api/v1/messages, as Mailpit answers it."""

from __future__ import annotations

import json
import sys
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd import __version__
from aiosmtpd.controller import Controller

MESSAGES: list[dict[str, Any]] = []


class Catch:
    """aiosmtpd's handler."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a message."""
        subject = str(message_from_bytes(envelope.content)["Subject"])
        to = [{"Name": "", "Address": address} for address in envelope.rcpt_tos]
        MESSAGES.insert(0, {"From": {"Name": "", "Address": envelope.mail_from}, "To": to, "Subject": subject})
        return "250 OK"


class Api(BaseHTTPRequestHandler):
    """What is asked for by HTTP."""

    def do_GET(self) -> None:
        """List the messages, the newest first."""
        known = self.path == "/api/v1/messages"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"total": len(MESSAGES), "messages": MESSAGES} if known else {}).encode())


if sys.argv[1:] == ["version"]:
    print(__version__)
else:
    Controller(Catch(), hostname="0.0.0.0", port=1025).start()
    ThreadingHTTPServer(("0.0.0.0", 8025), Api).serve_forever()
