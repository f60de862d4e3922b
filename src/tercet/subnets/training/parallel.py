"""The inner loop on several GPUs or machines: torch's own DDP or FSDP, started by torchrun.

The miner stays one process. For each round it writes what the loop starts from to a folder, runs torchrun on this module,
and reads back the trained values and Adam's state. Each process trains on its part of every batch, so the mean gradient
is that of the whole batch, and the result is the single process's up to the order of additions.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tercet.errors import SubnetError, UsageError
from tercet.subnets.training.device import find_device
from tercet.subnets.training.inner import Batches, Inner, Learner, Memory, build_optimizer, take_steps
from tercet.subnets.training.model import Trainee, Vector
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import Rules

__all__ = ["TorchrunLearner"]

ROUND_SECONDS = 24 * 3600.0
JOIN_SECONDS = 300.0
"""In which all processes must have started and exchanged a first number; a base is read only then."""
_JOINED, _ERRORS = "joined", "errors"


@dataclass(slots=True)
class TorchrunLearner(Learner):
    """A learner whose loop runs in other processes."""

    setting: Setting | None = None
    base: str = ""
    processes: int = 2
    parallel: str = "ddp"
    threads: int = 1
    """Of the CPU, in each process."""
    limit: float = ROUND_SECONDS
    """Seconds that a round may take."""
    device: str = "auto"
    """A GPU for each process where there are any; the one that is named, or the processor, for all."""
    seconds: float = field(default=0.0, init=False)
    """That the steps of the last round took, without the start of the processes."""
    moments: tuple[Vector, Vector] = field(init=False, repr=False)

    @classmethod
    def build(
        cls,
        setting: Setting,
        inner: Inner,
        base: str,
        processes: int,
        parallel: str,
        threads: int = 1,
        device: str = "auto",
    ) -> TorchrunLearner:
        """For `processes` on this machine.

        Raises:
            UsageError: there is no such device, or there are too few.

        """
        if find_device(device).type == "cuda" and device == "auto" and processes > torch.cuda.device_count():
            raise UsageError(
                f"{processes} processes need a GPU each, since nccl takes no two on one; there are "
                f"{torch.cuda.device_count()}. Use -o processes={torch.cuda.device_count()}, or let them share one: "
                "-o device=cuda:0."
            )
        learner = cls(setting.trainee, setting.codec, inner, setting=setting, base=base, processes=processes)
        learner.parallel, learner.threads, learner.device = parallel, threads, device
        return learner

    def __post_init__(self) -> None:
        """Nothing was learned yet."""
        size = self.trainee.size
        self.leftover, self.moments = (
            np.zeros(size, np.float32),
            (np.zeros(size, np.float32), np.zeros(size, np.float32)),
        )
        self.optimizer = build_optimizer(self.trainee.values, self.inner)

    def improve(self, theta: Vector, batches: Batches) -> Vector:
        """As in one process.

        Raises:
            SubnetError: torchrun failed; its last words are in the message.

        """
        assert self.setting is not None
        if batches.shape[1] % self.processes:
            raise SubnetError(
                f"A batch of {batches.shape[1]} windows is not shared evenly by {self.processes} processes."
            )
        with tempfile.TemporaryDirectory(prefix="tercet-training-") as place:
            folder = Path(place)
            save_file(
                {"theta": theta, "first": self.moments[0], "second": self.moments[1], "batches": batches},
                folder / "in.safetensors",
            )
            order = {
                "rules": asdict(self.setting.rules),
                "base": self.base,
                "inner": asdict(self.inner),
                "steps": self.steps,
                "parallel": self.parallel,
                "threads": self.threads,
                "device": self.device,
            }
            (folder / "order.json").write_text(json.dumps(order))
            self._run(folder)
            found = load_file(folder / "out.safetensors")
        self.loss, self.seconds = float(found["loss"][0]), float(found["seconds"][0])
        self.moments = found["first"], found["second"]
        self.steps += len(batches)
        return found["theta"] - theta

    def remember(self) -> Memory:
        """A copy of what the next round builds on."""
        return Memory(self.steps, self.leftover.copy(), *self.moments)

    def restore(self, memory: Memory) -> None:
        """Go on from there."""
        self.steps, self.leftover, self.moments = memory.steps, memory.leftover.copy(), (memory.first, memory.second)

    def _run(self, folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--local-addr=127.0.0.1",
            f"--nproc-per-node={self.processes}",
        ]
        command += ["-m", "tercet.subnets.training.parallel", str(folder)]
        with (folder / _ERRORS).open("w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=_environment())
            try:
                self._wait(process, folder)
            finally:
                _stop(process)
        if process.returncode:
            said = _read_errors(folder)
            words = "\n".join([line for line in said if line.startswith("[rank")][-6:] or said[-6:])
            raise SubnetError(f"The inner loop in {self.processes} processes ended with {process.returncode}:\n{words}")

    def _wait(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        began = time.monotonic()
        while process.poll() is None:
            passed = time.monotonic() - began
            if passed > min(JOIN_SECONDS, self.limit) and not (folder / _JOINED).exists():
                words = "\n".join(_read_errors(folder)[-6:])
                raise SubnetError(
                    f"The {self.processes} processes of the inner loop did not find each other in {passed:.0f} s. "
                    "They talk over the loopback interface, or the one that NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME "
                    f"name; NCCL_DEBUG=INFO says more. The last that they said:\n{words}"
                )
            if passed > self.limit:
                raise SubnetError(
                    f"The inner loop in {self.processes} processes was stopped after {self.limit:g} s: it had started, "
                    "and is too slow, or one process waits for another that hangs."
                )
            time.sleep(0.05)


def _environment() -> dict[str, str]:
    """All processes are on this machine: without these, each would be looked for under the host's name, known or not."""
    found = dict(os.environ)
    if "lo" in {name for _, name in socket.if_nameindex()}:
        for library in ("GLOO", "NCCL"):
            found.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Torchrun takes its processes with it where it is asked to end; killed, it leaves them behind."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read_errors(folder: Path) -> list[str]:
    return (folder / _ERRORS).read_text(errors="replace").strip().splitlines()


