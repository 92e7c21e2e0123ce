"""The HTTP transport of the client and of the checks: one server, and responses of bounded size."""

from __future__ import annotations

import codecs
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx

from tier0.core.address import DEFAULT_PORTS, AddressError, Origin

ACCEPTED_CODINGS = "gzip, deflate"
"""Value of Accept-Encoding: the codings that are decoded here, step by step."""
DECODED = {"gzip", "x-gzip", "deflate"}
OTHERS = {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
"""Codings that a server must not use, since no request accepts them."""
SLOW_CODECS = {"idna", "punycode"}
MAX_CODINGS = 3
"""Codings on top of each other."""
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
MIB = 1 << 20
PIECE = MIB
"""Bytes that are decoded at once."""
MAX_RESPONSE_BYTES = 32 * MIB
"""Default size of a response body: predictions with probabilities take some 40 bytes a row."""
RESPONSE_BYTES = "tier0.response_bytes"
"""Extension of a request: another limit for the size of its response."""
MAX_CONTAINERS = 500_000
"""Lists and objects in a JSON value, each of which takes up to 300 bytes of memory in place of two."""
MAX_VALUES, MIN_BYTES_A_VALUE = 3_000_000, 10
"""Values of a response, and bytes for each value of a larger one: a number takes up to 32 bytes of memory."""

MAX_WIDE_BYTES = 8 * MIB
"""Size of a response with characters that take four bytes each, as all others of its text do then."""
BEYOND_BMP = re.compile(rb"[\xf0-\xf4]")
"""First byte of such a character in UTF-8."""
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of such a character as an escape sequence of JSON."""


class ResponseTooLargeError(httpx.RemoteProtocolError):
    """A response body is larger than the limit; the rest of it was not read."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Sends requests to known servers only, and ends the reading of a response that is too large.

    The body is decoded here because httpx decodes each piece at once, and a piece of 64 KB can stand for
    gigabytes.

    Args:
        urls: URLs whose servers may be requested.
        max_bytes: size of a response body, in bytes, before and after decoding.
        trust: certificates to trust.
        limits: limits of the connection pool.
        setting: setting of *max_bytes*, which the message of an error names.
    """

    def __init__(
        self,
        urls: Iterable[str],
        max_bytes: int,
        *,
        trust: ssl.SSLContext,
        limits: httpx.Limits,
        setting: str = "",
    ) -> None:
        self._origins = frozenset(_origin_of(httpx.URL(url)) for url in urls)
        self._max_bytes = max_bytes
        self._limit = describe_size(max_bytes) + (f" ({setting})" if setting else "")
        self._http = httpx.AsyncHTTPTransport(verify=trust, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and return the response before its body is read.

        Raises:
            AddressError: the request is for another server.
        """
        if _origin_of(request.url) not in self._origins:
            raise AddressError(f"a request to another server, {request.url.host!r}, was not sent")
        response = await self._http.handle_async_request(request)
        codings = response.headers.get("Content-Encoding", "")
        if codings:
            del response.headers["Content-Encoding"]
        if (charset := response.charset_encoding) is not None and not _is_of_text(charset):
            response.headers["Content-Type"] = response.headers["Content-Type"].partition(";")[0]
        max_bytes = request.extensions.get(RESPONSE_BYTES, self._max_bytes)
        limit = self._limit if max_bytes == self._max_bytes else describe_size(max_bytes)
        response.stream = _Body(response.stream, max_bytes, limit, codings, request)  # type: ignore[arg-type]
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def _is_of_text(charset: str) -> bool:
    """Return whether a charset decodes text, in a time in proportion to its length.

    Python also has codecs of other data, such as ``zlib``, which would make gigabytes of a short response.
    """
    try:
        b"a".decode(charset)
    except UnicodeDecodeError:  # a charset of several bytes per character
        pass
    except (LookupError, ValueError):
        return False
    return codecs.lookup(charset).name not in SLOW_CODECS


def _origin_of(url: httpx.URL) -> Origin:
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS.get(url.scheme, 0))


