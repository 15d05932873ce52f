"""Numbers, times and names as people read them.

Called by `explain` and by the renderers of `report`. In: plain values with their unit. Out: short text without
control characters, whatever the value was. Leaves escaping for HTML to the page.
"""

import datetime
from collections.abc import Sequence

_OCTETS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LAST_NS = 253_402_300_799 * 1_000_000_000  # 9999-12-31, the end of the calendar that Python knows
_CLUSTER = frozenset({"pod", "workload", "node", "external", "namespace", "rollout"})
PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 89: "OSPF", 132: "SCTP"}


def count(number: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{number:,.0f}"


def plural(number: int, noun: str, many: str = "") -> str:
    """`1 packet`, `2,000 packets`."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def octets(number: float) -> str:
    """12897410 -> 12.3 MiB; below 1 KiB the exact figure."""
    size, unit = float(number), 0
    while abs(size) >= 1024 and unit < len(_OCTETS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} B" if unit == 0 else f"{size:.1f} {_OCTETS[unit]}"


def octets_exactly(number: int) -> str:
    """`12.3 MiB (12,897,410 octets)`."""
    exact = plural(number, "octet")
    return exact if number < 1024 else f"{octets(number)} ({exact})"


def moment(at_ns: int) -> str:
    """ns since the epoch -> `2026-11-23 18:09:02.123456 UTC`; times outside the calendar as their number of seconds."""
    if not 0 <= at_ns <= _LAST_NS:
        return f"{at_ns / 1e9:.6f} s since 1970"
    at = _EPOCH + datetime.timedelta(microseconds=at_ns // 1000)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond:06d} UTC"


def clock(at_ns: int) -> str:
    """Time of day only: `18:09:02.123`."""
    return moment(at_ns)[11:23] if 0 <= at_ns <= _LAST_NS else f"{at_ns / 1e9:.3f} s"


def period(first_ns: int, last_ns: int) -> str:
    """`2026-11-23 18:09:02.123 to 18:09:14.500 UTC (12.4 s)`; the second date is told when it is another."""
    dates = [moment(at_ns)[:11] for at_ns in (first_ns, last_ns)]
    if not 0 <= first_ns <= last_ns <= _LAST_NS:
        return f"{moment(first_ns)} to {moment(last_ns)}"
    end = clock(last_ns) if dates[0] == dates[1] else dates[1] + clock(last_ns)
    return f"{dates[0]}{clock(first_ns)} to {end} UTC ({span(first_ns, last_ns)})"


def span(first_ns: int, last_ns: int) -> str:
    """How long: `3.2 s`, `4 min 05 s`, `1 h 02 min`, `3 d`."""
    return seconds(max(0, last_ns - first_ns) / 1e9)


def seconds(duration: float) -> str:
    """A duration in seconds in the two largest fitting units."""
    if duration < 1e-3:
        return f"{duration * 1e6:.0f} us"
    if duration < 1:
        return f"{duration * 1e3:.3g} ms"
    if duration < _MINUTE - 0.5:
        return f"{duration:.3g} s"
    whole = round(duration)
    scales = (("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE), ("min", _MINUTE, "s", 1))
    large, size, small, part = next(scale for scale in scales if whole >= scale[1])
    rest = whole % size // part
    return f"{whole // size} {large} {rest:02d} {small}" if rest else f"{whole // size} {large}"


def value(number: float | int | str, unit: str = "") -> str:
    """A measured value with its unit; octets are humanised, whole numbers grouped, fractions to three digits."""
    if isinstance(number, str):
        return printable(f"{number} {unit}".strip())
    if unit in ("octets", "bytes"):
        return octets(number)
    if unit in ("octets/s", "bytes/s"):
        return f"{octets(number)}/s"
    if unit == "s":
        return seconds(number) if number >= 0 else f"{number:.3g} s"
    text = count(number) if float(number).is_integer() or abs(number) >= 1000 else f"{number:.3g}"
    return f"{text} {printable(unit)}".strip()


def name(entity: str) -> str:
    """An entity id as words: `service/10.0.0.2:80/tcp` -> `10.0.0.2:80/tcp`, `host/10.0.0.1` -> `10.0.0.1`.

    What has a name in a cluster keeps its kind: `pod/shop/cart-0`, `service/shop/cart:80/tcp`, `node/n1`.
    """
    kind, _, rest = entity.partition("/")
    named = kind in _CLUSTER or (kind == "service" and "/" in rest.partition(":")[0])
    return printable(entity if named or not rest else rest)


def listing(items: Sequence[str], at_most: int = 3) -> str:
    """`a, b and c`; beyond the limit `a, b, c and 12 more`."""
    shown, rest = list(items[:at_most]), len(items) - at_most
    if rest > 0:
        return f"{', '.join(shown)} and {count(rest)} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def printable(text: str) -> str:
    """The text without anything that a terminal would obey: control and format characters become `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
