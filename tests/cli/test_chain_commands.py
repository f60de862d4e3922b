"""Commands that read and write a chain: each as a process, against the embedded one."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tercet.chain.registry import MarketParams
from tercet.cli.frame import Group, TercetCommand
from tercet.cli.rules import read_rules_file, take_opening_options

from .conftest import Shell, covers, fields_of

TCT = 10**18


def schema_of(words: list[str]) -> set[str]:
    """The documented fields of a command."""
    command = importlib.import_module(f"tercet.cli.{words[0]}").command
    leaf = command.commands[words[1]] if isinstance(command, Group) else command
    assert isinstance(leaf, TercetCommand)
    assert leaf.schema is not None
    return set(leaf.schema)


READING = [
    ["chain", "show"],
    ["chain", "verify"],
    ["market", "list"],
    ["market", "show", "--market", "echo"],
    ["market", "params", "--market", "echo"],
    ["explain", "stake", "owner", "--market", "echo"],
    ["epoch", "show", "--market", "echo"],
    ["ledger", "balances"],
    ["ledger", "events", "--last", "5"],
    ["ledger", "events", "--market", "echo"],
    ["ledger", "receipts"],
    ["wallet", "list"],
    ["model", "list"],
    ["subnet", "list"],
    ["key", "list"],
    ["config", "show"],
]


def test_without_py_evm_the_development_chain_says_what_to_install(tmp_path: Path) -> None:
    """It is an extra, and who joins a market elsewhere does without it."""
    program = "import sys; sys.modules['eth'] = None; from tercet.cli import main; main()"
    words = ["chain", "start", "--port", "0", "--home", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'tercet[devnet]'" in done.stderr


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_json_has_the_documented_fields_and_nothing_else_on_stdout(town: Shell, words: list[str]) -> None:
    """Every reading command prints one object whose fields stand in its schema, and a table without --json."""
    town.run("key", "new", "laptop", "--budget", "1")
    done = town.run(*words, "--json")
    assert done.code == 0, done.err
    assert covers(schema_of(words), fields_of(done.json)), fields_of(done.json) - schema_of(words)
    plain = town.run(*words)
    assert plain.code == 0
    assert "{" not in plain.out.splitlines()[0] if plain.out else True
    assert "\x1b" not in plain.out + plain.err


def test_a_market_is_found_by_name_and_by_address(town: Shell) -> None:
    """Both say the same."""
    listed = town.run("market", "list", "--json").json["markets"][0]
    assert listed["bond"] == str(1_000 * TCT)
    by_name = town.run("market", "show", "--market", "echo", "--json").json
    by_address = town.run("market", "show", "--market", listed["address"], "--json").json
    assert by_name["rules"] == by_address["rules"]
    assert by_name["rules"]["subnet"] == "echo"


def test_an_unknown_market_is_wrong_usage(town: Shell) -> None:
    """The message names it and says where to look."""
    done = town.run("market", "show", "--market", "nowhere")
    assert done.code == 2
    assert "'nowhere'" in done.err
    assert "tercet market list" in done.err


def test_no_market_named_is_wrong_usage(town: Shell) -> None:
    """There is no guess."""
    assert town.run("market", "show").code == 2


def test_spending_needs_yes_without_a_terminal(town: Shell) -> None:
    """Exit code 3, the amount is shown, nothing is sent."""
    before = town.run("ledger", "balances", "--json").json
    done = town.spend("market", "sponsor", "--market", "echo", "--budget", "30", "--epochs", "3")
    assert done.code == 3
    assert "30 TCT" in done.err
    assert "--yes" in done.err
    assert town.run("ledger", "balances", "--json").json == before


def test_a_dry_run_shows_and_sends_nothing(town: Shell) -> None:
    """Exit code 0, the effect is shown, the money stays."""
    before = town.run("ledger", "balances", "--json").json
    for words in (
        ["market", "create", "echo", "--name", "second"],
        ["market", "sponsor", "--market", "echo", "--budget", "30", "--epochs", "3"],
        ["sponsor", "--market", "echo", "--budget", "30", "--epochs", "3"],
        ["mine", "echo", "--market", "echo"],
        ["validate", "echo", "--market", "echo", "--payer", "owner"],
    ):
        done = town.spend(*words, "--dry-run")
        assert done.code == 0, done.err
        assert "Dry run" in done.err
    assert town.run("ledger", "balances", "--json").json == before


def test_rules_are_proposed_shown_and_taken_back(town: Shell) -> None:
    """What `market params --json` prints is a file that --propose reads; the differences are shown before anything is sent."""
    shown = town.run("market", "params", "--market", "echo", "--json").json
    assert (shown["params"]["commit_seconds"], shown["effective_at"]) == ("600", 0)
    file = town.folder / "rules.json"
    file.write_text(json.dumps(shown))
    words = ["market", "params", "--market", "echo", "--propose", "rules.json"]
    same = town.spend(*words, "--yes")
    assert (same.code, "changes nothing" in same.err) == (2, True)
    file.write_text(json.dumps({"params": {**shown["params"], "weight_cap_bps": "25 %", "min_price": "2.5 TCT"}}))
    assert town.spend(*words).code == 3
    done = town.spend(*words, "--yes")
    assert done.code == 0, done.err
    assert "weight_cap_bps from 20 % to 25 %" in done.err
    assert "min_price from 1 TCT to 2.5 TCT" in done.err
    proposed = town.run("market", "params", "--market", "echo", "--json").json
    assert proposed["proposed"]["min_price"] == str(5 * TCT // 2)
    assert proposed["effective_at"] > 0
    assert "2.5 TCT" in town.run("market", "params", "--market", "echo").out
    assert town.spend("market", "params", "--market", "echo", "--cancel", "--yes").code == 0
    assert "proposed" not in town.run("market", "params", "--market", "echo", "--json").json


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('weight = "20 %"', "no rule"),
        ("weight_cap_bps = true", "Write a number"),
        ('weight_cap_bps = "some"', "percentage"),
        ('min_price = "0.5 eggs"', "TCT"),
        ("commit_seconds = [1]", "Write a number"),
        ("= 1", "neither JSON nor TOML"),
    ],
)
def test_a_bad_rules_file_is_wrong_usage(town: Shell, text: str, why: str) -> None:
    """The message names the file or the rule, and says what to write."""
    (town.folder / "bad.toml").write_text(text)
    done = town.spend("market", "create", "echo", "--params", "bad.toml", "--dry-run")
    assert done.code == 2, done.err
    assert why in done.err


def test_a_market_is_opened_with_rules_from_a_file_and_options(town: Shell) -> None:
    """Options win over the file, the file over what is usual."""
    (town.folder / "rules.toml").write_text('kappa = "0.6"\nmin_price = "3 TCT"\nweight_cap_bps = 3000\n')
    words = ["market", "create", "echo", "--name", "strict", "--params", "rules.toml", "--weight-cap", "40", "--yes"]
    made = town.spend(*words)
    assert made.code == 0, made.err
    rules = town.run("market", "params", "--market", made.out.strip(), "--json").json["params"]
    assert rules["kappa"] == str(6 * 10**17)
    assert rules["min_price"] == str(3 * TCT)
    assert rules["weight_cap_bps"] == "4000"
    assert rules["commit_seconds"] == "300"


def test_a_market_that_pays_in_credit_has_a_price_by_its_income(town: Shell) -> None:
    """Half of what a place earns: said by --income, refused when neither that nor a price is said, or it is too low."""
    words = ["market", "create", "echo", "--name", "paid in credit", "--pays-in", "credit", "--max-miners", "100"]
    unsaid = town.spend(*words, "--dry-run")
    assert unsaid.code == 2
    assert "--income 500" in unsaid.err
    low = town.spend(*words, "--price", "1", "--income", "1000", "--dry-run")
    assert low.code == 2
    assert "half of what a place earns is 4 TCT" in low.err
    said = town.spend(*words, "--price", "3", "--dry-run")
    assert (said.code, "worth at most 750 TCT" in said.err) == (0, True)
    far = town.spend(*words, "--income", "1000000", "--dry-run")
    assert (far.code, "Raise --max-price" in far.err) == (2, True)
    needless = town.spend("market", "create", "echo", "--income", "5", "--dry-run")
    assert (needless.code, "Leave it out" in needless.err) == (2, True)
    done = town.spend(*words, "--income", "1000", "--yes")
    assert done.code == 0, done.err
    assert "costs at least 4 TCT" in done.err
    rules = town.run("market", "params", "--market", done.out.strip(), "--json").json["params"]
    assert rules["min_price"] == str(4 * TCT)


def test_a_sponsor_pays_and_the_epoch_shows_it(town: Shell) -> None:
    """The number of the sponsorship goes to stdout; the market's reward is budget over epochs."""
    done = town.spend("market", "sponsor", "--market", "echo", "--budget", "30", "--epochs", "3", "--yes")
    assert (done.code, done.out.strip()) == (0, "0")
    assert town.run("market", "show", "--market", "echo", "--json").json["reward"] == str(10 * TCT)
    told = town.run("ledger", "events", "--market", "echo", "--name", "Sponsored", "--json").json["events"]
    assert [event["fields"]["rate"] for event in told] == [str(10 * TCT)]


