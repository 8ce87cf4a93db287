"""What an earlier run left, made once by the program itself, so that it can be damaged and met again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from random import Random

from tests.hardening.arena import Case, Outcome, fight


class Unmade(Exception):
    """The earlier run did not end well; there is nothing to damage."""


class Later(Mapping[str, bytes]):
    """Files that are made when a case begins: drawing its cases costs nothing, and the same are drawn again.

    Args:
        random: of the generator; one number is drawn from it.
        make: the files, with random numbers of its own.
    """

    def __init__(self, random: Random, make: Callable[[Random], Mapping[str, bytes]]) -> None:
        self._seed, self._make = random.random(), make
        self._made: Mapping[str, bytes] | None = None

    def _files(self) -> Mapping[str, bytes]:
        if self._made is None:
            self._made = self._make(Random(self._seed))
        return self._made

    def __getitem__(self, name: str) -> bytes:
        """The content of a file."""
        return self._files()[name]

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._files())

    def __len__(self) -> int:
        """How many there are."""
        return len(self._files())


def left_by(case: Case) -> Mapping[str, bytes]:
    """All files in the folder of ``case`` when it has ended with status 0; those that it was given too.

    Raises:
        Unmade: it ended otherwise, or not as promised.
    """
    return _left_by(case.command, case.arguments, tuple(case.files.items()), tuple(case.environment.items()))


@cache
def _left_by(
    command: str,
    arguments: tuple[str, ...],
    files: tuple[tuple[str, bytes], ...],
    environment: tuple[tuple[str, str], ...],
) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}

    def collect(outcome: Outcome) -> Iterable[str]:
        if outcome.status != 0:
            yield f"status {outcome.status}: {outcome.stderr.decode('utf-8', 'replace')[:300]}"
        for path in sorted(outcome.folder.rglob("*")):
            if path.is_file():
                found[path.relative_to(outcome.folder).as_posix()] = path.read_bytes()

    case = Case("earlier run", command, arguments, dict(files), environment=dict(environment), check=collect)
    for verdict in fight([case], seconds=120):
        if verdict.failures:
            raise Unmade(f"{command} {' '.join(arguments)}: {verdict.failures}")
    return found
