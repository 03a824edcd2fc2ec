"""What can go wrong, as one tree; each error says what, where and how to mend it.

LoopwrightError
├── FindingError       exit 1: the work was done and found something wrong
├── InputError         exit 2: what was given cannot be used (file, option, document, id)
│   └── DocumentError  a document set with mistakes
├── ConflictError      exit 1: somebody changed it first; look again
│   └── TransitionRefused  the state does not allow this change
├── NotPermitted       exit 1: who acts may not do this
└── EnvironmentFault   exit 3: database, Prefect or mail cannot be used as set up
    └── RightMissing   this database user may not do this
"""

from collections.abc import Sequence


class LoopwrightError(Exception):
    """Base of all errors this project raises on purpose."""

    exit_code = 1

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.fix}" if self.fix else self.what


class FindingError(LoopwrightError):
    exit_code = 1


class InputError(LoopwrightError):
    exit_code = 2


class DocumentError(InputError):
    """A document set that must not be loaded; `mistakes` are ready to print, one a line."""

    def __init__(self, what: str, mistakes: Sequence[str], fix: str | None = None) -> None:
        super().__init__(what, fix)
        self.mistakes = tuple(mistakes)


class ConflictError(LoopwrightError):
    exit_code = 1


class TransitionRefused(ConflictError):
    pass


class NotPermitted(LoopwrightError):
    exit_code = 1


class EnvironmentFault(LoopwrightError):
    exit_code = 3


class RightMissing(EnvironmentFault):
    pass
