"""The writer: short texts, each piece bound by a schema and judged by a program; the best of several samples is kept.

A changelog entry names the changed functions by construction: the model is asked what was wrong with one of them, and
the program puts the entry where it belongs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tercet.errors import AttemptError
from tercet.swarm.roles.checks.changelog import WIDTH, changed_functions, faults, function_text
from tercet.swarm.workbench import Made, Workbench

__all__ = ["Writer", "insert_entries", "judge_sentence", "tidy_sentence"]

_SAMPLES = 6
_MOST = 110
"""Characters of a sentence, before it is judged."""
_HEAD = "# Changelog"
_OPENINGS = frozenset({
    "and", "been", "by", "code", "fix", "fixed", "function", "has", "is", "it", "now", "so", "that", "this", "to", "was", "we",
})  # fmt: skip
"""How models begin, and what says nothing."""
_JOINT = re.compile(r",? (?:after|and|because|before|by|if|so that|when|where|which|while) |, ")
"""Where a sentence could have ended."""
_ARTICLES = frozenset({"a", "an", "the"})


class Writer:
    """Writes what its task claims. Options: `text` (changelog, note), `samples`, `words`; of a note `mentions`, words that it
    has to hold, alternatives between bars: it is sampled until it does.
    """

    kind: Literal["model"] = "model"

    async def work(self, bench: Workbench) -> Made:
        """Write the file."""
        if not bench.task.outputs:
            raise AttemptError("A writer's task names the file to write, as its first output.", final=True)
        default = "changelog" if "change" in bench.task.outputs[0].lower() else "note"
        if bench.task.options.get("text", default) == "changelog":
            return await self._changelog(bench, bench.task.outputs[0])
        return await self._note(bench, bench.task.outputs[0])

    async def _changelog(self, bench: Workbench, path: str) -> Made:
        before = {name: _text(bench, bench.original, name) for name in bench.original if name.endswith(".py")}
        after = {name: _text(bench, bench.before, name) for name in bench.before if name.endswith(".py")}
        changed = changed_functions(before, after)
        if not changed:
            raise AttemptError("No Python function was changed, so there is nothing to tell.", final=True)
        known = await bench.recall()
        entries = [await self._entry(bench, place, name, before, after, known) for place, name in changed]
        old = bench.read(path)
        new = insert_entries(old, entries)
        wrong = faults(old, new, [name.rpartition(".")[2] for _, name in changed])
        if wrong:
            raise AttemptError(f"The entry is not good: {'; '.join(wrong[:3])}.")
        bench.write(path, new)
        return Made(f"model {bench.model}".strip(), f"{len(entries)} entries")

    async def _entry(
        self,
        bench: Workbench,
        path: str,
        name: str,
        before: Mapping[str, str],
        after: Mapping[str, str],
        known: str,
    ) -> str:
        """`- Fix NAME: what was wrong.`"""
        short = name.rpartition(".")[2]
        diff = _diff(before.get(path, ""), after[path], name)
        about = {*re.findall(r"[a-z]{4,}", diff.lower()), *re.findall(r"[a-z]{3,}", short.lower())}
        messages = [
            {
                "role": "system",
                "content": "You write changelogs. You describe a bug fix in one short sentence of plain English.",
            },
            {
                "role": "user",
                "content": f"The function `{short}` was fixed:\n\n{diff[:1500]}\n\n{_before(known)}Say in at most 12 words what `{short}` does "
                "right now that it did wrong before. No code.",
            },
        ]
        room = WIDTH - len(f"- Fix `{short}`: .")
        schema = {
            "type": "object",
            "properties": {"sentence": {"type": "string", "minLength": 12, "maxLength": _MOST}},
            "required": ["sentence"],
            "additionalProperties": False,
        }
        best = await _best(bench, messages, schema, room, about, short)
        return f"- Fix `{short}`: {best}."

    async def _note(self, bench: Workbench, path: str) -> Made:
        """A short text in plain paragraphs, from the task's words and its input files."""
        sources = "\n\n".join(f"{name}:\n{bench.read(name)[:1500]}" for name in list(bench.before)[:6])
        words = int(bench.task.options.get("words", 120))
        known = _before(await bench.recall())
        asked = f"{bench.task.title}\n{bench.task.detail}\n\n{sources}\n\n{known}Write at most {words} words."
        mentions = [frozenset(str(each).lower().split("|")) for each in bench.task.options.get("mentions", ())]
        # Small models copy what they are told of a failure: where samples can be judged here, they are drawn afresh.
        if bench.failure and not mentions:
            asked += f"\n\nAn earlier text was refused: {bench.failure[:300]}"
        messages = [
            {"role": "system", "content": "You write short, plain texts. You answer with the text alone."},
            {"role": "user", "content": asked},
        ]
        for sample in range(int(bench.task.options.get("samples", _SAMPLES))):
            thought = await bench.think(
                messages, max_tokens=3 * words, temperature=0.7 if sample else 0.0, seed=_seed(bench, sample)
            )
            text = thought.text.strip()
            said = set(re.findall(r"\w+", text.lower()))
            fits = 3 <= len(text.split()) <= words and thought.finish != "length"
            if fits and all(said & each for each in mentions):
                bench.write(path, text + "\n")
                return Made(f"model {bench.model}".strip())
        named = f" that mentions {', '.join(' or '.join(sorted(each)) for each in mentions)}" if mentions else ""
        raise AttemptError(f"No sample was a text of at most {words} words{named}.")


