"""The errors of the simulated library: names, tree and texts as in Shioaji 1.7.9. They carry their text alone, as the real ones do."""


class ShioajiError(Exception):
    """Base of all errors of the simulated library."""


class AuthError(ShioajiError):
    """Not logged in."""


class TokenError(AuthError):
    """The token is not valid any more (401)."""


class SystemMaintenance(ShioajiError):
    """The server takes no calls (503): maintenance, or a suspension."""


class ServerError(ShioajiError):
    """Any other answer that is none."""


class ValidationError(ShioajiError):
    """The server does not understand the arguments (422)."""


class BadRequestError(ShioajiError):
    """The server refuses the question (400)."""


class SubscribeError(ShioajiError):
    """A topic could not be subscribed."""


class ShioajiConnectionError(ShioajiError, ConnectionError):
    """The link is down."""


class ShioajiTimeoutError(ShioajiError, TimeoutError):
    """No answer in time."""


class ShioajiTypeError(ShioajiError, TypeError):
    """An argument has the wrong type."""


class ShioajiValueError(ShioajiError, ValueError):
    """An argument has a value that it cannot have."""


class AccountNotProvideError(ShioajiError, ValueError):
    """The login has no such account."""


ERRORS: dict[str, type[ShioajiError]] = {
    error.__name__: error
    for error in (
        ShioajiError,
        AuthError,
        TokenError,
        SystemMaintenance,
        ServerError,
        ValidationError,
        BadRequestError,
        SubscribeError,
        ShioajiConnectionError,
        ShioajiTimeoutError,
        ShioajiTypeError,
        ShioajiValueError,
        AccountNotProvideError,
    )
}
