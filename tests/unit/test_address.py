"""Addresses: a route, wherever it comes from, never changes the server that gets a request."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.contract.contract import ContractError, check_declared
from tier0.contract.service_schema import describe, path_prefixes
from tier0.core.address import AddressError, address, origin_of, problem_of

URLS = ["http://127.0.0.1:3000", "http://models.example", "https://models.example/team", "http://[::1]:8080"]
PIECES = [
    "@", ":", "/", "//", "\\", "?", "#", "%", "%2f", "%40", "%2e%2e", "..", ".", "127.0.0.2:81", "user:pw@",
    "evil.example", "http://", "https:", "predict", "\t", "\n", "\r\nHost: evil.example", " ",
    "\x00", "\u3000", "\u2028", "\u3002", "\uff0f", "\uff20", "[::1]", "]",
    "[", "{id}", ";", "\ud800", "é", "\u202e",
]  # fmt: skip
routes = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=6).map("".join)


@given(st.sampled_from(URLS), routes)
def test_a_route_never_changes_the_server(url: str, route: str) -> None:
    if problem_of(route):
        with pytest.raises(AddressError) as refusal:
            address(url, route)
        assert str(refusal.value).isprintable()
        return
    joined = address(url, route)

    requested, given_ = httpx.URL(joined), httpx.URL(url)
    assert (requested.scheme, requested.raw_host, requested.port) == (
        given_.scheme,
        given_.raw_host,
        given_.port,
    )
    assert requested.userinfo == b""
    assert requested.raw_path.startswith(given_.raw_path.rstrip(b"/"))


@pytest.mark.parametrize(
    "route",
    [
        "@127.0.0.2:81/predict", "0/predict", ".evil.example/predict", "predict", "", "http://evil.example/",
        "/predict\r\nHost: evil.example", "/pre dict", "/predict#a", "\\\\evil.example\\predict", "/a/../b",
        "/a/%2e%2e/b", "/.", "/a\\..\\b", "/" + "a" * 3000, "/\x00",
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused_before_a_request(route: str) -> None:
    with pytest.raises(AddressError, match="no request was sent"):
        address("http://127.0.0.1:3000", route)
    with pytest.raises(ContractError):
        check_declared({"route": route})
    assert path_prefixes({"routes": [{"route": f"{route}/predict"}]}) == []


@pytest.mark.parametrize(
    "route",
    [
        "/predict",
        "/v1/predict",
        "/predict/",
        "//predict",
        "/a:b@c",
        "/{id}/predict",
        "/v2/模型",
        "/p?version=3",
        "/",
    ],
)
def test_ordinary_routes_are_appended(route: str) -> None:
    assert problem_of(route) == ""
    assert address("http://127.0.0.1:3000/team", route) == f"http://127.0.0.1:3000/team{route}"


def test_the_route_of_a_schema_must_be_a_path() -> None:
    schema = {"routes": [{"route": "@127.0.0.2:81/predict", "input": {}, "output": {}}]}

    with pytest.raises(ContractError, match="must begin with a slash"):
        describe(schema, {}, ["a"])


@pytest.mark.parametrize("url", ["", "127.0.0.1:3000", "ftp://a", "http://", "http://[::1", "http://a:port"])
def test_a_url_without_an_origin_is_an_error(url: str) -> None:
    with pytest.raises(AddressError):
        origin_of(url)