def tidy_sentence(said: str, name: str) -> str:
    """The part of an answer that tells something: without its way of beginning, and no longer than its first clause.

    Of an answer that was cut off, what stands before its last joint; empty where there is none.
    """
    text = " ".join(said.replace("`", "").split())
    words, own = text.split(" "), {*_OPENINGS, name.lower()}
    while words and (_bare(words[0]) in own or (_bare(words[0]) in _ARTICLES and _bare("".join(words[1:2])) in own)):
        words.pop(0)
    clause = re.split(r"[.;]( |$)", " ".join(words), maxsplit=1)[0]
    ended = len(said) < _MOST - 1 or len(clause) < len(" ".join(words)) - 1
    if not ended:
        joints = [joint.start() for joint in _JOINT.finditer(clause)]
        clause = clause[: joints[-1]] if joints else ""
    return clause.strip(" .,:;!")


def _bare(word: str) -> str:
    return re.sub(r"\W", "", word).lower()


def judge_sentence(sentence: str, room: int, about: set[str]) -> float:
    """How good a sentence is; 0 or less is refused. What it shares with the change counts for it."""
    words = re.findall(r"[a-z']+", sentence.lower())
    plain = sentence.isprintable() and not set(sentence) & set('`{}\\"<>=#*_|') and sentence[:1].isalpha()
    if not plain or not 4 <= len(words) <= 18 or len(sentence) > room or ". " in sentence:
        return 0.0
    if len(set(words)) < 0.7 * len(words) or re.search(
        r"\b(sorry|cannot|as an ai|i am|i have|here is)\b", sentence.lower()
    ):
        return 0.0
    stems = {word[:5] for word in about}
    return 1.0 + len({word[:5] for word in words if len(word) > 3} & stems)


def insert_entries(old: str, entries: Sequence[str]) -> str:
    """The changelog with entries under Unreleased, Fixed; the headings are made where they are missing."""
    lines = old.splitlines() or [_HEAD]
    section = next((i for i, line in enumerate(lines) if re.match(r"##\s+\[?unreleased", line, re.IGNORECASE)), None)
    if section is None:
        first = next((i for i, line in enumerate(lines) if line.startswith("## ")), len(lines))
        before = lines[:first] + ([""] if first and lines[first - 1].strip() else [])
        block = ["## Unreleased", "", "### Fixed", "", *entries]
        rest = lines[first:]
        return "\n".join([*before, *block, *([""] if rest else []), *rest]) + "\n"
    end = next((i for i in range(section + 1, len(lines)) if lines[i].startswith("## ")), len(lines))
    fixed = next((i for i in range(section + 1, end) if re.fullmatch(r"###\s+Fixed\s*", lines[i])), None)
    if fixed is None:
        block = ["", "### Fixed", "", *entries]
        return "\n".join([*lines[: section + 1], *block, *lines[section + 1 :]]) + "\n"
    at = fixed + 1
    while at < end and not lines[at].strip():
        at += 1
    return "\n".join([*lines[:at], *entries, *lines[at:]]) + "\n"


async def _best(
    bench: Workbench,
    messages: Sequence[Mapping[str, str]],
    schema: Mapping[str, Any],
    room: int,
    about: set[str],
    name: str,
) -> str:
    """The best of several samples, as the program judges them."""
    scored: list[tuple[float, int, str]] = []
    for sample in range(int(bench.task.options.get("samples", _SAMPLES))):
        found = await bench.think_json(
            messages, schema, max_tokens=64, temperature=0.7 if sample else 0.0, seed=_seed(bench, sample)
        )
        sentence = tidy_sentence(str((found or {}).get("sentence", "")), name)
        score = judge_sentence(sentence, room, about)
        scored.append((score, -sample, sentence))
        if score >= 3:
            break
    score, _, sentence = max(scored)
    if score <= 0:
        raise AttemptError(f"None of {len(scored)} samples was a plain sentence that fits.")
    return sentence


def _before(known: str) -> str:
    """What is known, as a paragraph before the last one."""
    return f"{known}\n\n" if known else ""


def _seed(bench: Workbench, sample: int) -> int:
    return 1000 * bench.attempt + sample


def _text(bench: Workbench, files: Any, path: str) -> str:
    return str(bench.store.get(files[path]).decode(errors="replace"))


def _diff(before: str, after: str, name: str) -> str:
    """Of one function: a small model that is shown two tells of one what was done to the other. Else of the module."""
    old, new = function_text(before, name), function_text(after, name)
    if not new:
        old, new = before, after
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "after", lineterm="", n=3)
    return "\n".join(list(lines)[2:])
