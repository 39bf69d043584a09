"""Between the processes and the store: questions, and the connections of the feeds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from bb5_breaker._core.commands import Command
from bb5_breaker._store.push.frames import Channel, Confirmation, Frame, Message, Pong

from .threads import Question
from .timeline import Timeline
from .weather import Weather

if TYPE_CHECKING:
    from .calls import Call
    from .process import Process
    from .store import SimulatedStore

__all__ = ["Connection", "Network", "Request"]


@dataclass(slots=True)
class Request:
    """A command under its sender's number, and whose calls it reports."""

    command: Command
    sender: str
    sequence: int
    calls: list[Call] = field(default_factory=list)
    taken_at: float = 0.0


class Network:
    """Delays, loses and repeats requests; carries pushes in order, until it cuts a connection."""

    def __init__(self, timeline: Timeline, weather: Weather, store: SimulatedStore) -> None:
        self.timeline = timeline
        self.weather = weather
        self.store = store

    def ask(self, process: Process, requests: Sequence[Request]) -> Question:
        """Send requests in one round trip; what is executed and what is answered may differ."""
        question, weather, after = Question(process), self.weather, self.timeline.after
        there, back = weather.delay(), weather.delay()
        given_up = there + back > weather.patience or process.is_cut_off or weather.is_lost()
        if given_up:
            after(weather.patience, question.answer, None)
        if not (process.is_cut_off or (given_up and weather.is_lost())):
            after(there, self._execute, requests, None if given_up else question, back)
            if weather.is_repeated():
                after(there + weather.delay(), self._execute, requests, None, 0.0)
        return question

    def connect(self, process: Process) -> Connection | None:
        """Return a new connection; None when there is no way."""
        if process.is_cut_off or self.weather.is_lost():
            return None
        connection = Connection(self, process)
        self.store.connections.append(connection)
        return connection

    def _execute(self, requests: Sequence[Request], question: Question | None, back: float) -> None:
        replies = [self.store.execute(request) for request in requests]
        if question is not None:
            self.timeline.after(back, question.answer, replies)


class Connection:
    """One connection of a feed: what a ``Wire`` is to it here, and the store's end there."""

    def __init__(self, network: Network, process: Process) -> None:
        self.channels: set[bytes] = set()
        self.pause = 0.0
        self.has_read = False
        self._network = network
        self._process = process
        self._inbox: deque[Frame] = deque()
        self._pings: deque[float] = deque()
        # For each message, the place of the state that it tells of.
        self._places: deque[int] = deque()
        self._is_up = True
        self._is_broken = False
        # Nothing overtakes on one connection.
        self._last_up = self._last_down = 0.0

    def send(self, commands: Iterable[tuple[bytes, ...]]) -> None:
        """Send commands to the store."""
        for command in commands:
            if command[0] == b"PING":
                self._pings.append(self._process.clock())
            now = self._network.timeline.now
            self._last_up = max(self._last_up, now + self._network.weather.delay())
            self._network.timeline.at(self._last_up, self._execute, command)

    def wait(self, seconds: float) -> None:
        """Note how long the feed wants to wait; it is done when it has nothing else to do."""
        self.pause = seconds

    def read(self) -> Iterator[Frame]:
        """Return what has arrived."""
        while self._inbox:
            self.has_read = True
            frame = self._inbox.popleft()
            if isinstance(frame, Pong):
                self._process.pinged_at = self._pings.popleft()
            elif isinstance(frame, Message):
                self._process.heard = self._places.popleft()
            yield frame
        if self._is_broken:
            raise RedisConnectionError("connection reset")

    def push(self, frame: Frame) -> None:
        """Send to the process."""
        now = self._network.timeline.now
        self._last_down = max(self._last_down, now + self._network.weather.delay())
        self._network.timeline.at(self._last_down, self._arrive, frame)

    def cut(self, noticed: bool) -> None:
        """Lose what is under way, and all that is sent from now on."""
        self._is_up = False
        self.channels.clear()
        if noticed:
            self._network.timeline.after(self._network.weather.delay(), self._break)

    def close(self) -> None:
        """The process is done with it."""
        self._is_up = False
        self._network.store.connections.remove(self)

    def _execute(self, command: tuple[Any, ...]) -> None:
        if not self._is_up:
            return
        verb, *names = command
        if verb == b"PING":
            self.push(Pong())
            return
        joins = verb == b"SUBSCRIBE"
        (self.channels.add if joins else self.channels.discard)(names[0])
        self.push(Confirmation(Channel(names[0], False), joins))

    def publish(self, channel: bytes, payload: bytes) -> None:
        """Push a publication, if the connection has subscribed."""
        if channel in self.channels:
            self._places.append(self._network.store.observer.states)
            self.push(Message(Channel(channel, False), channel, payload))

    def _arrive(self, frame: Frame) -> None:
        if self._is_up:
            self._inbox.append(frame)
            self._process.feed.bell.ring()

    def _break(self) -> None:
        self._is_broken = True
        self._process.feed.bell.ring()
