"""Settings from the environment, releases, signatures, scaling, goods."""

from pathlib import Path

import pytest

from loomidi_lab.shop.app import deciding, goods, releases, settings, signing
from loomidi_lab.shop.app.settings import ConfigurationError


class TestSettings:
    def test_an_empty_environment_is_enough(self) -> None:
        assert settings.read("cart", {}).calls.urls["payment"] == "https://payment:8443"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_POOL_SIZE", "ten"),
            ("DATABASE_POOL_SIZE", "0"),
            ("RETRY_ATTEMPTS", "1.5"),
            ("CALL_TIMEOUT_S", "nan"),
            ("CALL_TIMEOUT_S", "-1"),
            ("PAYMENT_URL", "htps:/payment"),
            ("CATALOG_URL", "catalog:8080"),
        ],
    )
    def test_a_bad_value_is_named(self, name: str, value: str) -> None:
        with pytest.raises(ConfigurationError, match=name):
            settings.read("orders", {name: value})


class TestReleases:
    @pytest.mark.parametrize("name", releases.NAMES)
    def test_every_release_can_be_chosen(self, name: str) -> None:
        assert isinstance(releases.load(name), releases.Release)

    def test_one_that_was_never_built_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"SHOP_RELEASE is '2\.0'"):
            releases.load("2.0")

    def test_the_slow_one_gives_the_same_ranking(self) -> None:
        items = [5, 3, 9, 1, 7]
        good, slow = releases.load("1.0"), releases.load("1.6-slow")
        assert slow.ranked(items, float, 3) == good.ranked(items, float, 3) == [9, 7, 5]

    def test_the_good_one_keeps_its_spool_small(self, tmp_path: Path) -> None:
        for number in range(9):
            (tmp_path / f"{number}.eml").write_text("x")
            releases.load("1.0").spooled(tmp_path, str(number), "x", 3)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["6.eml", "7.eml", "8.eml"]

    def test_the_one_that_fills_disks_does(self, tmp_path: Path) -> None:
        (tmp_path / "1.eml").write_text("x")
        releases.load("1.4-disk-fill").spooled(tmp_path, "1", "x", 3)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 200_000


class TestSigning:
    def test_a_signature_holds_for_a_while_only(self) -> None:
        headers = signing.sign("secret", b"body", 1000.0)
        at, signature = headers[signing.AT], headers[signing.SIGNATURE]
        assert signing.check("secret", b"body", at, signature, 1020.0) == ""
        assert signing.check("secret", b"body", at, signature, 1031.0) == "stale"
        assert signing.check("secret", b"body", at, signature, 969.0) == "stale"

    def test_another_body_or_time_is_forged(self) -> None:
        headers = signing.sign("secret", b"body", 1000.0)
        assert signing.check("secret", b"other", headers[signing.AT], headers[signing.SIGNATURE], 1000.0) == "forged"
        assert signing.check("secret", b"body", "1001.000", headers[signing.SIGNATURE], 1000.0) == "forged"


class TestDeciding:
    def decider(self, calm_s: float = 60.0) -> deciding.Decider:
        return deciding.Decider(deciding.Target("frontend", "m", True, False, 10.0, 2, 6), calm_s)

    def test_more_load_is_answered_at_once_within_bounds(self) -> None:
        assert self.decider().decide(0.0, 2, 35.0) == (4, 4)
        assert self.decider().decide(0.0, 2, 500.0) == (6, 4)

    def test_about_right_is_left_alone(self) -> None:
        assert self.decider().decide(0.0, 3, 32.0) == (3, 3)

    def test_less_load_must_last(self) -> None:
        decider = self.decider()
        assert decider.decide(0.0, 4, 40.0) == (4, 4)
        assert decider.decide(30.0, 4, 5.0) == (2, 4)
        assert decider.decide(61.0, 4, 5.0) == (2, 2)

    def test_load_that_swings_changes_nothing(self) -> None:
        decider = self.decider()
        counts = [decider.decide(10.0 * n, 4, 40.0 if n % 3 == 0 else 10.0)[1] for n in range(30)]
        assert set(counts) == {4}

    @pytest.mark.parametrize("text", ["{", "[1]", '[{"deployment": "x"}]'])
    def test_targets_that_cannot_be_read_are_refused(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match="SCALER_TARGETS"):
            deciding.targets(text)


def test_goods_are_many_and_different() -> None:
    products = goods.everything()
    assert len({p.sku for p in products}) == len(products) == 480
    assert all(p.sku.isalnum() and p.price_cents > 0 for p in products)
