"""The matrix of combinations, read from copier.yml, so that every new choice there is tested."""

from __future__ import annotations

import functools
import heapq
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template

ROOT = Path(__file__).resolve().parent.parent.parent

# Questions that add files without changing the image: they are tested beside the matrix.
BESIDE = {"deploy"}
# How a combination's name spells answers whose values alone do not say enough.
SPELLINGS = {"python_version": "py{}".format, "multi_stage": {True: "multi", False: "single"}.__getitem__}


@functools.cache
def questions() -> dict[str, dict[str, Any]]:
    """Return copier.yml's questions that are asked, in order: name -> definition."""
    document = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    return {
        name: definition
        for name, definition in document.items()
        if not name.startswith("_") and definition.get("when") is not False
    }


def choices(name: str) -> list[Any]:
    """Return every answer that the question `name` allows, in copier.yml's order; [] for free text."""
    definition = questions()[name]
    if definition["type"] == "bool":
        return [True, False]
    return offered(definition.get("choices", []))


def offered(choices: Mapping[str, Any] | list[Any]) -> list[Any]:
    """Return the answers in a question's `choices`, which may have a title, and then a validator too."""
    answers = choices.values() if isinstance(choices, Mapping) else choices
    return [each["value"] if isinstance(each, Mapping) else each for each in answers]


def axes() -> dict[str, list[Any]]:
    """Return the questions that span the matrix, each with its choices."""
    return {name: choices(name) for name in questions() if name not in BESIDE and choices(name)}


def spell(name: str, answer: Any) -> str:
    """Return how `answer` to the question `name` reads in a combination's name; "" for a no that is the default."""
    if name in SPELLINGS:
        return SPELLINGS[name](answer)
    if isinstance(answer, bool):
        if not answer and not questions()[name]["default"]:
            return ""
        return ("" if answer else "no-") + name.removeprefix("use_")
    return str(answer)


@dataclass(frozen=True)
class Combination:
    """One point of the matrix."""

    name: str
    answers: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """A unique project slug, so that image and container names never clash."""
        return self.name.replace(".", "-")

    @property
    def data(self) -> dict[str, Any]:
        """All answers for Copier. The project name has characters that are special in HTML, and one beyond ASCII."""
        beside = {name: questions()[name]["default"] for name in BESIDE}
        return {"project_name": f"{self.name}'s Café & Co", "project_slug": self.slug, **beside, **self.answers}


def combinations() -> Iterator[Combination]:
    """Yield every combination, in copier.yml's order."""
    spans = axes()
    for values in itertools.product(*spans.values()):
        answers = dict(zip(spans, values, strict=True))
        yield Combination("-".join(filter(None, (spell(name, answer) for name, answer in answers.items()))), answers)


@functools.cache
def covering(strength: int = 3) -> tuple[Combination, ...]:
    """Return a few combinations that contain every choice of answers to any `strength` questions.

    Five questions of 2 to 4 choices give about a quarter of all; the minimum is the product of the `strength` longest
    lists of choices.
    """
    return cover(tuple(combinations()), strength)


@functools.cache
def covering_pairs() -> tuple[Combination, ...]:
    """Return about half of the covering combinations: they contain every choice of answers to any two questions.

    How many there are depends on which is looked at first: the fewest are taken.
    """
    rows = covering()
    return min((cover(rows[first:] + rows[:first], 2) for first in range(len(rows))), key=len)


def cover(candidates: tuple[Combination, ...], strength: int) -> tuple[Combination, ...]:
    """Return those of the candidates, each in turn the first that adds the most new groups, that contain all groups."""
    known = [groups(each, strength) for each in candidates]
    missing = set[tuple[tuple[str, Any], ...]]().union(*known)
    # The groups that each adds, as counted last: what it adds now is no more, so most need not be counted again.
    adds = [(-len(found), index) for index, found in enumerate(known)]
    heapq.heapify(adds)
    chosen: list[Combination] = []
    while missing:
        index = adds[0][1]
        now = (-len(missing & known[index]), index)
        if now > adds[0]:
            heapq.heapreplace(adds, now)
        else:
            chosen.append(candidates[index])
            missing -= known[index]
    return tuple(chosen)


def groups(combination: Combination, strength: int) -> set[tuple[tuple[str, Any], ...]]:
    """Return every choice of `strength` answers of a combination, each with its question."""
    return set(itertools.combinations(combination.answers.items(), strength))


def combination(name: str) -> Combination:
    """Return the combination called `name`; LookupError, naming the choices, if there is none."""
    found = {each.name: each for each in combinations()}
    try:
        return found[name]
    except KeyError:
        raise LookupError(f"No combination is called {name!r}. There are: {', '.join(found)}.") from None


def default_combination() -> Combination:
    """Return the combination of all default answers."""
    defaults = {name: questions()[name]["default"] for name in axes()}
    return next(each for each in combinations() if each.answers == defaults)


def pick(**answers: Any) -> Combination:
    """Return the first combination with these answers, and with the defaults to all other questions."""
    wanted = {**default_combination().answers, **answers}
    return next(each for each in combinations() if each.answers == wanted)


def images(combination: Combination) -> list[str]:
    """Return a combination's base images: Python's, then those of its database server and its queue, if any."""
    document = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    templates = [
        re.search(r"^ARG PYTHON_IMAGE=(.+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
        for dockerfile in (ROOT / "hooks" / "docker").glob("*_stage.Dockerfile")
    ]
    servers = [document[name]["default"] for name in document if name.endswith("_image")]
    found = [templates[0].group(1) if templates[0] else "", *servers]
    return [name for text in found if (name := Template(text).render(**combination.answers))]