def main(folder: Path) -> None:
    """One process of the loop; torchrun says which."""
    order: Mapping[str, Any] = json.loads((folder / "order.json").read_text())
    given = load_file(folder / "in.safetensors")
    device, backend = _choose(order["device"])
    distributed.init_process_group(backend)
    try:
        rank, world = distributed.get_rank(), distributed.get_world_size()
        distributed.all_reduce(torch.ones(1, device=device))
        (folder / _JOINED).touch()
        setting = build_setting(Rules(**order["rules"]), order["base"], order["threads"], str(device))
        setting.trainee.load(given["theta"])
        module = setting.trainee.module
        steps, share = int(order["steps"]), given["batches"].shape[1] // world
        batches = given["batches"][:, rank * share : (rank + 1) * share]
        inner = Inner(**order["inner"])
        found = _train(module, setting, order["parallel"], inner, given, batches, steps)
        if rank == 0:
            save_file(found, folder / "out.safetensors")
    finally:
        distributed.destroy_process_group()


def _choose(name: str) -> tuple[torch.device, str]:
    """(the device of this process, what all of them talk by): nccl with a GPU each, gloo where all share one."""
    device, world = find_device(name), int(os.environ["WORLD_SIZE"])
    if device.type == "cpu":
        return device, "gloo"
    if name == "auto":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device, "nccl" if name == "auto" or world == 1 else "gloo"


def _train(
    module: torch.nn.Module,
    setting: Setting,
    parallel: str,
    inner: Inner,
    given: Mapping[str, Any],
    batches: Batches,
    steps: int,
) -> dict[str, Any]:
    """Train a share of each batch together with the others; the whole result."""
    names = [name for name, _ in setting.trainee.shapes]
    wrapped: Any
    if parallel == "fsdp":
        mesh = init_device_mesh(setting.trainee.device.type, (distributed.get_world_size(),))
        for child in module.children():
            for layer in child if isinstance(child, torch.nn.ModuleList) else ():
                fully_shard(layer, mesh=mesh)
        wrapped = fully_shard(module, mesh=mesh)
    else:
        wrapped = DistributedDataParallel(module)
    trained = [value for value in module.parameters() if value.requires_grad]
    optimizer = build_optimizer(trained, inner)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, broadcast_from_rank0=False)
    if steps:
        parts = _named(given["first"], given["second"], setting.trainee, steps)
        state: dict[str, Any] = {"state": parts, "param_groups": [{**_group(optimizer), "params": _order(module)}]}
        set_optimizer_state_dict(module, optimizer, state, options=options)
    device = next(iter(trained)).device

    def loss(windows: torch.Tensor) -> torch.Tensor:
        windows = windows.to(device)
        logits = wrapped(windows[:, :-1])
        return torch.nn.functional.cross_entropy(logits.transpose(1, 2), windows[:, 1:])

    began = time.monotonic()
    mean = torch.tensor(take_steps(module, loss, optimizer, batches, inner, steps), device=device)
    seconds = time.monotonic() - began
    distributed.all_reduce(mean)
    values: Mapping[str, Any] = get_model_state_dict(module, options=options)
    moments: Mapping[str, Any] = get_optimizer_state_dict(module, optimizer, options=options).get("state", {})  # type: ignore[assignment]

    def flat(parts: list[Any]) -> Vector:
        return np.concatenate([part.float().cpu().numpy().reshape(-1) for part in parts])

    if distributed.get_rank():
        return {}
    return {
        "theta": flat([values[name] for name in names]),
        "first": flat([moments[name]["exp_avg"] for name in names]),
        "second": flat([moments[name]["exp_avg_sq"] for name in names]),
        "loss": np.array([float(mean) / distributed.get_world_size()]),
        "seconds": np.array([seconds]),
    }


def _named(first: Vector, second: Vector, trainee: Trainee, steps: int) -> dict[str, dict[str, torch.Tensor]]:
    cuts = np.cumsum(trainee.sizes)[:-1]
    return {
        name: {
            "step": torch.tensor(float(steps)),
            "exp_avg": torch.from_numpy(one.copy()).view(shape),
            "exp_avg_sq": torch.from_numpy(two.copy()).view(shape),
        }
        for (name, shape), one, two in zip(trainee.shapes, np.split(first, cuts), np.split(second, cuts), strict=True)
    }


def _group(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}


def _order(module: torch.nn.Module) -> list[str]:
    return [name for name, value in module.named_parameters() if value.requires_grad]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