def test_an_epoch_that_runs_cannot_be_closed(town: Shell) -> None:
    """The message says until when it runs."""
    done = town.spend("epoch", "close", "--market", "echo")
    assert done.code == 1
    assert "runs until" in done.err


def test_a_wrong_password_opens_no_wallet(town: Shell) -> None:
    """Exit code 1; nothing was changed."""
    (town.folder / "wrong").write_text("battery staple\n")
    done = town.run("mine", "echo", "--wallet", "owner", "--password-file", "wrong", "--yes")
    assert done.code == 1
    assert "does not open the key 'owner'" in done.err


def test_a_missing_wallet_says_how_to_make_it(town: Shell) -> None:
    """Nobody is asked for the password of a key that is not there."""
    done = town.spend("mine", "echo", wallet="ghost")
    assert done.code == 1
    assert "tercet wallet new ghost" in done.err


def test_amounts_are_read_strictly(town: Shell) -> None:
    """Half a base unit, a word, a negative number: wrong usage."""
    for amount in ("0.0000000000000000001", "much", "-1"):
        done = town.spend("market", "sponsor", "--market", "echo", f"--budget={amount}", "--epochs", "1", "--yes")
        assert done.code == 2, amount


def test_an_unknown_subnet_names_the_known_ones(town: Shell) -> None:
    """Wrong usage."""
    done = town.spend("mine", "knitting")
    assert done.code == 2
    assert "echo" in done.err


