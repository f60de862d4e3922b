"""python3 -m unittest discover -s tests"""

import json
import threading
import unittest
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from taskforge.db import open_database
from taskforge.server import build_server
from taskforge.store import TaskStore


class StoreTest(unittest.TestCase):
    def setUp(self):
        connection = open_database(":memory:")
        self.addCleanup(connection.close)
        self.store = TaskStore(connection)

    def test_open_tasks_come_first_by_day(self):
        late = self.store.add("late", due="2030-02-01")
        self.store.add("none")
        self.store.add("soon", due="2030-01-01")
        self.store.update(late.id, {"done": 1})
        self.assertEqual([task.title for task in self.store.list()], ["soon", "none", "late"])

    def test_stats_count_what_is_overdue(self):
        self.store.add("old", due="2020-01-01")
        self.store.add("new", due="2040-01-01")
        self.assertEqual(self.store.stats("2030-01-01"), {"open": 2, "done": 0, "overdue": 1})


class ApiTest(unittest.TestCase):
    def setUp(self):
        connection = open_database(":memory:")
        self.server = build_server(TaskStore(connection))
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(connection.close)
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)

    def ask(self, method, path, body=None):
        url = f"http://127.0.0.1:{self.server.server_address[1]}{path}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(url, data, method=method)) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def test_a_task_lives_and_goes(self):
        status, task = self.ask("POST", "/api/tasks", {"title": " write "})
        self.assertEqual((status, task["title"], task["done"]), (201, "write", False))
        self.assertEqual(self.ask("PATCH", f"/api/tasks/{task['id']}", {"done": True})[1]["done"], True)
        self.assertEqual(self.ask("DELETE", f"/api/tasks/{task['id']}"), (204, None))
        self.assertEqual(self.ask("GET", f"/api/tasks/{task['id']}")[0], 404)

    def test_bad_input_is_told(self):
        for body in ({}, {"title": ""}, {"title": "x", "due": "soon"}, {"title": "x", "colour": "red"}, []):
            status, answer = self.ask("POST", "/api/tasks", body)
            self.assertEqual(status, 400)
            self.assertIn("error", answer)


if __name__ == "__main__":
    unittest.main()
