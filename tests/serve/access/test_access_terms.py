import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearsight.core.errors import ConfigError
from clearsight.serve.access.terms import (
    Allowance,
    check_name,
    check_scopes,
    check_tenant,
    read_allowance,
    read_expiry,
    read_scopes,
)
from clearsight.serve.access.tokens import new_token


@pytest.mark.parametrize(
    ("rate", "quotas", "expected"),
    [
        (None, [], Allowance()),
        ("10", [], Allowance(rate=10.0)),
        ("10/s", [], Allowance(rate=10.0)),
        ("600/min", [], Allowance(rate=10.0)),
        ("36 / h", ["1000"], Allowance(rate=0.01, day=1000)),
        (None, ["20000/month", "1000/day"], Allowance(day=1000, month=20000)),
    ],
)
def test_allowances(rate, quotas, expected):
    assert read_allowance(rate, quotas) == expected


@pytest.mark.parametrize("rate", ["", "0", "-1", "10/d", "10/sec", "ten", "1e9", "nan", "10/s/s"])
def test_rates_that_are_none(rate):
    with pytest.raises(ConfigError, match=r"10/s, 600/min"):
        read_allowance(rate, [])


@pytest.mark.parametrize("quota", ["", "0", "10/s", "1.5/day", "10/year", "x"])
def test_quotas_that_are_none(quota):
    with pytest.raises(ConfigError):
        read_allowance(None, [quota])


def test_two_quotas_of_one_kind():
    with pytest.raises(ConfigError, match="two quotas a day"):
        read_allowance(None, ["1/day", "2/day"])


@given(st.text(max_size=30))
def test_any_text_is_an_allowance_or_refused(text):
    try:
        allowance = read_allowance(text, [text])
    except ConfigError:
        return
    assert allowance.rate is not None
    assert allowance.rate > 0


def test_scopes():
    assert read_scopes("recognize,admin ,") == {"recognize", "admin"}
    with pytest.raises(ConfigError, match="Did you mean 'recognize'"):
        read_scopes("recognise")
    with pytest.raises(ConfigError, match="at least one"):
        check_scopes([])


def test_expiry():
    assert read_expiry("90d", 100.0) == 100.0 + 90 * 86400
    for wrong in ("1969-12-31", "2027-02-30", "soon", "-1d", "0d", "2027-1-1", ""):
        with pytest.raises(ConfigError):
            read_expiry(wrong, 1.0)


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "a\x1b[31m", "a whole key"])
def test_names_that_are_none(name):
    name = new_token()[1] if name == "a whole key" else name
    with pytest.raises(ConfigError) as refused:
        check_name(name)
    assert "csk_" not in str(refused.value)


def test_names_in_any_script():
    assert check_name(" 网店 ") == "网店"


@pytest.mark.parametrize("tenant", ["A", " ", "a b", "../x", "x" * 65, "_a"])
def test_tenants_that_are_none(tenant):
    with pytest.raises(ConfigError, match="tenant"):
        check_tenant(tenant)


def test_tenants():
    assert (check_tenant(""), check_tenant("shop-2.eu")) == ("", "shop-2.eu")
