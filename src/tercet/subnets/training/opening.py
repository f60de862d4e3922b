"""Builds the validator's side from options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tercet.subnets.training.data import Corpus, read_corpus
from tercet.subnets.training.judge import Judge
from tercet.subnets.training.keeper import Keeper, parse_peers
from tercet.subnets.training.panel import Panel
from tercet.subnets.training.setting import build_setting
from tercet.subnets.training.store import FolderStore, Library, Store, open_store
from tercet.subnets.training.tasks import Rules

__all__ = ["open_panel"]


def open_panel(
    rules: Rules,
    *,
    corpus: str,
    base: str,
    folder: Path,
    store: str = "",
    peers: str = "",
    weight: float = 1.0,
    sync_seconds: float = 5.0,
    threads: int = 1,
    device: str = "cpu",
) -> Panel:
    """A validator's side, with its state taken up. Blocks.

    Raises:
        UsageError: an option names nothing.
        SubnetError: the state is of other rules, damaged, or in use.

    """
    setting = build_setting(rules, base, threads, device)
    encode = getattr(setting.trainee.module, "encode", None)
    text = Corpus.build(read_corpus(corpus), encode)
    chosen = replace(setting.rules, corpus=text.digest)
    others = parse_peers(peers)
    places: list[Store] = [FolderStore(folder / "store"), *(peer.store for peer in others)]
    places += [open_store(place.strip()) for place in store.split(",") if place.strip()]
    outer = setting.outer(chosen)
    library = Library(places, setting.codec, chosen.digest, outer)
    keeper = Keeper(folder, setting.trainee.size, chosen.digest, outer, library, others, sync_seconds)
    keeper.open(setting.begin(chosen), (text.digest, text.text))
    panel = Panel(setting, chosen, text, keeper, Judge(setting.trainee, text, chosen), weight)
    panel.export()
    return panel