class _Body(httpx.AsyncByteStream):
    """The decoded body of a response, up to a limit."""

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        max_bytes: int,
        limit: str,
        codings: str,
        request: httpx.Request,
    ) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._limit = limit
        self._codings = [name.strip().lower() for name in codings.split(",") if name.strip()]
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decoders = self._decoders()
        sizes = [0] * (len(decoders) + 1)
        async for piece in self._stream:
            for content in self._decoded(piece, decoders, sizes):
                yield content

    def _decoded(self, content: bytes, decoders: list[_Decoder], sizes: list[int]) -> Iterator[bytes]:
        """Yield the content after the first of the *decoders* and the others, in small pieces."""
        self._add(sizes, len(sizes) - len(decoders) - 1, content)
        if not decoders:
            if content:
                yield content
            return
        try:
            for piece in decoders[0].decode(content):
                yield from self._decoded(piece, decoders[1:], sizes)
        except zlib.error as problem:
            raise httpx.DecodingError(str(problem), request=self._request) from problem

    def _add(self, sizes: list[int], step: int, content: bytes) -> None:
        """Add the size of a piece after a step of decoding to the sum of that step.

        Raises:
            ResponseTooLargeError: the sum is above the limit.
        """
        sizes[step] += len(content)
        if sizes[step] > self._max_bytes:
            raise ResponseTooLargeError(
                f"the response is larger than {self._limit}; the rest was not read",
                request=self._request,
            )

    def _decoders(self) -> list[_Decoder]:
        """Return the decoders in the order of decoding; other codings, such as ``utf-8``, are left as is."""
        if unaccepted := OTHERS.intersection(self._codings):
            raise httpx.DecodingError(
                f"the response has the content coding {min(unaccepted)!r}, which the request did not accept",
                request=self._request,
            )
        names = [name for name in reversed(self._codings) if name in DECODED]
        if len(names) > MAX_CODINGS:
            raise httpx.DecodingError(
                f"the response has {len(names)} content codings; at most {MAX_CODINGS} are decoded",
                request=self._request,
            )
        return [_Decoder() for _ in names]

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Decoder:
    """Decodes gzip, zlib, or deflate without a header, which some servers send as ``deflate``."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB)
        self._is_first = True

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded data in pieces.

        Raises:
            zlib.error: the data is invalid.
        """
        piece = b"" if not data or self._inflate.eof else self._first_of(data)
        while piece:
            yield piece
            is_rest = len(piece) == PIECE and not self._inflate.eof
            piece = self._inflate.decompress(self._inflate.unconsumed_tail, PIECE) if is_rest else b""

    def _first_of(self, data: bytes) -> bytes:
        try:
            piece = self._inflate.decompress(data, PIECE)
        except zlib.error:
            if not self._is_first:
                raise
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            piece = self._inflate.decompress(data, PIECE)
        self._is_first = False
        return piece


def check_memory_of_json(content: bytes) -> None:
    """Check that JSON does not take far more memory than its bytes, before it is parsed.

    Brackets and commas in texts count as well. Python stores a text with one character beyond U+FFFF as four
    bytes per character, and a parsed text is in memory at the same time as the JSON.

    Raises:
        ValueError: it would take too much.
    """
    if content.count(b"[") + content.count(b"{") > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS:,} lists and objects")
    if content.count(b",") > (limit := max(MAX_VALUES, len(content) // MIN_BYTES_A_VALUE)):
        raise ValueError(f"more than {limit:,} values")
    if len(content) > MAX_WIDE_BYTES and (BEYOND_BMP.search(content) or SURROGATE.search(content)):
        raise ValueError(f"more than {describe_size(MAX_WIDE_BYTES)}, with characters beyond U+FFFF")


def describe_size(size: int) -> str:
    """Return a number of bytes in words, such as ``4 MiB``."""
    return f"{size / MIB:.0f} MiB" if size >= MIB else f"{size} bytes"
