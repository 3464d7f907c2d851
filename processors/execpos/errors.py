"""Every error that execpos raises on purpose, split by what the caller should do.

    ExecposError
    ├── Retry              try the same call again later; nothing happened            exit 75
    ├── AbortTransaction   abort, roll state back, seek to the committed offsets      exit 75
    ├── Park               one record cannot become state: keep its bytes, go on      exit 6
    └── Quit               this process cannot go on
        ├── UsageError             the command was called wrongly                     exit 2
        ├── ConfigError            a setting is unknown, wrong or inconsistent        exit 3
        ├── DependencyError        something outside is missing or unreachable        exit 4
        ├── ContractError          schema, topic or record breaks its contract        exit 5
        ├── CheckFailed            a verification found a difference                  exit 6
        └── Fenced                 another instance owns this identity now            exit 7

Each carries fields, so that callers branch on data and never on text.
"""

from typing import ClassVar


class ExecposError(Exception):
    """Base of all errors here.

    Args:
        what: what went wrong and where, naming the thing.
        hint: what to do about it; may be empty.
        fields: data for logs and for callers that branch.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


class Retry(ExecposError):
    """The call had no effect and may be made again later."""

    exit_code = 75


class AbortTransaction(ExecposError):
    """The open transaction cannot commit: abort it, roll back state, seek to the committed offsets."""

    exit_code = 75


class Park(ExecposError):
    """One record cannot become state; it goes to the dead letters with its bytes and the rest goes on.

    Args:
        reason: one of `reasons` in `contracts/vocabularies.yaml`.
        what: what exactly was wrong, and where in the record.
        disposition: dead_letter (invalid), parked (understood but held back) or conflict.
    """

    exit_code = 6

    def __init__(self, reason: str, what: str, *, disposition: str = "dead_letter", **fields: object) -> None:
        super().__init__(what)
        self.fields = fields
        self.reason = reason
        self.disposition = disposition


class Quit(ExecposError):
    """This process cannot go on; the supervisor decides whether to start it again."""


class UsageError(Quit):
    """The command was called in a way that it does not take."""

    exit_code = 2


class ConfigError(Quit):
    """A setting is unknown, has the wrong type or unit, or contradicts another one."""

    exit_code = 3


class DependencyError(Quit):
    """Something outside (Kafka, registry, ClickHouse, Java, disk, network) is missing or unreachable."""

    exit_code = 4


class ContractError(Quit):
    """A schema, a topic or a record is not what its contract says."""

    exit_code = 5


class CheckFailed(Quit):
    """A verification ran to its end and found a difference."""

    exit_code = 6


class Fenced(Quit):
    """Another instance has taken over this identity; going on would write twice."""

    exit_code = 7
