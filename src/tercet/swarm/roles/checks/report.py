"""Check a report on a CSV: `report.py DATA.csv REPORT.md`. Every number in a finding is derived anew from the data.

A finding is a line `- SENTENCE [F3]`: the sentence says the number of that fact once, as it is, and no other; it names the
fact's columns and statistic, no other statistic, and neither denies, ranks nor tells a trend.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

try:
    from tercet.swarm.roles.checks.facts import facts_of, load
except ImportError:  # in the sandbox it lies beside this file
    from facts import facts_of, load  # type: ignore[import-not-found,no-redef]

FINDINGS = 2
_FINDING = re.compile(r"- (?P<words>.+) \[(?P<fact>F\d+)\]")
_PICTURE = re.compile(r"!\[[^\]]*\]\((?P<path>[^)]+)\)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_SCALED = re.compile(r" ?(?:%|per ?cent\b|percentage|thousand\b|million\b|billion\b)|[a-z]", re.IGNORECASE)
"""After a number: another number."""
_BOUND = re.compile(
    r"\b(?:(?:more|less|fewer|greater|higher|lower|larger|smaller) than|over|under|above|below|at least|at most|up to) $",
    re.IGNORECASE,
)
"""Before a number: many numbers."""
_FOREIGN = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|second|third|fourth|fifth|twice|thrice|times|half|double[sd]?|triple[sd]?"
    r"|grow(?:s|n|ing)?|grew|rises?|rose|falls?|fell|drop(?:s|ped)?|increas(?:e[sd]?|ing)|decreas(?:e[sd]?|ing))\b|n't\b"
)
"""Denials, ranks, multiples and trends: nothing that was computed is one."""
_STATISTICS = (
    ("mean", "averag(?:e|es|ed|ing)"),
    ("median",),
    ("correlat(?:ion|es|ed|e)",),
    ("sum", "total"),
    ("highest", "largest", "maximum", "greatest", "biggest", "most"),
    ("lowest", "smallest", "minimum", "least"),
)
"""Words for one thing each; a sentence has to say the first four where its fact does."""
_NAMED = 4
_PNG = b"\x89PNG\r\n\x1a\n"


def finding_faults(words: str, fact: Mapping[str, object]) -> list[str]:
    """What is wrong with a sentence about a fact."""
    value, columns, text = str(fact["value"]), fact["columns"], str(fact["text"])
    assert isinstance(columns, list)
    words = words.replace("\N{MINUS SIGN}", "-")
    numbers = [found.replace(",", "") for found in _NUMBER.findall(words)]
    # A name or a label may hold digits of its own: they are no claim of the sentence.
    named = {found for part in (text, *columns) for found in _NUMBER.findall(str(part))}
    wrong = [found for found in numbers if not _same(found, value) and found not in named]
    faults = [f"it says {found}, which is not {value}" for found in wrong]
    if not any(_same(found, value) for found in numbers):
        faults.append(f"it does not say {value}")
    spoken = _plain(words)
    faults += [f"it does not name {column!r}" for column in columns if _plain(str(column)) not in spoken]
    label = str(fact["label"])
    if _plain(label) not in spoken:
        faults.append(f"it does not name {label!r}")
    names = "|".join(re.escape(str(name)) for name in (*columns, label) if name)
    bare = re.sub(names, " ", words, flags=re.IGNORECASE) if names else words
    return faults + _number_faults(bare, value) + _word_faults(spoken, _plain(text), value)


def _number_faults(words: str, value: str) -> list[str]:
    """What the words around the number make of it."""
    said = [found for found in _NUMBER.finditer(words) if _same(found[0].replace(",", ""), value)]
    around = [(_BOUND.search(words[: found.start()]), _SCALED.match(words[found.end() :])) for found in said]
    made = [beside[0].strip() for pair in around for beside in pair if beside]
    return [f"it says {word!r} with {value}" for word in made] + ([f"it says {value} more than once"] * (len(said) > 1))


def _word_faults(spoken: str, text: str, value: str) -> list[str]:
    """Another statistic than the fact's, none, or what no fact says. The words of the fact, names among them, are no fault."""
    faults = []
    for number, words in enumerate(_STATISTICS):
        said, meant = _words(words).search(spoken), _words(words).search(text)
        if said and not meant:
            faults.append(f"it says {said[0]!r}, and the fact does not")
        if meant and not said and number < _NAMED:
            faults.append(f"it does not say {meant[0]!r}")
    signs = {"positive": "-" in value, "negative": "-" not in value}
    faults += [f"it says {sign!r}" for sign, wrong in signs.items() if wrong and sign in spoken and sign not in text]
    known = _FOREIGN.findall(text)
    return faults + [f"it says {word!r}" for word in dict.fromkeys(_FOREIGN.findall(spoken)) if word not in known]


def _words(any_of: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(any_of)})\b")


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text.lower())


def _same(one: str, other: str) -> bool:
    return abs(float(one) - float(other)) < 1e-9


def faults(data: str, report: str, folder: Path) -> list[str]:
    """What is wrong with a report."""
    known = {str(fact["id"]): fact for fact in facts_of(load(data))}
    found: list[str] = []
    findings = [match for line in report.splitlines() if (match := _FINDING.fullmatch(line))]
    for match in findings:
        fact = known.get(match["fact"])
        why = [f"there is no fact {match['fact']}"] if fact is None else finding_faults(match["words"], fact)
        found += [f"{match['words'][:80]!r}: {fault}" for fault in why]
    if len({match["fact"] for match in findings}) < FINDINGS:
        found.append(f"it has fewer than {FINDINGS} findings")
    pictures = [match["path"] for match in _PICTURE.finditer(report)]
    if not pictures:
        found.append("it has no plot")
    for path in pictures:
        place = folder / path
        if ".." in Path(path).parts or not place.is_file() or not place.read_bytes().startswith(_PNG):
            found.append(f"{path!r} is no picture")
    return found


def main(data: str, report: str) -> int:
    """0 when the report is good."""
    place = Path(report)
    if not place.is_file():
        print(f"there is no {report}")  # noqa: T201 - a program's output
        return 1
    found = faults(data, place.read_text(encoding="utf-8"), place.parent)
    print("\n".join(found) or "good")  # noqa: T201 - a program's output
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
