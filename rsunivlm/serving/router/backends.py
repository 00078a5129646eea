"""The servers behind the router: which expert each serves, which of them answer, which is least busy.

Their addresses come from the operator's command line and from nowhere else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from rsunivlm.tasks import Granularity

ALL = "all"  # names what serves every expert, and the only expert of a dense model
PROBE_SECONDS = 5.0
PROBE_TIMEOUT = 2.0
logger = logging.getLogger("uvicorn.error")


@dataclass
class Backend:
    """One server of one expert.

    Attributes:
        expert: Name of the expert.
        url: Its address, without `/v1`.
        model: Name under which it serves the expert; None leaves the name out, as servers of one model allow.
        up: Whether it answered last time.
        open: Questions it is answering for us.
        turn: When it was chosen last, as a count.
    """

    expert: str
    url: str
    model: str | None = None
    up: bool = True
    open: int = 0
    turn: int = 0

    def note(self, up: bool) -> None:
        """Remember whether it answered, and log a change."""
        if up != self.up:
            logger.warning(
                "backend %s of expert %s %s", self.url, self.expert, "answers again" if up else "is down"
            )
        self.up = up


class Backends:
    """All servers behind a router, by expert.

    Args:
        of_expert: The servers of each expert; none is empty.
    """

    def __init__(self, of_expert: Mapping[int, Sequence[Backend]]) -> None:
        self.of_expert = of_expert
        self._turns = itertools.count(1)

    def __iter__(self) -> Iterator[Backend]:
        for backends in self.of_expert.values():
            yield from backends

    def choose(self, expert: int, tried: Sequence[Backend] = ()) -> Backend | None:
        """The server of an expert to ask next: one that answers, the least busy, each in its turn.

        Args:
            expert: Index of the expert.
            tried: Servers that are not asked again.

        Returns:
            None when all have been tried.
        """
        left = [backend for backend in self.of_expert[expert] if backend not in tried]
        return min(left, key=lambda backend: (not backend.up, backend.open, backend.turn), default=None)

    @contextmanager
    def asking(self, backend: Backend) -> Iterator[None]:
        """Count a question as open while it is asked."""
        backend.open += 1
        backend.turn = next(self._turns)
        try:
            yield
        finally:
            backend.open -= 1

    async def watch(self, client: httpx.AsyncClient) -> None:
        """Ask every server for its health, again and again."""
        while True:
            await asyncio.gather(*(_probe(client, backend) for backend in self))
            await asyncio.sleep(PROBE_SECONDS)

    def states(self) -> dict[str, list[str]]:
        """`up` or `down` of each expert's servers, in the order of the command line."""
        states: dict[str, list[str]] = {}
        for backend in self:
            states.setdefault(backend.expert, []).append("up" if backend.up else "down")
        return states


async def _probe(client: httpx.AsyncClient, backend: Backend) -> None:
    try:
        response = await client.get(f"{backend.url}/health", timeout=PROBE_TIMEOUT)
    except httpx.TransportError:
        backend.note(up=False)
    else:
        backend.note(up=response.status_code < 500)  # what knows no such address answers nevertheless


def expert_names(num_experts: int) -> list[str]:
    """Names of a checkpoint's experts on the command line."""
    if num_experts == 1:
        return [ALL]
    return [Granularity(index).name.lower() for index in range(num_experts)]


def read_backends(urls: Iterable[str], models: Iterable[str], num_experts: int) -> Backends:
    """Servers as they are named on the command line.

    Args:
        urls: `URL` or `EXPERT=URL` each; several of one expert share its questions.
        models: `NAME` or `EXPERT=NAME` each: under which name the servers of an expert know it.
        num_experts: Experts of the checkpoint.

    Raises:
        ValueError: An unknown expert, an address that is none, an expert without a server, two names of one
            expert.
    """
    names = expert_names(num_experts)
    addresses: dict[str, list[str]] = {name: [] for name in names}
    for text in urls:
        experts, url = _split(text, names)
        for name in experts:
            addresses[name].append(_checked(url))
    known: dict[str, str] = {}
    for text in models:
        experts, model = _split(text, names)
        for name in experts:
            if known.setdefault(name, model) != model:
                raise ValueError(f"the model of expert {name!r} has two names, {known[name]!r} and {model!r}")
    if missing := [name for name, found in addresses.items() if not found]:
        raise ValueError(f"no backend for expert {missing[0]!r}: add --backend {missing[0]}=http://HOST:PORT")
    return Backends(
        {
            index: [Backend(name, url, known.get(name)) for url in dict.fromkeys(addresses[name])]
            for index, name in enumerate(names)
        }
    )


def _split(text: str, names: list[str]) -> tuple[list[str], str]:
    """`EXPERT=VALUE` to the experts it is about and the value."""
    expert, sign, value = text.partition("=")
    if not sign or "/" in expert:  # a URL may have a = further on
        return names, text
    if expert == ALL:
        return names, value
    if expert not in names:
        raise ValueError(f"unknown expert {expert!r} in {text!r}; this checkpoint has {', '.join(names)}")
    return [expert], value


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"backend {url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(f"backend {url!r} is no address of the form http://HOST:PORT")
    return str(parsed).rstrip("/").removesuffix("/v1")
