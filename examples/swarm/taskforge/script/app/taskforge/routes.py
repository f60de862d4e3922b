"""Which function answers which request."""

import re


class Router:
    """A table of (method, path) to functions. `{id}` in a path stands for a number."""

    def __init__(self):
        self._routes = []

    def add(self, method, path, function):
        """Answer `method path` with `function(request, **numbers)`."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]{1,18})", path)
        self._routes.append((method, re.compile(pattern), function))

    def find(self, method, path):
        """(function, numbers), or the status to answer with: 404 or 405."""
        status = 404
        for wanted, pattern, function in self._routes:
            match = pattern.fullmatch(path)
            if match and wanted == method:
                return function, {name: int(text) for name, text in match.groupdict().items()}
            if match:
                status = 405
        return status
