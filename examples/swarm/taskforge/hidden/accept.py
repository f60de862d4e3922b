"""The whole app, from outside: started as a user starts it, spoken to over HTTP, stopped and started again."""

import json
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit


class App:
    """A running TaskForge."""

    def __init__(self, db):
        words = [sys.executable, "-B", "-m", "taskforge", "--port", "0", "--db", db]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http"))
        self.place = urlsplit(url).netloc

    def ask(self, method, path, body=None, raw=None):
        connection = HTTPConnection(self.place, timeout=10)
        data = raw if raw is not None else None if body is None else json.dumps(body)
        connection.request(method, path, data)
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, json.loads(text) if text and "json" in reply.headers["Content-Type"] else text

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


def main():
    with tempfile.TemporaryDirectory() as folder:
        db = f"{folder}/tasks.db"
        app = App(db)
        try:
            walk(app)
        finally:
            app.stop()
        app = App(db)
        try:
            assert [task["title"] for task in app.ask("GET", "/api/tasks")[1]["tasks"]] == ["second"], "tasks are kept"
        finally:
            app.stop()


def walk(app):
    status, page = app.ask("GET", "/")
    assert status == 200
    assert b"<html" in page.lower()
    status, first = app.ask("POST", "/api/tasks", {"title": "first", "due": "2020-01-01"})
    assert status == 201, first
    assert set(first) >= {"id", "title", "note", "due", "done", "created"}, first
    status, second = app.ask("POST", "/api/tasks", {"title": "second", "note": "über"})
    assert (status, second["note"], second["due"], second["done"]) == (201, "über", None, False)
    assert app.ask("GET", "/api/stats")[1] == {"open": 2, "done": 0, "overdue": 1}
    assert app.ask("PATCH", f"/api/tasks/{first['id']}", {"done": True})[1]["done"] is True
    assert [task["title"] for task in app.ask("GET", "/api/tasks?state=open")[1]["tasks"]] == ["second"]
    assert [task["title"] for task in app.ask("GET", "/api/tasks?q=" + quote("ÜBER".lower()))[1]["tasks"]] == ["second"]
    for method, path, body, wanted in (
        ("POST", "/api/tasks", {"title": ""}, 400),
        ("POST", "/api/tasks", {"title": "x", "due": "tomorrow"}, 400),
        ("GET", "/api/tasks/999", None, 404),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/api/tasks", {}, 405),
        ("PATCH", f"/api/tasks/{second['id']}", {"title": 7}, 400),
    ):
        status, answer = app.ask(method, path, body)
        assert status == wanted, (method, path, status)
        assert answer["error"], (method, path)
    assert app.ask("POST", "/api/tasks", raw="{")[0] == 400
    assert app.ask("DELETE", f"/api/tasks/{first['id']}")[0] == 204
    assert app.ask("DELETE", f"/api/tasks/{first['id']}")[0] == 404


main()
