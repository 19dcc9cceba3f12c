"""`clearsight.Client` and `clearsight.AsyncClient`: thin drivers of `calls` over httpx."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload
from urllib.parse import urlsplit

from clearsight.client.address import checked_key, checked_url, is_loopback, tls_context
from clearsight.client.calls import Answer, Call, Calls, Lost, Priority, Send, Wait, Work
from clearsight.client.models import ServedModel
from clearsight.client.pictures import Picture
from clearsight.client.retries import Backoff
from clearsight.client.wire import ANSWER_BYTES
from clearsight.core.errors import MissingExtraError, UsageError
from clearsight.core.nouns import Prediction
from clearsight.core.version import __version__

if TYPE_CHECKING:
    import httpx

URL = "http://127.0.0.1:8000"
CONNECTIONS = 64


class _Connection:
    """What both clients are made of; see `Client`."""

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        ca: str | Path | None = None,
        deadline_s: float = 30.0,
        attempts: int = 4,
        shrink: bool = True,
        plain_http: bool = False,
    ) -> None:
        if attempts < 1:
            raise UsageError(f"attempts must be 1 or more; got {attempts}.")
        self.url = checked_url(url, key is not None and not plain_http)
        self._ca = None if ca is None else Path(ca)
        self._calls = Calls(checked_key(key), deadline_s, Backoff(attempts), shrink)
        self._http = self._open(self._options())

    def _open(self, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _options(self) -> dict[str, Any]:
        httpx = _httpx()
        return {
            "base_url": self.url,
            "verify": tls_context(self.url, self._ca),
            "trust_env": not is_loopback(urlsplit(self.url).hostname or ""),
            "follow_redirects": False,
            "headers": {"user-agent": f"clearsight/{__version__}"},
            "limits": httpx.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS
            ),
        }


class Client(_Connection):
    """Asks a service to recognize pictures. Thread-safe; connections are kept open.

    Args:
        url: where the service is; http or https.
        key: API key; it is never shown, and never sent unencrypted to another machine.
        ca: file of certificate authorities to trust in place of the system's.
        deadline_s: seconds for one call, its retries and waits included.
        attempts: how often a request is made in all when the service says "not now" or there is
            no connection.
        shrink: make large pictures smaller before they are sent; see `pictures.encode`.
        plain_http: send the key unencrypted, for networks that encrypt below.

    Raises:
        UsageError: a URL that cannot be used, or a key that would cross a network in clear.
        MissingExtraError: httpx is not installed.

    Example:
        >>> with Client("https://shoes.example", key="...") as client:  # doctest: +SKIP
        ...     client.recognize("x.jpg").label
        'sneaker'
    """

    def _open(self, options: dict[str, Any]) -> Any:
        return _httpx().Client(**options)

    @overload
    def recognize(  # type: ignore[overload-overlap]
        self,
        pictures: Picture,
        model: str | None = None,
        top: int = 5,
        deadline_s: float | None = None,
        priority: Priority = "normal",
        errors: Literal["raise", "return"] = "raise",
    ) -> Prediction: ...

    @overload
    def recognize(
        self,
        pictures: Iterable[Picture],
        model: str | None = None,
        top: int = 5,
        deadline_s: float | None = None,
        priority: Priority = "normal",
        errors: Literal["raise", "return"] = "raise",
    ) -> list[Prediction]: ...

    def recognize(
        self,
        pictures: Picture | Iterable[Picture],
        model: str | None = None,
        top: int = 5,
        deadline_s: float | None = None,
        priority: Priority = "normal",
        errors: Literal["raise", "return"] = "raise",
    ) -> Any:
        """Recognize one picture or several.

        Args:
            pictures: a path, encoded bytes or a uint8 RGB array (height, width, 3), or several.
            model: its name; may be left out where one model is served.
            top: how many labels.
            deadline_s: seconds for the whole call, retries included; the client's own where None.
            priority: "batch" work is done when nothing normal waits.
            errors: what becomes of a picture that cannot be used: "raise" the first one's error,
                or "return" each in its place.

        Returns:
            A Prediction; for several pictures a list, in order.

        Raises:
            ImageError: a picture cannot be used, found here or by the service.
            RefusedError: the service said no; its type says why.
            UnreachableError, DeadlineError, AnswerError: see there.
            UsageError: a wrong argument.
        """
        return self._run(self._calls.recognize(pictures, model, top, deadline_s, priority, errors))

    def models(self) -> list[ServedModel]:
        """Return what is served."""
        found: list[ServedModel] = self._run(self._calls.models())
        return found

    def ready(self) -> bool:
        """Say whether the service takes requests; False when it cannot be reached."""
        return bool(self._run(self._calls.ready()))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, call: Call[Any]) -> Any:
        outcome: Any = None
        while True:
            try:
                step = call.send(outcome)
            except StopIteration as end:
                return end.value
            outcome = self._step(step)

    def _step(self, step: Send | Wait | Work) -> Any:
        if isinstance(step, Wait):
            return time.sleep(step.seconds)
        if isinstance(step, Work):
            return step.function()
        httpx, ends = _httpx(), time.monotonic() + step.timeout_s
        try:
            with self._http.stream(**_request(step)) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > ends or len(body) > ANSWER_BYTES:
                        return _cut(body)
                return _answer(response, bytes(body))
        except httpx.TransportError as error:
            return _lost(error, self.url)


class AsyncClient(_Connection):
    """Asks a service to recognize pictures, from asyncio; many calls may wait at once.

    It takes what `Client` takes.

    Example:
        >>> async with AsyncClient(key="...") as client:             # doctest: +SKIP
        ...     await asyncio.gather(*(client.recognize(path) for path in paths))
    """

    def _open(self, options: dict[str, Any]) -> Any:
        return _httpx().AsyncClient(**options)

    @overload
    async def recognize(  # type: ignore[overload-overlap]
        self,
        pictures: Picture,
        model: str | None = None,
        top: int = 5,
        deadline_s: float | None = None,
        priority: Priority = "normal",
        errors: Literal["raise", "return"] = "raise",
    ) -> Prediction: ...

    @overload
    async def recognize(
        self,
        pictures: Iterable[Picture],
        model: str | None = None,
        top: int = 5,
        deadline_s: float | None = None,
        priority: Priority = "normal",
        errors: Literal["raise", "return"] = "raise",
    ) -> list[Prediction]: ...

    async def recognize(
        self,
        pictures: Picture | Iterable[Picture],
        model: str | None = None,
        top: int = 5,
        deadline_s: float | None = None,
        priority: Priority = "normal",
        errors: Literal["raise", "return"] = "raise",
    ) -> Any:
        """Recognize one picture or several; see `Client.recognize`."""
        return await self._run(
            self._calls.recognize(pictures, model, top, deadline_s, priority, errors)
        )

    async def models(self) -> list[ServedModel]:
        """Return what is served."""
        found: list[ServedModel] = await self._run(self._calls.models())
        return found

    async def ready(self) -> bool:
        """Say whether the service takes requests; False when it cannot be reached."""
        return bool(await self._run(self._calls.ready()))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, call: Call[Any]) -> Any:
        outcome: Any = None
        while True:
            try:
                step = call.send(outcome)
            except StopIteration as end:
                return end.value
            outcome = await self._step(step)

    async def _step(self, step: Send | Wait | Work) -> Any:
        if isinstance(step, Wait):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Work):
            return await asyncio.to_thread(step.function)
        httpx = _httpx()
        try:
            async with (
                asyncio.timeout(step.timeout_s),
                self._http.stream(**_request(step)) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        return _cut(body)
                return _answer(response, bytes(body))
        except TimeoutError:
            return Lost("timeout", "")
        except httpx.TransportError as error:
            return _lost(error, self.url)


def _httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise MissingExtraError("httpx", "client", "Calling a service") from error
    return httpx


def _request(step: Send) -> dict[str, Any]:
    httpx = _httpx()
    return {
        "method": step.method,
        "url": step.target,
        "headers": step.headers,
        "content": step.body,
        "timeout": httpx.Timeout(step.timeout_s),
    }


def _answer(response: httpx.Response, body: bytes) -> Answer:
    return Answer(response.status_code, response.headers, body)


def _cut(body: bytearray) -> Lost:
    if len(body) > ANSWER_BYTES:
        return Lost("too large", f"The answer is longer than {ANSWER_BYTES:,} bytes.")
    return Lost("timeout", "")


def _lost(error: Exception, url: str) -> Lost:
    httpx = _httpx()
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        cause = str(error) or "no answer"
        return Lost("connect", f"No connection to {url}: {cause}. Is the service running there?")
    if isinstance(error, httpx.TimeoutException):
        return Lost("timeout", "")
    return Lost("broken", f"The connection to {url} broke before the answer.")
