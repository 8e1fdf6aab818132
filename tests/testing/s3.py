"""An S3 server on this machine, and a proxy before it in which reads break off, fail or take long.

moto answers as S3 does; the proxy adds what moto is too kind for: it knows who may do what, and errs on request.
"""

import http.client
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY, SECRET = "a-key", "a-secret"
FAULTS = ("503", "cut", "short", "slow", "reset", "denied")
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{0}</Code><Message>{0}</Message></Error>'


@dataclass
class Rule:
    """What goes wrong: requests of ``method`` whose path matches, ``times`` of them."""

    fault: str
    path: str
    method: str = "GET"
    times: int = 10**9

    def fits(self, method, path):
        return self.times > 0 and method == self.method and re.search(self.path, path) is not None


@dataclass
class Storage:
    """A running server.

    Attributes:
        endpoint: its address.
        rules: what goes wrong, the first that fits.
        seen: method and path of every request.
    """

    endpoint: str
    rules: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, fault, path, method="GET", times=10**9):
        assert fault in FAULTS
        self.rules.append(Rule(fault, path, method, times))

    def fault_of(self, method, path):
        with self.lock:
            self.seen.append((method, path))
            for rule in self.rules:
                if rule.fits(method, path):
                    rule.times -= 1
                    return rule.fault
        return None

    def count(self, method, path):
        return sum(1 for seen in self.seen if seen[0] == method and re.search(path, seen[1]))

    def bucket(self, name):
        """A new bucket, as a client of boto3 that goes past the faults."""
        self.client.create_bucket(Bucket=name)
        return name

    def upload(self, folder, bucket, prefix=""):
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = "/".join(filter(None, (prefix, file.relative_to(folder).as_posix())))
                self.client.upload_file(str(file), bucket, key)

    def keys(self, bucket):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def start_storage():
    """A server, and how to stop it."""
    import boto3
    from moto.server import ThreadedMotoServer

    behind = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    behind.start()
    host, port = behind.get_host_and_port()
    storage = Storage("")

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def setup(self):
            super().setup()
            self.behind = http.client.HTTPConnection(host, port, timeout=30)

        def finish(self):
            self.behind.close()
            super().finish()

        def refuse(self, status, code):
            body = b"" if self.command == "HEAD" else _ERROR.format(code).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_request(self):
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = storage.fault_of(self.command, self.path)
            if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
                return self.refuse(403, "InvalidAccessKeyId")
            if fault == "denied":
                return self.refuse(403, "AccessDenied")
            if fault == "503":
                return self.refuse(503, "SlowDown")
            if fault == "reset":
                self.close_connection = True
                return self.connection.close()
            if fault == "slow":
                time.sleep(0.5)
            self.behind.request(self.command, self.path, sent, dict(self.headers.items()))
            answer = self.behind.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            if fault == "short":
                body = body[: len(body) // 2]
                self.close_connection = True
            if fault == "cut":
                self.send_header("Connection", "close")
            self.end_headers()
            if fault == "cut":
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.close_connection = True
                return self.connection.close()
            self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_request  # noqa: N815

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    storage.endpoint = f"http://127.0.0.1:{proxy.server_port}"
    storage.client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )

    def stop():
        proxy.shutdown()
        proxy.server_close()
        behind.stop()

    return storage, stop
