"""Few words for what an HTTP library says in many. Never an address, which may carry a personal key."""

_WORDS = {
    "the name of the server is not known here": {"NameResolutionError", "gaierror"},
    "the server's certificate is not accepted": {"SSLCertVerificationError"},
    "the proxy does not let it through": {"ProxyError"},
    "the server cannot be reached": {"ConnectTimeoutError", "ConnectTimeout"},
    "the server sends nothing": {"ReadTimeoutError", "ReadTimeout", "TimeoutError"},
    "the server refuses connections": {"NewConnectionError", "ConnectionRefusedError"},
    "it is redirected without end": {"TooManyRedirects"},
    "it is no address of a file": {"MissingSchema", "InvalidSchema", "InvalidURL", "LocationParseError"},
}


def short_reason(error: BaseException) -> str:
    """Why a request failed."""
    names = _names(error)
    return next((words for words, markers in _WORDS.items() if names & markers), "the connection was cut")


def is_untrusted(error: BaseException) -> bool:
    """Whether the certificate of a server is at fault, which no further attempt changes."""
    return "SSLCertVerificationError" in _names(error)


def _names(error: BaseException) -> set[str]:
    """Class names of an error and of those that it came from."""
    seen: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        each = pending.pop()
        if isinstance(each, BaseException) and not any(each is other for other in seen):
            seen.append(each)
            pending += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
    return {type(each).__name__ for each in seen}
