"""Diagnoses, checks, and how checks are applied to a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from inferenceservices.doctor.snapshot import ClusterSnapshot


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that is wrong."""

    subject: str
    """The object that it is about."""
    problem: str
    evidence: str
    """What was read, in the words of the cluster."""
    fix: str
    """The command that mends it, or that shows what must be decided."""


Diagnoses: TypeAlias = Iterator[Diagnosis]


@dataclass(frozen=True, slots=True)
class Check:
    """A check that finds one kind of fault."""

    name: str
    fault: str
    """What it finds, for the table in the guide."""
    needs: tuple[str, ...]
    """Resources without which it cannot say anything."""
    find: Callable[[ClusterSnapshot], Diagnoses]


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks found."""

    found: tuple[tuple[str, Diagnosis], ...]
    """Each diagnosis with the name of its check."""
    unchecked: tuple[tuple[str, str], ...]
    """Names of checks that could not see what they need, each with the reason."""


def examine(checks: Iterable[Check], snapshot: ClusterSnapshot) -> Examination:
    """Apply every check whose resources were read."""
    found: list[tuple[str, Diagnosis]] = []
    unchecked = []
    for check in checks:
        hidden = [snapshot.unseen[resource] for resource in check.needs if resource in snapshot.unseen]
        if hidden:
            unchecked.append((check.name, "; ".join(hidden)))
            continue
        found += ((check.name, diagnosis) for diagnosis in dict.fromkeys(check.find(snapshot)))
    return Examination(tuple(found), tuple(unchecked))
