"""One server of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bb5_breaker._store.backend import KeyedCommand
from bb5_breaker._store.codec import ScriptCall
from bb5_breaker._store.faults import CLIENT_ERRORS, explain_fault, is_missing_script
from bb5_breaker._store.packing import pack_words
from bb5_breaker._store.server import Server

__all__ = ["ClusterNode"]

_ASKING: Final = b"ASKING"
_ASKING_REQUEST: Final = pack_words(_ASKING)


class ClusterNode(Server):
    """A server that also takes what it is only about to serve. Thread-safe.

    "Asking" is the word for that: it goes before each command that another node sent here while
    the slot is on its way.
    """

    def evaluate_asking(self, call: ScriptCall) -> Any:
        """Run a script whose slot is being moved here.

        Raises:
            StoreError: The server can not be reached or refused.
        """
        (reply,) = self._ask([call.request])
        if isinstance(reply, Exception) and is_missing_script(reply):
            (reply,) = self._ask([call.request_with_source])
        if isinstance(reply, Exception):
            raise self.explain(reply, call) from reply
        return reply

    def evaluate_many_asking(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts whose slots are being moved here; an error takes the place of its reply.

        Raises:
            StoreError: The server can not be reached.
        """
        return self._ask([call.request for call in calls])

    def pipeline_asking(self, commands: Sequence[KeyedCommand]) -> list[Any]:
        """Run plain commands on keys that are being moved here.

        Raises:
            StoreError: The server can not be reached.
        """
        asking: KeyedCommand = (b"", (_ASKING,))
        return self.pipeline([each for command in commands for each in (asking, command)])[1::2]

    def _ask(self, requests: Sequence[bytes]) -> list[Any]:
        words = [each for request in requests for each in (_ASKING_REQUEST, request)]
        try:
            return self._connections.ask_many(words)[1::2]
        except CLIENT_ERRORS as fault:
            raise explain_fault(fault, self.address) from fault
