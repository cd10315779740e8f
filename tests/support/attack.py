"""Guess passwords at a deployed site, and print what it answers. It runs in the web container, as its proxy would."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import urlencode

# This container's address in the network that the site trusts: it believes the X-Forwarded-For that is sent from here.
# The IPv4 one: the site does not listen on IPv6.
with socket.socket() as to_caddy:
    to_caddy.connect(("caddy", 80))
    PROXY = to_caddy.getsockname()[0]
LOGIN = "/admin/login/"
TOKEN = "c" * 32
SECONDS = 6


def ask(path: str, address: str, form: dict[str, str] | None = None) -> int:
    """Return the status of a request from an address."""
    connection = HTTPConnection(PROXY, 8000, timeout=60)
    headers = {"Host": "localhost", "X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
    headers |= {"Cookie": f"csrftoken={TOKEN}", "Referer": "https://localhost/"}
    body = None
    if form:
        body = urlencode(form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request("POST" if form else "GET", path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def attempt(name: str, address: str, password: str = "guess") -> int:
    """Return the status of a login."""
    form = {"username": name, "password": password, "csrfmiddlewaretoken": TOKEN, "next": "/admin/"}
    return ask(LOGIN, address, form)


def worst(path: str, stop: threading.Event) -> float:
    """Return the longest time that a page takes until `stop` is set, in milliseconds."""
    times = []
    while not stop.is_set():
        start = time.perf_counter()
        assert ask(path, "203.0.113.1") == 200, path
        times.append((time.perf_counter() - start) * 1000)
        stop.wait(0.05)
    return round(max(times), 1)


def flood(address: Callable[[int], str]) -> dict[str, object]:
    """Guess on 16 connections for SECONDS, and return the worst times of two pages and the answers."""
    stop, answers, times = threading.Event(), Counter[int](), {}

    def guess(number: int) -> None:
        turn = number
        while not stop.is_set():
            answers[attempt(f"user{turn}", address(turn))] += 1
            turn += 16

    def measure(path: str) -> None:
        times[path] = worst(path, stop)

    work = [threading.Thread(target=guess, args=[number]) for number in range(16)]
    work += [threading.Thread(target=measure, args=[path]) for path in ("/livez", "/")]
    for each in work:
        each.start()
    time.sleep(SECONDS)
    stop.set()
    for each in work:
        each.join()
    return {"ms": times, "answers": dict(answers)}


figures = {
    "60 names from one address": Counter(attempt(f"name{number}", "192.0.2.1") for number in range(60)),
    "one name from 60 addresses of a /64": Counter(attempt("ada", f"2001:db8:0:1::{each:x}") for each in range(60)),
    "ada, from elsewhere": attempt("ada", "198.51.100.1", "correct horse"),
    "a flood from one address": flood(lambda _: "192.0.2.2"),
    "a flood from many": flood(lambda turn: f"10.{turn >> 16 & 255}.{turn >> 8 & 255}.{turn & 255}"),
    "ada, after the floods": attempt("ada", "198.51.100.2", "correct horse"),
}
print(json.dumps(figures))