def test_an_unreachable_chain_is_exit_code_4(shell: Shell) -> None:
    """The message names the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = shell.run("market", "list", "--chain", url)
    assert done.code == 4
    assert url in done.err


def test_a_chain_without_our_contracts_says_how_to_put_them_there(town: Shell) -> None:
    """Another home knows no contracts on this chain."""
    url = town.run("chain", "show", "--json").json["url"]
    done = town.run("market", "list", "--chain", url, "--home", str(town.folder / "stranger"))
    assert done.code == 1
    assert "tercet chain deploy" in done.err


def test_a_deployment_of_another_chain_is_refused(town: Shell) -> None:
    """A file with another chain id is no use here."""
    shown = town.run("chain", "show", "--json").json
    file = town.folder / "foreign.json"
    file.write_text(json.dumps({**shown["contracts"], "chain_id": 5, "block": 0}))
    done = town.run("market", "list", environment={"TERCET_DEPLOYMENT": str(file)})
    assert done.code == 1
    assert "id" in done.err


def test_contracts_are_deployed_once_unless_said_otherwise(town: Shell) -> None:
    """`chain deploy` refuses where they are known, and with --replace puts new ones next to the old."""
    done = town.spend("chain", "deploy", "--yes")
    assert done.code == 3
    assert "--replace" in done.err


def test_a_faucet_is_needed_to_fund(shell: Shell) -> None:
    """Without a development chain under home nobody gives money away."""
    done = shell.run("wallet", "fund", "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")
    assert done.code == 2
    assert "tercet chain start" in done.err


def test_a_floor_goes_by_the_places_unless_one_is_named(tmp_path: Path) -> None:
    """Also when what is named is what a full market would have."""
    file = tmp_path / "rules.toml"
    file.write_text("floor_miners = 191\n")
    base = MarketParams("echo")
    assert take_opening_options(base, {"max_miners": "200"}, None).floor_miners == 150
    assert take_opening_options(base, {"max_miners": "200", "floor_miners": "191"}, None).floor_miners == 191
    assert take_opening_options(base, {"max_miners": "200"}, str(file)).floor_miners == 191
    assert take_opening_options(base, {}, None) == base


def test_text_in_a_file_is_a_persons_and_a_whole_number_the_contracts(tmp_path: Path) -> None:
    """Also text of digits only; but what `market params --json` printed is all the contract's."""
    file = tmp_path / "rules"
    file.write_text('kappa = "1"\nmin_price = "2"\nmax_price = 3\nrefund_bps = "20"\nfloor_miners = "4"\n')
    found = read_rules_file(file, MarketParams("echo"))
    assert (found.kappa, found.min_price, found.max_price) == (10**18, 2 * TCT, 3)
    assert (found.refund_bps, found.floor_miners) == (2_000, 4)
    file.write_text(json.dumps({"params": {name: str(value) for name, value in asdict(found).items()}}))
    assert read_rules_file(file, MarketParams("other")) == found


