"""What each request does."""

from taskforge.checks import BadInput, check_change, check_new
from taskforge.routes import Router

_GONE = 404, {"error": "there is no such task"}


def build_router(store):
    """The API over these tasks. Functions take (query, body) and return (status, JSON or None)."""

    def tasks(query, body):
        state = query.get("state", "all")
        if state not in ("all", "open", "done"):
            raise BadInput("state is all, open or done")
        return 200, {"tasks": [task.to_json() for task in store.list(state, query.get("q", ""))]}

    def create(query, body):
        return 201, store.add(**check_new(body)).to_json()

    def show(query, body, id):
        task = store.get(id)
        return (200, task.to_json()) if task else _GONE

    def change(query, body, id):
        task = store.update(id, check_change(body))
        return (200, task.to_json()) if task else _GONE

    def remove(query, body, id):
        return (204, None) if store.delete(id) else _GONE

    def stats(query, body):
        return 200, store.stats()

    router = Router()
    router.add("GET", "/api/tasks", tasks)
    router.add("POST", "/api/tasks", create)
    router.add("GET", "/api/tasks/{id}", show)
    router.add("PATCH", "/api/tasks/{id}", change)
    router.add("DELETE", "/api/tasks/{id}", remove)
    router.add("GET", "/api/stats", stats)
    return router
