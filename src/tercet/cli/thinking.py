"""Which models a run thinks with: a gateway, a model on this machine, or a script. Chosen once, written down, opened again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tercet.cli.settings import Settings
from tercet.errors import ModelError, UsageError
from tercet.subnets.inference import CATALOGUE, is_verified
from tercet.swarm.gateway import HttpUpstream, LocalUpstream, ScriptedUpstream, Upstream, load_script

__all__ = ["choose_thinking", "open_thinking"]

_LOCAL = "small"
_MOST_THREADS = 256


def choose_thinking(
    settings: Settings, *, model: str, gateway: str, key_file: str, script: str
) -> tuple[str, Mapping[str, str]]:
    """Where thinking comes from, in words, and what opens it; the same words open it again on a resume.

    The first of these that is said or set: the script, the gateway, a model on this machine.

    Raises:
        UsageError: a file is missing, two ways were said, or nobody knows the model or the address.
        ModelError: the model is not on this machine.

    """
    if script and gateway:
        raise UsageError("Say --scripted or --gateway, not both.")
    if script:
        load_script(Path(script).expanduser())
        return "scripted", {"kind": "scripted", "script": str(Path(script).expanduser().absolute())}
    url = gateway or ("" if model in CATALOGUE else settings.text("gateway"))
    if url:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no address of a gateway. Say it as http://HOST:PORT/v1 or https://HOST/v1.")
        key = key_file or settings.text("gateway_key_file")
        path = str(Path(key).expanduser().absolute()) if key else ""
        _read_key(path)
        return url, {"kind": "http", "url": url, "key_file": path, "model": model}
    name = model or _LOCAL
    _validate_model(settings, name)
    threads = {"threads": str(_threads(settings))} if settings.text("threads") else {}
    return f"local {name}", {"kind": "local", "model": name, "models": str(settings.path("models")), **threads}


def open_thinking(chosen: Mapping[str, str]) -> Upstream:
    """What `choose_thinking` chose."""
    match chosen.get("kind"):
        case "scripted":
            return ScriptedUpstream(load_script(Path(chosen["script"])))
        case "http":
            return HttpUpstream(chosen["url"], _read_key(chosen["key_file"]), chosen["model"])
        case "local":
            threads = int(chosen.get("threads", "0"))
            return LocalUpstream(chosen["model"], Path(chosen["models"]), threads=threads)
        case other:
            raise UsageError(f"The run was started with a model of kind {other!r}, which this version cannot open.")


def _threads(settings: Settings) -> int:
    text = settings.text("threads")
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_THREADS:
        raise UsageError(f"The setting threads is {text!r}. Set a number from 1 to {_MOST_THREADS}, or nothing.")
    return int(text)


def _read_key(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip().split("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The key file {path!r} cannot be read: {error}. Name another with --key-file.") from error


def _validate_model(settings: Settings, name: str) -> None:
    """A model of the catalogue has to be here already: a run does not begin with a download."""
    thinking = {one: m for one, m in CATALOGUE.items() if any(file.name.endswith(".gguf") for file in m.files)}
    if name not in thinking and not ("/" in name or name.endswith(".gguf") or Path(name).is_file()):
        raise UsageError(
            f"No model that thinks is called {name!r}. Known: {', '.join(thinking)}; or give the path of a GGUF file, or"
            " org/repo[:file] of Hugging Face; or say where the model is, with --gateway URL."
        )
    known = thinking.get(name)
    if known is None or all(is_verified(settings.path("models") / file.name, file.sha256) for file in known.files):
        return
    raise ModelError(
        f"The model {name!r} is not on this machine, and no gateway is set. Fetch it: tercet model pull {name}. Or think"
        " elsewhere: --gateway URL --key-file FILE."
    )
