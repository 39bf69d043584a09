"""The commands about rights: acl and load-scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bb5_breaker._doctor.deeds import acl_line, rights_of
from bb5_breaker._doctor.role import Role
from bb5_breaker._store.redis_store import RedisStore
from bb5_breaker._store.scripts import SCRIPTS
from bb5_breaker.cli.arguments import as_usage_error
from bb5_breaker.cli.exit_codes import ExitCode
from bb5_breaker.cli.places import place, where
from bb5_breaker.service_id import check_prefix

__all__ = ["AclDocument", "LoadDocument"]


@dataclass(frozen=True, slots=True)
class AclDocument:
    """The rights that a user of Redis needs."""

    exit_code: ClassVar = ExitCode.DONE
    role: Role
    prefix: str
    database: int

    @staticmethod
    def make(role: Role, prefix: str, database: int) -> AclDocument:
        """Say what a role needs.

        Args:
            role: What the user is for.
            prefix: Beginning of the names of keys and channels.
            database: Number of the database.

        Raises:
            CommandError: The prefix is malformed.
        """
        with as_usage_error():
            return AclDocument(role, check_prefix(prefix), database)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "role": self.role.value,
            "prefix": self.prefix,
            "rights": rights_of(self.role, self.prefix, self.database),
        }

    def print_text(self) -> None:
        """Print a command for a shell that makes such a user."""
        print(acl_line(self.role, self.prefix, self.database))


@dataclass(frozen=True, slots=True)
class LoadDocument:
    """Scripts that were made known to a server."""

    exit_code: ClassVar = ExitCode.DONE
    store: RedisStore

    @staticmethod
    def make(store: RedisStore) -> LoadDocument:
        """Make all scripts known, for users who may not do so themselves.

        Raises:
            StoreError: The server can not be reached or refused.
        """
        store.load_scripts()
        return LoadDocument(store)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**place(self.store), "scripts": {each.name: each.sha for each in SCRIPTS.values()}}

    def print_text(self) -> None:
        """Print how many."""
        print(f"the server knows the {len(SCRIPTS)} scripts until it restarts, {where(self.store)}")