def test_money_is_sent_and_test_credit_made(town: Shell) -> None:
    """Shown first; only who deployed the credit makes more of it."""
    address = town.wallet("receiver")

    def row() -> dict[str, object]:
        rows = town.run("ledger", "balances", "--json").json["balances"]
        return next(row for row in rows if row["address"] == address)

    words = ("wallet", "send", "receiver", "--stake", "3", "--gas", "0.5")
    asked, dry = town.spend(*words), town.spend(*words, "--dry-run")
    assert (asked.code, dry.code, row()["stake"]) == (3, 0, "0")
    assert f"send 3 TCT, 0.5 of the chain's coin to {address}" in asked.err
    assert town.spend(*words, "--yes").code == 0
    assert (row()["stake"], row()["gas"]) == (str(3 * TCT), str(TCT // 2))
    assert town.spend("wallet", "send", "receiver", "--yes").code == 2
    assert town.spend("wallet", "send", "nobody", "--stake", "1", "--yes").code == 2
    refused = town.spend("wallet", "mint", "10", "--yes")
    assert (refused.code, "deployed the test credit" in refused.err) == (1, True), refused.err


def test_a_market_is_named_without_harm(town: Shell) -> None:
    """Anybody may open one under any name; none rings, or turns the words behind it round."""
    made = town.spend("market", "create", "echo", "--name", "echo\x07\u202e\nDone", "--yes")
    assert made.code == 0, made.err
    for words in (["market", "list"], *([noun, "show", "--market", made.out.strip()] for noun in ("market", "epoch"))):
        told = town.run(*words)
        assert told.code == 0, told.err
        assert any("echo   Done" in line for line in told.out.splitlines()), told.out
        assert told.out.replace("\n", "").isprintable()
