"""What a step of an agent costs: Tercet's engine beside others, over a model that answers in 50 ms.

python benchmarks/swarm_steps.py [--agents 100] [--rounds 3] [--peers all|none|NAME,...] [--before CHECKOUT] [--cache DIR]
    [--write FILE]

Each agent asks the model five times: four times it is told to use a tool, then it is done. 100 agents do so at once.
The model is a server in a process of its own. CPU is all that the engine's process took, per request; ours has the
journal, the receipts of the desk, durable steps and a claim for each tool result switched on. Each peer runs in a
virtual environment of its own, made here once; one that cannot be installed is left out, and named. All rounds go
through the engines in turn, so that whatever else the machine does hits all. `--before` names another checkout of this
repository, whose engine takes its turns as well: what a change saves is seen in one run.

Then a thousand agents in one process (memory), and how long a journal of 10,000 steps takes to resume.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import swarm_measure  # type: ignore[import-not-found] # beside this script
from swarm_peers import PEERS, Peer  # type: ignore[import-not-found] # beside this script

OURS, BEFORE = "tercet", "tercet before"
HERE = Path(__file__).parent
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "LANGSMITH_TRACING": "false",
    "OPENAI_API_KEY": "x",
}
Report = Mapping[str, float]


# peers


def environment(name: str, peer: Peer, cache: Path) -> Path | str:
    """The Python of a peer's own environment, made when it is missing; or why there is none."""
    if not peer.own:
        return Path(sys.executable)
    folder = cache / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(peer.needs):
        sys.stderr.write(f"installing {name}\n")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.needs],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                return (done.stderr.strip().splitlines() or ["no word why"])[-1][:200]
        stamp.write_text("\n".join(peer.needs))
    return python


def run_once(command: Sequence[str], url: str, agents: int) -> dict[str, float]:
    """One measurement in a process of its own."""
    with urllib.request.urlopen(f"{url}/stats") as response:
        response.read()
    paths = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = {**os.environ, **QUIET, "STUB_URL": f"{url}/v1", "STUB_AGENTS": str(agents), "PYTHONPATH": paths}
    report = _told(_run(command, env))
    with urllib.request.urlopen(f"{url}/stats") as response:
        stub = json.load(response)
    assert stub["requests"] == (agents + 3) * swarm_measure.STEPS, stub
    return {**report, "in_flight": stub["peak"]}


def _run(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=600,
        preexec_fn=lambda: swarm_measure.pin(0),
    )  # fmt: skip


def _told(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    line = next((line for line in done.stdout.splitlines() if line.startswith("REPORT ")), None)
    if line is None:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300])
    report: dict[str, float] = json.loads(line.removeprefix("REPORT "))
    return report


def commands(wanted: str, cache: Path, before: Path | None) -> dict[str, Sequence[str]]:
    """How each engine that could be had is started."""
    names = list(PEERS) if wanted == "all" else [] if wanted == "none" else wanted.split(",")
    found: dict[str, Sequence[str]] = {}
    for name in dict.fromkeys([next(iter(PEERS)), *names]):
        python = environment(name, PEERS[name], cache)
        if isinstance(python, str):
            print(f"left out: {name} cannot be installed here: {python}")
        else:
            found[name] = [str(python), "-c", PEERS[name].program]
        if len(found) == 1:
            found[OURS] = [sys.executable, str(HERE / "swarm_ours.py")]
            if before is not None:
                paths = [str(before.resolve() / part) for part in ("src", "benchmarks")]
                program = (
                    f"import sys; sys.path[:0] = {paths!r}; import asyncio, swarm_ours; asyncio.run(swarm_ours.ours())"
                )
                found[BEFORE] = [sys.executable, "-c", program]
    return found


def compare(arguments: argparse.Namespace, url: str) -> dict[str, Report]:
    """The best of the rounds, since what else the machine does only ever adds; of the CPU the median beside it."""
    seen: dict[str, list[dict[str, float]]] = {}
    starts = commands(arguments.peers, arguments.cache, arguments.before)
    for _ in range(arguments.rounds):
        for name, command in list(starts.items()):
            try:
                report = run_once(command, url, arguments.agents)
                seen.setdefault(name, []).append(report)
                sys.stderr.write(f"{name}: {report['cpu_ms_per_step']:.2f} ms a step\n")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"left out: {name} does not run here: {error}")
                del starts[name]
                seen.pop(name, None)
    return {
        name: {
            **{key: (max if key == "in_flight" else min)(report[key] for report in reports) for key in reports[0]},
            "median_ms_per_step": statistics.median(report["cpu_ms_per_step"] for report in reports),
        }
        for name, reports in seen.items()
    }


def table(found: Mapping[str, Report]) -> list[str]:
    """The comparison, in Markdown."""
    floor, ours_ms = found["floor: aiohttp"]["cpu_ms_per_step"], found[OURS]["cpu_ms_per_step"]
    lines = [
        (
            "| engine | CPU ms/step, best | median | beside the floor | beside ours | peak in flight | wall s | build ms/agent"
            " | kept KB/agent | RSS MB |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, report in found.items():
        cpu = report["cpu_ms_per_step"]
        lines.append(
            f"| {name} | {cpu:.2f} | {report['median_ms_per_step']:.2f} | {cpu / floor:.1f}x | {cpu / ours_ms:.2f}x | {report['in_flight']:.0f}"
            f" | {report['wall_s']:.2f} | {report['build_ms_per_agent']:.2f} | {report['kept_kb_per_agent']:.0f}"
            f" | {report['rss_mb']:.0f} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="all", help="all, none, or names with commas")
    parser.add_argument("--before", type=Path, help="another checkout of this repository, to compare with")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "tercet" / "swarm-peers")
    parser.add_argument("--write", type=Path, help="also write the figures there, as Markdown")
    arguments = parser.parse_args()
    command = [sys.executable, str(HERE / "swarm_stub.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stub:
        assert stub.stdout is not None
        try:
            url = stub.stdout.readline().strip()
            found = compare(arguments, url)
            thousand = run_once([sys.executable, str(HERE / "swarm_ours.py")], url, 1000)
        finally:
            stub.kill()
    resumed = _told(_run([sys.executable, str(HERE / "swarm_ours.py"), "resume"], os.environ))
    lines = table(found)
    lines += [
        "",
        (
            f"1,000 agents in one process: {thousand['kept_kb_per_agent']:.0f} KB each, {thousand['rss_mb']:.0f} MB in all,"
            f" {thousand['in_flight']:.0f} in flight, {thousand['cpu_ms_per_step']:.2f} ms CPU a step."
        ),
        (
            f"A journal of 10,000 steps ({resumed['mb']:.0f} MB): opened and checked in {resumed['open_s']:.2f} s, folded in"
            f" {resumed['fold_s']:.2f} s, all steps read back after {resumed['total_s']:.2f} s."
        ),
        f"A fixed loop took {statistics.median(report['loop_ms'] for report in found.values()):.0f} ms meanwhile.",
    ]
    print("\n".join(lines))
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
